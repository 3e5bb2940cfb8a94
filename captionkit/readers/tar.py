"""The files in a tar, one after the other: small ones with what they hold, pictures passed over.

Nothing is unpacked to disk. A tar may come from anywhere, so what stands in it is believed only within
bounds: how long a header and a sidecar may be, and how much may come out of few packed bytes.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple, final

from captionkit.errors import DataError
from captionkit.readers.shards import PACKED_SUFFIXES
from captionkit.readers.text import unreadable

MAX_SIDECAR = 16 << 20
"""The longest sidecar in bytes; the longest of 2,590 real captions has 1,700."""
MAX_HEADER = 1 << 18
"""The longest name of a file with what belongs to it, in bytes."""
MAX_RATIO, RATIO_FROM = 200, 256 << 20
"""Over so many bytes, so many times the packed ones are a bomb; pictures hardly shrink at all."""

_STEP = 1 << 20
_BLOCK = tarfile.BLOCKSIZE


class Member(NamedTuple):
    """One file of a tar."""

    name: str
    """Its path inside the tar, with "/", without `./` before it."""
    data: bytes | None
    """What it holds; None where nobody wanted that."""
    fault: DataError | None
    """Why it cannot be used."""
    offset: int = 0
    """Where what it holds begins in the tar, in bytes."""
    length: int = 0
    """How many bytes it holds."""


class DamagedError(DataError):
    """The tar cannot be read further; the files before this place are good."""


class EndError(DamagedError):
    """All files are there, and the end is not as it should be."""


def read_members(shard: Path, wanted: Callable[[str], bool]) -> Iterator[Member]:
    """The files of a tar in order, with the content of those whose name is `wanted`; folders are left out.

    Raises `DamagedError` where the tar is cut short or damaged, after all whole files before that place.
    """
    try:
        with shard.open("rb") as raw:
            file = _Packed(raw, shard) if shard.suffix.lower() in PACKED_SUFFIXES else _Plain(raw, shard)
            yield from _members(file, shard, wanted)
    except OSError as error:
        raise unreadable(shard, error) from error


class _Bounded(ABC):
    """What `tarfile` reads from: no read is longer than a header may be."""

    def __init__(self, shard: Path) -> None:
        self._shard = shard
        self.header = b""
        """What was read last for a header."""

    @final
    def read(self, size: int) -> bytes:
        if not 0 <= size <= MAX_HEADER:
            raise DamagedError(
                f"a header of {size:,} bytes; allowed are {MAX_HEADER:,}",
                where=f"{self._shard}: byte {self.tell():,}",
            )
        self.header = self.content(size)
        return self.header

    @abstractmethod
    def content(self, size: int) -> bytes:
        """So many bytes, of a file in the tar."""

    @abstractmethod
    def seek(self, place: int) -> None:
        """Go to a place, from the beginning of the tar."""

    @abstractmethod
    def tell(self) -> int:
        """The place at which we are."""


@final
class _Plain(_Bounded):
    """A tar as it is: pictures are jumped over."""

    def __init__(self, file: IO[bytes], shard: Path) -> None:
        super().__init__(shard)
        self._file = file

    def content(self, size: int) -> bytes:
        return self._file.read(size)

    def seek(self, place: int) -> None:
        self._file.seek(place)

    def tell(self) -> int:
        return self._file.tell()


@final
class _Packed(_Bounded):
    """A tar in gzip: read forwards only, and given up where it grows without bounds."""

    def __init__(self, file: IO[bytes], shard: Path) -> None:
        super().__init__(shard)
        self._raw = file
        self._file = gzip.GzipFile(fileobj=file)
        self._at = self._place = 0

    def content(self, size: int) -> bytes:
        if self._place < self._at:  # Only where a size is not what it should be.
            raise OSError("it leads backwards")
        while self._at < self._place and self._forward(min(_STEP, self._place - self._at)):
            pass
        pieces, left = list[bytes](), size
        while left > 0 and (piece := self._forward(min(_STEP, left))):
            pieces.append(piece)
            left -= len(piece)
        self._place = self._at
        return b"".join(pieces)

    def seek(self, place: int) -> None:
        self._place = place

    def tell(self) -> int:
        return self._place

    def _forward(self, size: int) -> bytes:
        piece = self._file.read(size)
        self._at += len(piece)
        if self._at > RATIO_FROM and self._at > MAX_RATIO * self._raw.tell():
            raise DamagedError(
                f"{self._at:,} bytes came out of {self._raw.tell():,}: no data set packs so well",
                where=str(self._shard),
                hint="if it is one, unpack it and give the .tar",
            )
        return piece


def _members(file: _Bounded, shard: Path, wanted: Callable[[str], bool]) -> Iterator[Member]:
    tar: tarfile.TarFile | None = None
    at = 0
    while True:
        try:
            if tar is None:
                tar = tarfile.TarFile(fileobj=file, errors="surrogateescape", encoding="utf-8")  # type: ignore[arg-type]
            info = tar.next()
            tar.members.clear()  # type: ignore[attr-defined]  # It keeps all it ever saw.
            if info is None:
                _at_the_end(file, shard, tar.offset)
                return
            if info.size < 0:
                raise ValueError(f"a file of {info.size:,} bytes")
            at = info.offset
            member = _member(file, shard, info, wanted)
        except DamagedError:
            raise
        except (
            tarfile.TarError,
            EOFError,
            zlib.error,
            ValueError,
            OverflowError,
            OSError,
            RecursionError,
        ) as error:
            raise DamagedError(
                f"is cut short or damaged: {error}",
                where=f"{shard}: after byte {at:,}",
                hint="copy it again; the samples before this one are read",
            ) from error
        if member is not None:
            yield member


def _member(
    file: _Bounded, shard: Path, info: tarfile.TarInfo, wanted: Callable[[str], bool]
) -> Member | None:
    if info.isdir():
        return None
    name = info.name.removeprefix("./")
    fault = _fault(info, name)
    if fault is None and wanted(name):
        if info.size > MAX_SIDECAR:
            fault = f"has {info.size:,} bytes; of a sidecar are allowed {MAX_SIDECAR:,}"
        else:
            file.seek(info.offset_data)
            data = file.content(info.size)
            if len(data) < info.size:
                raise EOFError("the file ends in the middle of a sidecar")
            return Member(name, data, None, info.offset_data, info.size)
    where = f"{shard}/{name.encode('utf-8', 'backslashreplace').decode()}"
    fault_of = None if fault is None else DataError(fault, where=where)
    return Member(name, None, fault_of, info.offset_data, info.size)


def _fault(info: tarfile.TarInfo, name: str) -> str | None:
    """Why a file of a tar is not to be used; None for a good one."""
    if info.issym() or info.islnk():
        return f"is a link to {info.linkname!r}; only files are read"
    if not info.isreg() or info.issparse():
        return "is a device, a pipe or a sparse file; only plain files are read"
    parts = name.replace("\\", "/").split("/")
    if ".." in parts or name.startswith(("/", "\\")) or name[1:2] == ":":
        return "leads out of the tar; paths must be relative and without '..'"
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    return "its name holds a control character" if any(char < " " for char in name) else None


def _at_the_end(file: _Bounded, shard: Path, at: int) -> None:
    """tarfile ends in silence at a block that is no header; only an empty block is the end of a tar."""
    where = f"{shard}: byte {at:,}"
    if not file.header:
        what = "ends without the empty blocks that close a tar"
        raise EndError(what, where=where, hint="was it written, or copied, to its end?")
    if file.header != bytes(_BLOCK):
        raise DamagedError(
            "is damaged: what stands here is no header", where=where, hint="copy it again, or write it anew"
        )
    while rest := file.content(_STEP):
        if rest.strip(b"\0"):
            raise EndError(
                "more stands behind the end of the tar, as where two were joined",
                where=where,
                hint="join them with: tar --concatenate",
            )
