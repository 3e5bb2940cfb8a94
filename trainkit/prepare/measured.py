"""What was measured of a picture, in 66 bytes, and where it is kept so that nothing is measured twice.

The store is two files: ``measured``, sorted by picture and mapped into memory, of an earlier run, with a hash
at its end; and ``journal``, to which a run adds as it goes on, each piece with its checksum, so that the torn
end that a killed run leaves is recognised.
"""

from __future__ import annotations

import bisect
import hashlib
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from trainkit.prepare.look import FORMATS
from trainkit.whole_file import whole_file

MEASURED = np.dtype(
    [
        ("image", "<u8"),
        ("mtime_ns", "<i8"),
        ("offset", "<i8"),
        ("length", "<i8"),
        ("digest", "V16"),
        ("width", "<i4"),
        ("height", "<i4"),
        ("phash", "<u8"),
        ("format", "u1"),
        ("marks", "u1"),
    ]
)
ANIMATED, HASHED, DECODED = 1, 2, 4
"""Marks: it has several frames; ``phash`` is there; every pixel was decoded."""

_PACKED = struct.Struct("<Qqqq16siiQBB")
_PIECE = struct.Struct("<4sII")
_MAGIC = b"tkm1"
_CHECK = 16
"""Bytes of the hash at the end of a store."""
assert _PACKED.size == MEASURED.itemsize


@dataclass(frozen=True, slots=True)
class Measured:
    """What was found in the bytes of one picture, and when they were as they are."""

    image: int
    """`trainkit.keys.key_of` its path."""
    mtime_ns: int
    offset: int
    length: int
    digest: bytes
    width: int
    height: int
    phash: int
    format: int
    """Its place in FORMATS."""
    marks: int

    def packed(self) -> bytes:
        """As one element of MEASURED."""
        return _PACKED.pack(
            self.image, self.mtime_ns, self.offset, self.length, self.digest,
            self.width, self.height, self.phash, self.format, self.marks,
        )  # fmt: skip


def format_number(format: str) -> int:
    """A format's place in FORMATS."""
    return FORMATS.index(format)


class Known:
    """The measurements of an earlier run, found by picture; the file is whole (`drop_damaged`)."""

    def __init__(self, path: Path) -> None:
        count = _count(path)
        self._all: Any = np.memmap(path, MEASURED, "r", shape=count) if count else np.empty(0, MEASURED)
        self._keys = self._all["image"]

    def get(self, key: int) -> Measured | None:
        """What is known of a picture."""
        at = bisect.bisect_left(self._keys, key)
        if at == len(self._keys) or int(self._keys[at]) != key:
            return None
        return Measured(*_PACKED.unpack(self._all[at].tobytes()))


class Journal:
    """Takes down measurements as they are made."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def append(self, packed: bytes) -> None:
        """Add elements of MEASURED."""
        if packed:
            self._file.write(_PIECE.pack(_MAGIC, len(packed), zlib.crc32(packed)) + packed)
            self._file.flush()


def keep(journal: Path, measured: Path, *, only_new: bool) -> None:
    """Sort a journal into the store and delete it; with ``only_new`` nothing else stays there."""
    if not journal.is_file():
        return
    unsorted = measured.with_name(measured.name + ".unsorted")
    with unsorted.open("wb") as out:
        if not only_new and (count := _count(measured)):
            np.memmap(measured, MEASURED, "r", shape=count).tofile(out)
        for piece in _pieces(journal):
            out.write(piece)
    if unsorted.stat().st_size:
        _sort(unsorted, measured)
    unsorted.unlink()
    journal.unlink()


def drop_damaged(measured: Path) -> None:
    """Delete a store that is not as it was written: all pictures are then read again."""
    if not measured.is_file():
        return
    check, left = hashlib.blake2b(digest_size=_CHECK), measured.stat().st_size - _CHECK
    whole = left > 0 and left % MEASURED.itemsize == 0
    with measured.open("rb") as file:
        while whole and left:
            piece = file.read(min(left, 1 << 20))
            check.update(piece)
            left -= len(piece)
            whole = bool(piece)
        whole = whole and file.read() == check.digest()
    if not whole:
        measured.unlink()


def _count(measured: Path) -> int:
    """How many measurements a store holds."""
    return (measured.stat().st_size - _CHECK) // MEASURED.itemsize if measured.is_file() else 0


def _sort(unsorted: Path, measured: Path) -> None:
    every: Any = np.memmap(unsorted, MEASURED, mode="r")
    keys = np.ascontiguousarray(every["image"])
    order = np.argsort(keys, kind="stable")
    # Of a picture that stands there more than once the last is the newest.
    last = np.append(keys[order][1:] != keys[order][:-1], True)
    order = order[last]
    check = hashlib.blake2b(digest_size=_CHECK)
    with whole_file(measured, flushed=True, alone=True) as partial, partial.open("wb") as out:
        for at in range(0, len(order), 1 << 16):
            out.write(some := every[order[at : at + (1 << 16)]].tobytes())
            check.update(some)
        out.write(check.digest())


def _pieces(journal: Path) -> Iterator[bytes]:
    """What was written whole."""
    with journal.open("rb") as file:
        while len(head := file.read(_PIECE.size)) == _PIECE.size:
            magic, length, check = _PIECE.unpack(head)
            if magic != _MAGIC or length % MEASURED.itemsize:
                return
            piece = file.read(length)
            if len(piece) < length or zlib.crc32(piece) != check:
                return
            yield piece
