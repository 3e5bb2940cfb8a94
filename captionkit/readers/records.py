"""Records from wherever a path leads."""

from __future__ import annotations

import os
from collections.abc import Iterator

from captionkit.readers.open import open_source
from captionkit.readers.source import Report, strict
from captionkit.record import Record


def read_records(
    path: str | os.PathLike[str], *, sentences: bool = True, on_error: Report | None = None
) -> Iterator[Record]:
    """The records of a folder, a table, a tar or a file of another program; `open_source` says which.

    `sentences` says whether whole sentences among the tags of a .txt file are captions. Raises `DataError` at
    once when the path is none of these. For a bad record, `on_error` is called and it is skipped; without
    `on_error` the error is raised.
    """
    return open_source(path, sentences=sentences).records(on_error or strict)
