"""Which file of a folder is a record's picture, and whether it may be taken."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from captionkit.readers.folder import PICTURE_SUFFIXES
from captionkit.readers.shards import SHARD_SUFFIXES
from captionkit.record import Record
from captionkit.writers.target import Losses


class Picture(NamedTuple):
    """A picture and where it goes; both are relative paths with "/"."""

    source: str
    """Where it is, below the folder at which the records' paths begin; perhaps in a tar: `x.tar/a.png`."""
    place: str
    """Where it goes: the same, without the tar."""


def picture_of(record: Record, root: Path, losses: Losses) -> Picture | None:
    """The record's picture below `root`; None, and noted, where it is none.

    An absolute path counts when it leads into the folder. A path that leads out of it, one without a suffix
    of pictures, or one of no file is not taken: data from elsewhere must not make us copy just anything.
    """
    picture = inside(record, root, losses)
    if picture is None or picture.source != picture.place:  # What a tar holds, its reader has seen.
        return picture
    if not (root / picture.source).is_file():
        losses.leave_out("records whose picture is not there", record.id)
        return None
    return picture


def inside(record: Record, root: Path, losses: Losses) -> Picture | None:
    """The same, whether or not there is such a file."""
    if record.image is None or not record.image.strip():
        losses.leave_out("records without a picture", record.id)
        return None
    base = os.path.abspath(root)
    try:
        source = Path(os.path.relpath(os.path.normpath(os.path.join(base, record.image)), base)).as_posix()
    except ValueError:  # On another drive of Windows.
        source = ".."
    if source.split("/")[0] in ("..", ".") or "\0" in source:
        losses.leave_out("records whose picture lies outside the folder", record.id)
        return None
    if os.path.splitext(source)[1].lower() not in PICTURE_SUFFIXES:
        losses.leave_out("records whose picture is of no kind that is read", record.id)
        return None
    shard = shard_of(root, source)
    return Picture(source, source if shard is None else source[len(shard) + 1 :])


def shard_of(root: Path, source: str) -> str | None:
    """The tar in which a picture lies: `x.tar` of `x.tar/a.png`, if there is such a file."""
    parts = source.split("/")
    for index, part in enumerate(parts[:-1], start=1):
        if part.lower().endswith(SHARD_SUFFIXES) and _is_file(root / "/".join(parts[:index])):
            return "/".join(parts[:index])
    return None


@lru_cache(maxsize=1024)
def _is_file(path: Path) -> bool:
    return path.is_file()
