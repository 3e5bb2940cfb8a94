"""From a record's path to the bytes: a file below the root, or a member of a tar below it."""

from __future__ import annotations

import os
import stat
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from captionkit import CaptionkitError
from captionkit.pictures import MAX_BYTES
from captionkit.readers.shards import PACKED_SUFFIXES, SHARD_SUFFIXES
from captionkit.readers.tar import read_members
from trainkit.prepare.problems import Fault, UnusableError

_TARS_KEPT = 16
"""So many tars' tables of contents are kept, for records that jump between them."""


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a picture's bytes lie."""

    image: str
    """Its path relative to the root, with "/"; for one in a tar `shard.tar/name/in/tar.jpg`."""
    container: str | None
    """The tar's path relative to the root; None for a file of its own."""
    path: str
    """The file or tar, to be opened."""
    offset: int
    length: int
    mtime_ns: int
    """Of the file or tar."""

    def read(self) -> bytes:
        """The bytes. Raises UnusableError when they are not all there."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self.offset)
                data = file.read(self.length)
        except OSError as error:
            raise UnusableError(Fault.UNREADABLE, _why(error)) from None
        if len(data) < self.length:
            raise UnusableError(Fault.TRUNCATED, f"has {len(data):,} bytes of {self.length:,}")
        return data


class Places:
    """Finds pictures below one root; remembers what is in the last few tars."""

    def __init__(self, root: Path) -> None:
        self._root = os.path.abspath(root)
        self._tars: OrderedDict[str, dict[str, tuple[int, int]]] = OrderedDict()

    def find(self, image: str | None) -> Spot:
        """Where a record's picture lies. Raises UnusableError when nothing can be read there."""
        if image is None or not image.strip():
            raise UnusableError(Fault.UNNAMED, "the record names no picture")
        inside = inside_of(self._root, image)
        path = os.path.join(self._root, inside)
        try:
            found = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return self._in_tar(inside)
        except OSError as error:
            raise UnusableError(Fault.UNREADABLE, _why(error)) from None
        if not stat.S_ISREG(found.st_mode):
            raise UnusableError(Fault.UNREADABLE, "is no plain file")
        return Spot(inside, None, path, 0, _bounded(found.st_size), found.st_mtime_ns)

    def _in_tar(self, inside: str) -> Spot:
        parts = inside.split("/")
        for end in range(1, len(parts)):
            container, member = "/".join(parts[:end]), "/".join(parts[end:])
            path = os.path.join(self._root, container)
            if not container.lower().endswith(SHARD_SUFFIXES) or not os.path.isfile(path):
                continue
            if container.lower().endswith(PACKED_SUFFIXES):
                raise UnusableError(
                    Fault.PACKED,
                    f"lies in {container}, which can only be read from its beginning on: unpack that to .tar",
                )
            place = self._contents(path).get(member)
            if place is None:
                raise UnusableError(Fault.MISSING, f"is not in {container}")
            mtime_ns = os.stat(path).st_mtime_ns
            return Spot(inside, container, path, place[0], _bounded(place[1]), mtime_ns)
        raise UnusableError(Fault.MISSING, "no such file")

    def _contents(self, tar: str) -> dict[str, tuple[int, int]]:
        """Offset and length by name; of a damaged tar what stands before the damage, which its reader
        reports."""
        if tar in self._tars:
            self._tars.move_to_end(tar)
            return self._tars[tar]
        found: dict[str, tuple[int, int]] = {}
        try:
            for member in read_members(Path(tar), _nothing):
                if member.fault is None:
                    found.setdefault(member.name, (member.offset, member.length))
        except CaptionkitError:
            pass
        self._tars[tar] = found
        if len(self._tars) > _TARS_KEPT:
            self._tars.popitem(last=False)
        return found


def inside_of(root: str, image: str) -> str:
    """A record's path relative to the root, with "/". Raises UnusableError when it leads out of it."""
    if "\0" in image:
        raise UnusableError(Fault.OUTSIDE, "the path holds a zero byte")
    try:
        relative = os.path.relpath(os.path.normpath(os.path.join(root, image)), root)
    except ValueError:  # On another drive of Windows.
        relative = ".."
    inside = relative.replace(os.sep, "/")
    if inside.split("/")[0] in ("..", "."):
        raise UnusableError(Fault.OUTSIDE, "the path leads out of the root, so it is not read")
    return inside


def _bounded(length: int) -> int:
    if length > MAX_BYTES:
        raise UnusableError(Fault.UNREADABLE, f"has {length:,} bytes; of a picture are read {MAX_BYTES:,}")
    return length


def _nothing(name: str) -> bool:
    """Nobody wants what is in the file of this name."""
    return False


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
