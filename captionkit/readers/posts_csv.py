"""e621's export of posts: a CSV of millions of rows, in which texts may hold line ends."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from captionkit.errors import CaptionkitError, DataError
from captionkit.readers.entries import EntryReader
from captionkit.readers.fields import Fields
from captionkit.readers.json_window import Window
from captionkit.readers.jsonl import open_lines
from captionkit.readers.source import Block, Report
from captionkit.readers.text import unreadable
from captionkit.record import Record

LONGEST = 1 << 24
"""A row may have so many characters; more is a quotation mark that nobody closes."""

_NUMBERS = frozenset(
    {"id", "fav_count", "score", "up_score", "down_score", "image_width", "image_height", "width", "height"}
)


@dataclass(frozen=True)
class RowsBlock(Block):
    """Some whole rows, as they are written."""

    file: Path
    header: tuple[str, ...]
    text: str
    line: int
    """On which the text begins."""
    num_bytes: int
    reader: EntryReader
    fault: DataError | None = None
    """Why nothing behind them can be read."""

    @property
    def amount(self) -> int:
        """How much of the source this is."""
        return self.num_bytes

    def records(self, report: Report) -> Iterator[Record]:
        """The records of this piece, in order."""
        rows = csv.reader(io.StringIO(self.text, newline="\n"))
        while True:
            line = self.line + rows.line_num
            where = f"{self.file}:{line}"
            try:
                row = next(rows, None)
                if row is None:
                    break
                if row:
                    yield self.reader.record(line, self._fields(row, where), where)
            except csv.Error as error:
                report(DataError(f"cannot be read as CSV: {error}", where=where))
            except CaptionkitError as error:
                report(error)
        if self.fault is not None:
            report(self.fault)

    def _fields(self, row: list[str], where: str) -> Fields:
        """The values by the columns' names: numbers as numbers, and nothing as None."""
        if len(row) != len(self.header):
            raise DataError(
                f"the row has {len(row)} fields, the first line {len(self.header)}",
                where=where,
                hint="texts that hold a comma stand in double quotes; a quote that opens must close",
            )
        fields: dict[str, object] = {}
        for name, text in zip(self.header, row, strict=True):
            if name in _NUMBERS and text:
                fields[name] = _number(text, f"{where}: {name}")
            else:
                fields[name] = text or None
        return fields


def row_blocks(file: Path, reader: EntryReader, columns: Sequence[str]) -> Iterator[Block]:
    """The rows below the header, which names at least `columns`.

    Raises `DataError` when the file cannot be opened, for another header, and when there is no row.
    """
    try:
        opened = open_lines(file)
    except OSError as error:
        raise unreadable(file, error) from error
    with opened:
        window, num_bytes, header = Window(file, opened), 0, tuple[str, ...]()
        empty = True
        while not window.ended:
            window.more()
            end = _end_of_rows(window.text)
            if end == 0 and not window.ended and len(window.text) < LONGEST:
                continue
            fault = _fault(window, end, file)
            if window.ended and fault is None:
                end = len(window.text)
            text, line = window.text[:end], window.place(0)[0]
            if not header and text:
                header, text, line = _header(file, text, columns)
            empty = empty and not text.strip()
            if text or fault is not None or window.num_bytes > num_bytes:
                yield RowsBlock(file, header, text, line, window.num_bytes - num_bytes, reader, fault)
            window.at, num_bytes = end, window.num_bytes
            if fault is not None:
                return
    if empty:
        raise DataError("holds no posts", where=str(file), hint="is it the right file?")


def _fault(window: Window, end: int, file: Path) -> DataError | None:
    """Why nothing can be read behind the rows that end there, if so it is."""
    unclosed = window.text.count('"', end) % 2 == 1 if window.ended else end == 0
    if window.fault is not None or not unclosed:
        return window.fault
    return DataError(
        "a quotation mark opens and is not closed, nothing behind it is read",
        where=f"{file}:{window.place(end)[0]}",
        hint="in this row or one behind it; is the file cut short?",
    )


def _end_of_rows(text: str) -> int:
    """Where the last whole row ends: behind the last line end before which quotation marks are paired."""
    end = text.rfind("\n")
    count = text.count('"', 0, max(end, 0))
    while end >= 0 and count % 2:
        before = text.rfind("\n", 0, end)
        count -= text.count('"', max(before, 0), end)
        end = before
    return end + 1


def _header(file: Path, text: str, columns: Sequence[str]) -> tuple[tuple[str, ...], str, int]:
    """The names of the columns, the text behind them, and the line on which that begins."""
    first, _, rest = text.partition("\n")
    try:
        header = tuple(next(csv.reader([first]), []))
    except csv.Error as error:
        raise DataError(f"cannot be read as CSV: {error}", where=f"{file}:1") from error
    if missing := [column for column in columns if column not in header]:
        raise DataError(
            f"column {', '.join(missing)} is missing; the file has: {', '.join(header) or 'nothing'}"[:500],
            where=f"{file}:1",
            hint="wanted is e621's export of posts",
        )
    return header, rest, 2


def _number(text: str, where: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise DataError(f"must be a whole number, got {text[:60]!r}", where=where) from None
