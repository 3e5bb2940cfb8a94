"""JSON Lines: one record a line, the form in which nothing of it is lost."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from captionkit.record import Record
from captionkit.writers.fields import as_unicode, readable
from captionkit.writers.parts import errors_of_writing
from captionkit.writers.target import Losses, Sink, Target
from captionkit.writers.whole_file import whole_file

_dumps = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


@dataclass(frozen=True)
class JsonlTarget(Target):
    """A .jsonl file in UTF-8 as `read_jsonl` reads it, packed where its name ends in .gz.

    A line has "id", "image", "tags", "caption" or "captions", and the facts by their names (`fields_of`).
    Everything comes back that a reader can have read. Noted are records without tags and captions, which are
    left out, and what `fields_of` notes; half a surrogate pair is written as U+FFFD.
    """

    path: Path

    @property
    def home(self) -> Path:
        """The folder at which relative paths of pictures begin."""
        return self.path.parent

    def encode(self, records: Iterable[Record], losses: Losses) -> bytes:
        """The records as one chunk."""
        rows = readable(records, losses)
        try:
            return "".join([_dumps(row) + "\n" for row in rows]).encode("utf-8")
        except UnicodeEncodeError:
            return "".join([_dumps(row) + "\n" for row in as_unicode(rows, losses)]).encode("utf-8")

    @contextmanager
    def open(self) -> Iterator[Sink]:
        """Open for writing; leaving the context finishes it."""
        with whole_file(self.path) as file:
            yield _Lines(self.path, file)


class _Lines(Sink):
    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path, self._file = path, file

    def append(self, chunk: bytes) -> None:
        """Write one chunk."""
        with errors_of_writing(self._path):
            self._file.write(chunk)
