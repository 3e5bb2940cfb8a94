"""CSV and TSV tables: one record a row under a line of column names."""

from __future__ import annotations

import csv
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from captionkit.errors import CaptionkitError, DataError
from captionkit.readers.csv_cells import fact_of, value_of
from captionkit.readers.facts import ID_KEY, INFO_KEY
from captionkit.readers.fields import CAPTION_KEYS, IMAGE_KEYS, TAGS_KEY
from captionkit.readers.jsonl import open_lines, record_of
from captionkit.readers.source import Block, Report, Source
from captionkit.readers.table_columns import check_columns
from captionkit.readers.text import decode, next_line, unreadable
from captionkit.record import Record

ROWS_PER_BLOCK = 2048
LONGEST_CELL = 1 << 24
"""A cell may have so many characters; more is a quotation mark that nobody closes."""

_NESTED = frozenset({TAGS_KEY, *CAPTION_KEYS})
_TEXTS = frozenset({ID_KEY, *IMAGE_KEYS, INFO_KEY})


@dataclass(frozen=True)
class CsvBlock(Block):
    """Some rows, cut into cells."""

    file: Path
    names: tuple[str, ...]
    rows: tuple[tuple[int, list[str]], ...]
    """Each with the number of its first line."""
    num_bytes: int
    faults: tuple[CaptionkitError, ...] = ()
    """What was no row, each with its line."""
    untagged: bool = False

    @property
    def amount(self) -> int:
        """How much of the source this is."""
        return self.num_bytes

    def records(self, report: Report) -> Iterator[Record]:
        """The records of this piece, in order."""
        for fault in self.faults:
            report(fault)
        for line, cells in self.rows:
            where = f"{self.file}:{line}"
            try:
                yield record_of(self._fields(cells, line, where), where, allow_empty=self.untagged)
            except CaptionkitError as error:
                report(error)

    def _fields(self, cells: list[str], line: int, where: str) -> dict[str, object]:
        if len(cells) != len(self.names):
            raise DataError(
                f"the row has {len(cells)} cells, the first line names {len(self.names)} columns",
                where=where,
                hint="a cell that holds a separator or a line end stands in double quotes",
            )
        fields: dict[str, object] = {}
        for name, cell in zip(self.names, cells, strict=True):
            if not name or not cell:
                continue
            if name in _NESTED:
                fields[name] = value_of(cell, self.file, line)
            else:
                fields[name] = cell if name in _TEXTS else fact_of(cell)
        return fields


@dataclass(frozen=True)
class CsvSource(Source):
    """A .csv or .tsv file in UTF-8, also as .gz; the first line names the columns.

    Columns are the keys of `read_jsonl`: image, id, tags ("a, b"), caption; all others are facts, numbers
    where they look like one, true or false, else text; an empty cell is unknown. A cell of tags or captions
    may be JSON, a list or an object as in `read_jsonl`, and a cell of info is an object of facts. A column
    without a name is passed over, as the row numbers of pandas. Cells are separated by what stands in the
    first line: comma, else semicolon, else tab; in .tsv by tab.
    """

    path: Path
    untagged: bool = False
    """Whether what has neither tags nor captions is a record, too."""

    @property
    def unit(self) -> str:
        """What amounts are counted in."""
        return "B"

    @property
    def root(self) -> Path:
        """The folder at which relative paths of pictures begin."""
        return self.path.parent

    def total(self) -> int | None:
        """The amount of everything; None when only reading tells."""
        return None if self.path.suffix == ".gz" else self.path.stat().st_size

    def blocks(self, report: Report) -> Iterator[Block]:
        """The pieces, in order."""
        empty = True
        with errors_of_reading(self.path), open_lines(self.path) as opened:
            lines = _Lines(self.path, opened)
            separator = separator_of(self.path, lines.peeked())
            names = _names(lines, separator, self.untagged)
            while (block := _block(lines, names, separator, self.untagged)) is not None:
                empty = empty and not block.rows and not block.faults
                yield block
        if empty:
            raise DataError("holds no rows below its line of names", where=str(self.path))


