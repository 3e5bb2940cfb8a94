"""JSON Lines: one record per line; and the record of one object, wherever it was read."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from captionkit.errors import CaptionkitError, DataError
from captionkit.readers.facts import facts_in
from captionkit.readers.fields import (
    IMAGE_KEYS,
    Fields,
    neither,
    one_of,
    parse_object,
    prose_in,
    tags_in,
)
from captionkit.readers.source import Block, Report, Source, strict
from captionkit.readers.text import UTF8_BOM, decode, next_lines, unreadable
from captionkit.record import Record

BYTES_PER_BLOCK = 1 << 20
"""So much text is read at a time: one or two thousand records."""


@dataclass(frozen=True)
class JsonlBlock(Block):
    """Some lines of a file."""

    file: Path
    number: int
    """Of the first of them, from 1."""
    offset: int
    """Of the first of them, in bytes."""
    lines: tuple[bytes, ...]
    untagged: bool = False

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
                record = _record(text.rstrip(), self.file, number, self.untagged) if text.strip() else None
            except CaptionkitError as error:
                report(error)
            else:
                if record is not None:
                    yield record
            offset += len(line)


@dataclass(frozen=True)
class JsonlSource(Source):
    """The lines of a JSON Lines file (`read_jsonl` says what they hold); `.gz` is unpacked on the way."""

    file: Path
    untagged: bool = False
    """Whether what has neither tags nor captions is a record, too."""

    @property
    def unit(self) -> str:
        """What amounts are counted in."""
        return "B"

    @property
    def root(self) -> Path:
        """The folder at which relative paths of pictures begin."""
        return self.file.parent

    def total(self) -> int | None:
        """The amount of everything; None when only reading tells."""
        return None if self.file.suffix.lower() == ".gz" else self.file.stat().st_size

    def blocks(self, report: Report) -> Iterator[Block]:
        """The pieces, in order."""
        empty, number, offset = True, 1, 0
        try:
            with open_lines(self.file) as lines:
                while some := next_lines(lines, self.file, number, BYTES_PER_BLOCK):
                    empty = empty and not b"".join(some).removeprefix(UTF8_BOM).strip()
                    yield JsonlBlock(self.file, number, offset, some, self.untagged)
                    number, offset = number + len(some), offset + sum(map(len, some))
        except (OSError, EOFError, zlib.error) as error:  # Of a `.gz` that is cut short.
            raise unreadable(self.file, error) from error
        if empty:
            raise DataError("holds no records", where=str(self.file), hint="write one JSON object per line")


def open_lines(file: Path) -> IO[bytes]:
    """The bytes of a text file, unpacked when its suffix is `.gz`."""
    return cast(IO[bytes], gzip.open(file)) if file.suffix.lower() == ".gz" else file.open("rb")


def read_jsonl(path: str | os.PathLike[str], *, on_error: Report | None = None) -> Iterator[Record]:
    """The records of a JSON Lines file, a few thousand lines in memory at a time.

    A line is an object with
        "file", "image" or "file_name": the picture, as it will stand in `Record.image`;
        "id": a text or a whole number; without it, the picture's path without its suffix;
        "tags": ["a", "b"], "a, b", or {"species": ["a"]};
            an entry of a list may be {"name", "category", "source", "score"};
        "caption", "captions", "text" or "prose": a text, a list, or texts by source {"cogvlm": "..."}.
    A text, a number, true or false under any other key becomes a fact of the record, such as "rating" or
    "fav_count"; so do those of an object under "info", by their own names, and those of any other object, as
    in "score.total". All else is passed over, and so are empty lines. Nothing is remembered from line to
    line, so two lines with one id are not found here.

    Raises `DataError` at once when there is no such file, and at the end when there was no line in it. For a
    bad line, `on_error` is called and the line is skipped; without `on_error` the error is raised.
    """
    file = Path(path)
    if not file.is_file():
        what = "is a folder, not a JSON Lines file" if file.is_dir() else "no such file"
        raise DataError(what, where=str(file), hint="read_records takes a folder or a .jsonl file")
    return JsonlSource(file).records(on_error or strict)


def _record(text: str, file: Path, number: int, untagged: bool) -> Record:
    where = f"{file}:{number}"
    if number == 1 and text.lstrip().startswith("["):
        raise DataError(
            "is one JSON array, not JSON Lines",
            where=where,
            hint="write one object per line, for example: jq -c '.[]' old.json > new.jsonl",
        )
    return record_of(parse_object(text, file, number), where, allow_empty=untagged)


def record_of(fields: Mapping[str, object], where: str, *, allow_empty: bool = False) -> Record:
    """The record of one object that is read already, such as a row of a table; keys as in `read_jsonl`.

    Values are what JSON knows: texts, numbers, true, false, None, lists, and dicts under names. `where` is
    the place that errors name, such as "pictures.parquet: row 7". With `allow_empty` it may have neither tags
    nor captions. Raises `DataError` as for a line.

    >>> record_of({"image": "a.png", "tags": ["fox", "snow"], "score": 7}, "row 1").id
    'a'
    """
    try:
        image = _image(fields, where)
        tags, prose = tags_in(fields, where), prose_in(fields, where)
        if not (tags or prose or allow_empty):
            raise neither(fields, where)
        facts = facts_in(fields, where)
    except TypeError as error:  # What JSON does not know cannot be shown as JSON in a message.
        raise DataError(f"holds what JSON does not know: {error}", where=where) from error
    return Record(_id(fields, image, where), tags, prose, image, tuple(facts.items()))


def _image(fields: Fields, where: str) -> str | None:
    key = one_of(fields, IMAGE_KEYS, where, "the picture's path may")
    if key is None:
        return None
    value = fields[key]
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"must be the path of a picture, got {value!r}", where=f"{where}: {key}")
    return value


def _id(fields: Fields, image: str | None, where: str) -> str:
    value = fields.get("id")
    if value is None:
        if image is None:
            raise DataError(
                "has neither 'id' nor a picture ('file', 'image' or 'file_name')",
                where=where,
                hint="the draws of a record hang on its id; give it one",
            )
        return os.path.splitext(image)[0]
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise DataError(f"must be a text or a whole number, got {value!r}", where=f"{where}: id")
    return str(value)
