"""Blocks of the entries of other programs' JSON: one big value, or JSON Lines, each entry to be a record."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from captionkit.errors import CaptionkitError, DataError
from captionkit.readers.fields import Fields, parse_object
from captionkit.readers.json_stream import Layout, Piece, json_pieces
from captionkit.readers.jsonl import BYTES_PER_BLOCK, open_lines
from captionkit.readers.source import Block, Report
from captionkit.readers.text import UTF8_BOM, decode, next_lines, unreadable
from captionkit.record import Record


class EntryReader(ABC):
    """How an entry of one format becomes a record. It can be pickled."""

    @abstractmethod
    def record(self, key: str | int, fields: Fields, where: str) -> Record:
        """The record of an entry with this key, or number from 0. Raises `DataError` with the place."""


@dataclass(frozen=True)
class EntriesBlock(Block):
    """Some entries of one big JSON value."""

    piece: Piece
    reader: EntryReader

    @property
    def amount(self) -> int:
        """How much of the source this is."""
        return self.piece.num_bytes

    def records(self, report: Report) -> Iterator[Record]:
        """The records of this piece, in order."""
        file = self.piece.file
        for key, text, line in self.piece.entries():
            try:
                fields = parse_object(text, file, line)
                record = self.reader.record(_whole(key, file, line), fields, f"{file}:{line}")
            except CaptionkitError as error:
                report(error)
            else:
                yield record
        if self.piece.fault is not None:
            report(self.piece.fault)


@dataclass(frozen=True)
class LinesBlock(Block):
    """Some lines of a JSON Lines file."""

    file: Path
    number: int
    """Of the first of them, from 1."""
    offset: int
    """Of the first of them, in bytes."""
    lines: tuple[bytes, ...]
    reader: EntryReader
    fault: DataError | None = None
    """Why nothing behind them can be read."""

    @property
    def amount(self) -> int:
        """How much of the source this is."""
        return sum(map(len, self.lines))

    def records(self, report: Report) -> Iterator[Record]:
        """The records of this piece, in order."""
        offset = self.offset
        for number, line in enumerate(self.lines, start=self.number):
            try:
                text = decode(line, self.file, line=number, offset=offset)
                if text.strip():
                    fields = parse_object(text.rstrip(), self.file, number)
                    yield self.reader.record(number - 1, fields, f"{self.file}:{number}")
            except CaptionkitError as error:
                report(error)
            offset += len(line)
        if self.fault is not None:
            report(self.fault)


def entry_blocks(file: Path, layout: Layout, reader: EntryReader) -> Iterator[Block]:
    """The blocks of one big JSON value; raises `DataError` as `json_pieces` does."""
    for piece in json_pieces(file, layout):
        yield EntriesBlock(piece, reader)


def line_blocks(file: Path, reader: EntryReader) -> Iterator[Block]:
    """The blocks of JSON Lines, `.gz` unpacked on the way.

    Raises `DataError` when the file cannot be opened, and at the end when there was no line in it.
    """
    empty, number, offset = True, 1, 0
    try:
        opened = open_lines(file)
    except OSError as error:
        raise unreadable(file, error) from error
    with opened as lines:
        while True:
            try:
                some = next_lines(lines, file, number, BYTES_PER_BLOCK)
            except DataError as error:
                yield LinesBlock(file, number, offset, (), reader, error)
                return
            except (OSError, EOFError, zlib.error) as error:  # Of a `.gz` that is cut short.
                yield LinesBlock(file, number, offset, (), reader, unreadable(file, error))
                return
            if not some:
                break
            empty = empty and not b"".join(some).removeprefix(UTF8_BOM).strip()
            yield LinesBlock(file, number, offset, some, reader)
            number, offset = number + len(some), offset + sum(map(len, some))
    if empty:
        raise DataError("holds no records", where=str(file), hint="write one JSON object per line")


def total_bytes(file: Path) -> int | None:
    """The size of a file; None for one that is packed, and for one that is not there."""
    try:
        return None if file.suffix == ".gz" else file.stat().st_size
    except OSError:
        return None


def _whole(key: str | int, file: Path, line: int) -> str | int:
    """The key. Raises `DataError` when it holds half a surrogate pair, which no file can hold again."""
    if isinstance(key, str) and not key.isascii():
        try:
            key.encode("utf-8")
        except UnicodeEncodeError as error:
            raise DataError(
                f"the key {key!r} holds half a surrogate pair, which is no character", where=f"{file}:{line}"
            ) from error
    return key
