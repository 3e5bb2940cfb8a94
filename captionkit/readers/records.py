"""Records from wherever a path leads: a folder of pictures or a JSON Lines file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from captionkit.errors import CaptionkitError, DataError
from captionkit.readers.folder import read_folder
from captionkit.readers.jsonl import read_jsonl
from captionkit.readers.text import unreadable
from captionkit.record import Record

LINES_SUFFIXES = frozenset({".jsonl", ".ndjson"})


def read_records(
    path: str | os.PathLike[str],
    *,
    sentences: bool = True,
    on_error: Callable[[CaptionkitError], None] | None = None,
) -> Iterator[Record]:
    """The records of a folder (`read_folder`) or of a .jsonl file (`read_jsonl`).

    `sentences` says whether whole sentences among the tags of a .txt file are captions.
    Raises `DataError` at once when the path is neither; for what happens to bad records see those two.
    """
    place = Path(path)
    if os.fspath(path) == "":  # What a shell makes of a variable that is not set; as a path it is `.`.
        raise DataError("the path is empty", hint="give a folder of pictures or a .jsonl file")
    try:
        exists = place.exists()
    except OSError as error:  # Such as a name that is too long for the system.
        raise unreadable(place, error) from error
    if place.is_dir():
        return read_folder(place, sentences=sentences, on_error=on_error)
    if not exists:
        raise DataError(
            "no such file or folder", where=str(place), hint=f"looked from the folder {str(Path.cwd())!r}"
        )
    if place.suffix.lower() not in LINES_SUFFIXES:
        raise DataError(
            f"is neither a folder of pictures nor a JSON Lines file: its suffix is {place.suffix!r}",
            where=str(place),
            hint="write one JSON object per line and call the file *.jsonl",
        )
    return read_jsonl(place, on_error=on_error)
