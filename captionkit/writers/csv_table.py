"""CSV and TSV tables: one record a row, one column per fact."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from captionkit.readers.csv_cells import cell_of, fact_of, is_json
from captionkit.readers.csv_table import long_cells, separator_of
from captionkit.readers.facts import ID_KEY, INFO_KEY
from captionkit.readers.fields import TAGS_KEY
from captionkit.record import Fact, Record, parse_tags
from captionkit.writers.fact_columns import MOST_COLUMNS
from captionkit.writers.fields import as_unicode, readable
from captionkit.writers.parts import Parts, errors_of_writing, parts_beside
from captionkit.writers.target import Losses, Sink, Target
from captionkit.writers.whole_file import whole_file

IMAGE_KEY = "image"
CAPTION_KEY = "caption"
CAPTIONS_KEY = "captions"

_FIRST = (ID_KEY, IMAGE_KEY, TAGS_KEY, CAPTION_KEY)

Fields: TypeAlias = dict[str, Any]
Cells: TypeAlias = dict[str, str]
"""The cells of a row by their columns; those that are not there are empty."""


@dataclass(frozen=True)
class CsvTarget(Target):
    """A .csv or .tsv file in UTF-8, packed where its name ends in .gz.

    Columns: id, image, tags, caption, one for each fact, and info. Tags are "a, b", and a JSON list where
    that would not be read back, or where more is known of a tag than its name; several captions, and one that
    is not by a human, are JSON too. Facts that would be read as something else, such as the text "7", and
    those whose names mean something else, stand in the column info, a JSON object.

    A record with neither tags nor captions is left out. Memory does not grow with the number of records.
    """

    path: Path

    @property
    def home(self) -> Path:
        """The folder at which relative paths of pictures begin."""
        return self.path.parent

    def encode(self, records: Iterable[Record], losses: Losses) -> bytes:
        """The records as one chunk."""
        fields = readable(records, losses)
        try:
            return _chunk(fields, self._separator)
        except UnicodeEncodeError:
            return _chunk(as_unicode(fields, losses), self._separator)

    @contextmanager
    def open(self) -> Iterator[Sink]:
        """Open for writing; leaving the context finishes it."""
        with whole_file(self.path) as file, parts_beside(self.path) as parts:
            sink = _CsvParts(parts)
            yield sink
            with errors_of_writing(self.path):
                file.writelines(sink.pieces(self._separator))

    @property
    def _separator(self) -> str:
        return separator_of(self.path, "")


class _CsvParts(Sink):
    """Takes chunks, and gives them back under the columns of all."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._uses: Counter[str] = Counter()

    def append(self, chunk: bytes) -> None:
        """Write one chunk."""
        # Counter.update keeps the order in which names were first seen.
        self._uses.update(json.loads(chunk.partition(b"\n")[0])["uses"])
        self._parts.append(chunk)

    def pieces(self, separator: str) -> Iterator[bytes]:
        """The text of the file: the line of names, then chunk by chunk."""
        names = _names(self._uses)
        yield _text([dict(zip(names, names, strict=True))], names, separator)
        for chunk in self._parts:
            head, _, body = chunk.partition(b"\n")
            own = json.loads(head)["names"]
            if own != names:
                body = _text((_fitted(row, names) for row in _rows(body, own, separator)), names, separator)
            yield body


def _chunk(fields: list[Fields], separator: str) -> bytes:
    """Rows as text under a line of JSON, which has the names of their columns and how many use each fact."""
    rows = [_cells(row) for row in fields]
    uses = Counter(name for row in rows for name in row if name not in _FIRST)
    names = _names(uses)
    head = json.dumps({"uses": uses, "names": names}).encode("utf-8")
    return head + b"\n" + _text((_fitted(row, names) for row in rows), names, separator)


def _names(uses: Counter[str]) -> list[str]:
    """The columns, in order, of rows that use these facts so often."""
    facts = [name for name in uses if name != INFO_KEY]
    kept = {name for name, _ in Counter({name: uses[name] for name in facts}).most_common(MOST_COLUMNS)}
    has_info = INFO_KEY in uses or len(facts) > len(kept)
    return [*_FIRST, *(name for name in facts if name in kept), *([INFO_KEY] if has_info else [])]


def _cells(fields: Fields) -> Cells:
    """The cells of one record."""
    cells: Cells = {}
    info: dict[str, Fact] = dict(fields.get(INFO_KEY, {}))
    for key, value in fields.items():
        if key == TAGS_KEY:
            cells[key] = _tags(value)
        elif key in (CAPTION_KEY, CAPTIONS_KEY):
            cells[CAPTION_KEY] = value if isinstance(value, str) and not is_json(value) else _json(value)
        elif key in (ID_KEY, IMAGE_KEY):
            cells[key] = value
        elif key != INFO_KEY:
            cell = cell_of(value)
            if cell is None or key != key.strip() or "\0" in key:
                info[key] = value
            else:
                cells[key] = cell
    if info:
        cells[INFO_KEY] = _json(info)
    return cells


def _tags(value: Any) -> str:
    """Names with commas between them, if they are read back from that; else JSON."""
    if isinstance(value, list) and isinstance(value[0], str):  # Then all are: see `fields_of`.
        text = ", ".join(value)
        # Only a comma inside a name, or a choice in braces, can make other tags of it.
        whole = "{" not in text and text.count(",") == len(value) - 1
        if not is_json(text) and (whole or [tag.name for tag in parse_tags(text)] == value):
            return text
    return _json(value)


def _json(value: Any) -> str:
    # A list around one text: a text alone would be read as it stands, marks and all.
    return json.dumps([value] if isinstance(value, str) else value, ensure_ascii=False)


def _fitted(row: Cells, names: list[str]) -> Cells:
    """The row with its other facts in the column info."""
    if row.keys() <= set(names):
        return row
    info = json.loads(row.get(INFO_KEY, "{}"))
    info |= {name: fact_of(cell) for name, cell in row.items() if name not in names}
    return {**{name: cell for name, cell in row.items() if name in names}, INFO_KEY: _json(info)}


def _text(rows: Iterable[Cells], names: list[str], separator: str) -> bytes:
    """Rows of CSV under these columns, without the line of names."""
    out = io.StringIO()
    plain = csv.writer(out, delimiter=separator, lineterminator="\n")
    quoted = csv.writer(out, delimiter=separator, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in rows:
        cells = [row.get(name, "") for name in names]
        # Python quotes a cell for a line feed in it, not for a carriage return, and then reads no such cell.
        (quoted if any("\r" in cell for cell in cells) else plain).writerow(cells)
    return out.getvalue().encode("utf-8")


def _rows(body: bytes, names: list[str], separator: str) -> Iterator[Cells]:
    with long_cells():
        rows = list(csv.reader(io.StringIO(body.decode("utf-8"), newline=""), delimiter=separator))
    for row in rows:
        yield {name: cell for name, cell in zip(names, row, strict=True) if cell}
