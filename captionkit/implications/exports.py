"""The exports of e621 and Danbooru, row by row: CSV, JSON lines, one JSON array, each also as `.gz`."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

from captionkit.errors import ImplicationsError

PAIR_COLUMNS = ("antecedent_name", "consequent_name", "status")
"""What a row of implications or aliases must have; the exports have `id` and `created_at` besides."""

_FIRST = re.compile(r"\s*(\S)")


@dataclass(frozen=True, slots=True)
class Pairs:
    """The active rows of an export of implications or aliases."""

    active: tuple[tuple[str, str], ...]
    """(antecedent, consequent) as they are spelled in the file."""
    left_aside: Mapping[str, int]
    """How many rows had another status, such as `{"deleted": 5058, "pending": 511}`."""


def read_pairs(path: Path) -> Pairs:
    """The active pairs of an export of implications or aliases.

    Raises `ImplicationsError` with file and line for what cannot be read, for a missing column, for an empty
    name, and for a file without a single active row, which would silently do nothing.
    """
    active: list[tuple[str, str]] = []
    left_aside: Counter[str] = Counter()
    for place, (antecedent, consequent, status) in export_rows(path, PAIR_COLUMNS):
        if status != "active":
            status = str(status).strip().lower()
            if status != "active":
                left_aside[status or "without status"] += 1
                continue
        try:
            named = antecedent.replace("_", " ").strip() and consequent.replace("_", " ").strip()
        except AttributeError:  # Only JSON has values that are no text.
            named = False
        if not named:
            raise ImplicationsError(
                f"a name is empty: {antecedent!r} implies {consequent!r}", where=f"{path}{place}"
            )
        active.append((antecedent, consequent))
    if not active:
        counts = ", ".join(f"{number:,} {status}" for status, number in left_aside.most_common())
        raise ImplicationsError(
            f"has no active row{f': {counts}' if counts else ', nor any other'}",
            where=str(path),
            hint='rows count whose status is "active"; is it the right file?',
        )
    return Pairs(tuple(active), dict(left_aside))


def export_rows(
    path: Path, columns: Sequence[str], *, no_header: bool = False
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """The values of these columns, row by row, each with its place in the file, such as `:17`.

    The first character tells what the file is: `{` JSON lines, `[` one JSON array, else CSV. With
    `no_header`, a CSV whose second field is a number in the very first line has the columns in this order.
    """
    text = _read_text(path)
    first = found[1] if (found := _FIRST.match(text)) else ""
    if first == "{":
        yield from _json_lines(text, columns, path)
    elif first == "[":
        yield from _json_array(text, columns, path)
    else:
        yield from _csv_rows(text, columns, path, no_header)


def _read_text(path: Path) -> str:
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        form = "JSON" if ".json" in path.name else "CSV"
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise ImplicationsError(f"cannot be read as {form}: {why}", where=str(path)) from error


def _csv_rows(
    text: str, columns: Sequence[str], path: Path, no_header: bool
) -> Iterator[tuple[str, tuple[str, ...]]]:
    rows = csv.reader(io.StringIO(text, newline=""))
    try:
        header = next(rows, [])
        if no_header and len(header) >= len(columns) and header[1].strip().isdecimal():
            pick = itemgetter(*range(len(columns)))
            yield ":1", pick(header)
        else:
            pick = itemgetter(*_positions(header, columns, path))
        width = len(header)
        for row in rows:
            if len(row) == width:
                yield f":{rows.line_num}", pick(row)
            elif row:
                raise ImplicationsError(
                    f"the row has {len(row)} fields, the first line {width}",
                    where=f"{path}:{rows.line_num}",
                    hint="names that hold a comma stand in double quotes; a quote that opens must close",
                )
    except csv.Error as error:
        raise ImplicationsError(f"cannot be read as CSV: {error}", where=f"{path}:{rows.line_num}") from error


def _positions(header: Sequence[str], columns: Sequence[str], path: Path) -> list[int]:
    if missing := [column for column in columns if column not in header]:
        raise ImplicationsError(
            f"column {', '.join(missing)} is missing; the file has: {', '.join(header) or 'nothing'}",
            where=str(path),
            hint=f"the first line must name at least {','.join(columns)}",
        )
    return [header.index(column) for column in columns]


def _json_lines(text: str, columns: Sequence[str], path: Path) -> Iterator[tuple[str, tuple[Any, ...]]]:
    # Not splitlines: it breaks lines at characters that may stand in a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ImplicationsError(
                f"is not valid JSON: {error}",
                where=f"{path}:{number}",
                hint="each line is one object, or the whole file is one array of objects",
            ) from error
        yield f":{number}", _json_values(row, columns, f"{path}:{number}")


def _json_array(text: str, columns: Sequence[str], path: Path) -> Iterator[tuple[str, tuple[Any, ...]]]:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ImplicationsError(f"is not valid JSON: {error}", where=str(path)) from error
    for index, row in enumerate(rows):
        yield f"[{index}]", _json_values(row, columns, f"{path}[{index}]")


def _json_values(row: Any, columns: Sequence[str], where: str) -> tuple[Any, ...]:
    if not isinstance(row, dict):
        raise ImplicationsError(f"must be an object, got {row!r}", where=where)
    if missing := [column for column in columns if column not in row]:
        has = ", ".join(row) or "nothing"
        raise ImplicationsError(f"{', '.join(missing)} is missing; the object has: {has}", where=where)
    return tuple([row[column] for column in columns])
