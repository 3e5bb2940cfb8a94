"""One file that takes its name when everything is in it."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from captionkit.errors import DataError
from captionkit.writers.parts import errors_of_writing, replaced


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write, packed where its name ends in .gz, that becomes `path` when nothing goes wrong.

    Packed twice the same bytes give the same file. Raises `DataError` when it cannot be opened or named;
    writing raises `OSError` (`errors_of_writing`).
    """
    if path.is_dir():
        raise DataError("is a folder", where=str(path), hint="give the name of a file")
    if not path.parent.is_dir():
        raise DataError("its folder is not there", where=str(path), hint="make it, or give another name")
    with replaced(path) as partial:
        with errors_of_writing(path):
            file = partial.open("wb")
        with file:
            if path.suffix.lower() != ".gz":
                yield file
            else:
                with gzip.GzipFile("", "wb", 6, file, 0) as packed:
                    yield packed  # type: ignore[misc]  # A file in all but its type.
