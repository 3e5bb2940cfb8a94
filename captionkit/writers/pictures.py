"""Which file of a folder is a record's picture, and whether it may be taken."""

from __future__ import annotations

import os
from pathlib import Path

from captionkit.readers.folder import PICTURE_SUFFIXES
from captionkit.record import Record
from captionkit.writers.target import Losses


def picture_of(record: Record, root: Path, losses: Losses) -> str | None:
    """The path of the record's picture relative to `root`, with "/"; None, and noted, where it is none.

    An absolute path counts when it leads into the folder. A path that leads out of it, one without a suffix
    of pictures, or one of no file is not taken: data from elsewhere must not make us copy just anything.
    """
    place = inside(record, root, losses)
    if place is None:
        return None
    if not (root / place).is_file():
        losses.add("records whose picture is not there, left out", record.id)
        return None
    return place


def inside(record: Record, root: Path, losses: Losses) -> str | None:
    """The same, whether or not there is such a file."""
    if record.image is None or not record.image.strip():
        losses.add("records without a picture, left out", record.id)
        return None
    base = os.path.abspath(root)
    try:
        place = Path(os.path.relpath(os.path.normpath(os.path.join(base, record.image)), base)).as_posix()
    except ValueError:  # On another drive of Windows.
        place = ".."
    if place.split("/")[0] in ("..", ".") or "\0" in place:
        losses.add("records whose picture lies outside the folder, left out", record.id)
        return None
    if os.path.splitext(place)[1].lower() not in PICTURE_SUFFIXES:
        losses.add("records whose picture is of no kind that is read, left out", record.id)
        return None
    return place