def separator_of(path: Path, first: str) -> str:
    """What separates the cells of a table whose first line is `first`."""
    if ".tsv" in path.suffixes[-2:]:
        return "\t"
    return next((mark for mark in ",;\t" if mark in first), ",")


@contextmanager
def long_cells() -> Iterator[None]:
    """Python's limit of 131,072 characters in a cell is lifted; it holds for the whole process, so only while
    something is parsed."""
    before = csv.field_size_limit(LONGEST_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(before)


@contextmanager
def errors_of_reading(file: Path) -> Iterator[None]:
    """What a file or its compression does not let us read, as `DataError`."""
    try:
        yield
    except zlib.error as error:
        raise DataError(f"cannot be unpacked: {error}", where=str(file)) from error
    except (OSError, EOFError) as error:  # EOFError: a `.gz` that is cut short.
        raise unreadable(file, error) from error


@dataclass
class _Lines:
    """The decoded lines of a file, for `csv.reader`, which joins those of one row."""

    file: Path
    opened: IO[bytes] | Any
    number: int = 0
    """How many were read."""
    num_bytes: int = 0
    told: int = 0
    """How many of these bytes belong to blocks that were made."""
    faults: list[DataError] = field(default_factory=list)
    """Of lines that are no UTF-8, since these were last taken."""
    _peeked: str | None = None

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        if self._peeked is not None:
            line, self._peeked = self._peeked, None
        else:
            line = self._read()
        self.number += 1
        return line

    def peeked(self) -> str:
        """The first line, which will still be read; empty when there is none."""
        try:
            self._peeked = self._read()
        except StopIteration:
            return ""
        return self._peeked

    def _read(self) -> str:
        line = next_line(self.opened, self.file, self.number + 1)
        if not line:
            raise StopIteration
        first, number = self.num_bytes == 0, self.number + 1
        offset, self.num_bytes = self.num_bytes, self.num_bytes + len(line)
        try:
            # A NUL below the first line is the file's own affair: text may hold one.
            return decode(line, self.file, line=number, offset=offset) if first else line.decode("utf-8")
        except UnicodeDecodeError:
            try:
                decode(line, self.file, line=number, offset=offset)
            except DataError as error:
                self.faults.append(error)
            return line.decode("utf-8", "replace")  # The row is not used, but its quotes count.
        return line


def _names(lines: _Lines, separator: str, untagged: bool) -> tuple[str, ...]:
    """The names of the columns. Raises `DataError` when no row can be a record under them."""
    where = f"{lines.file}:1"
    try:
        with long_cells():
            names = next(csv.reader(lines, delimiter=separator, strict=True), [])
    except csv.Error as error:
        raise DataError(f"is no line of column names: {error}", where=where) from error
    names = [name.strip() for name in names]
    check_columns([name for name in names if name], where, untagged=untagged)
    return tuple(names)


def _block(lines: _Lines, names: tuple[str, ...], separator: str, untagged: bool) -> CsvBlock | None:
    """The next rows; None at the end of the file."""
    rows: list[tuple[int, list[str]]] = []
    faults: list[CaptionkitError] = []
    reader = csv.reader(lines, delimiter=separator, strict=True)
    ended = False
    with long_cells():
        while len(rows) < ROWS_PER_BLOCK and not ended:
            line = lines.number + 1
            try:
                cells = next(reader, None)
            except csv.Error as error:
                faults.append(
                    DataError(
                        f"cannot be read as CSV: {error}",
                        where=f"{lines.file}:{line}",
                        hint='a quotation mark inside a cell is doubled: "5"" wide"',
                    )
                )
                cells = []
            ended = cells is None
            if lines.faults:
                faults += lines.faults
                lines.faults.clear()
            elif cells:
                rows.append((line, cells))
    if ended and not rows and not faults:
        return None
    num_bytes, lines.told = lines.num_bytes - lines.told, lines.num_bytes
    return CsvBlock(lines.file, names, tuple(rows), num_bytes, tuple(faults), untagged)
