"""The fields of those records that can be read again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

from captionkit.readers.facts import ID_KEY
from captionkit.record import Record
from captionkit.writers.fields import fields_of, has_content
from captionkit.writers.target import Losses

Fields: TypeAlias = dict[str, Any]


def readable(records: Iterable[Record], losses: Losses) -> list[Fields]:
    """The fields of all records that a reader would take; the others are noted."""
    rows: list[Fields] = []
    for record in records:
        if has_content(record):
            rows.append(fields_of(record, losses))
        else:
            losses.add("records without tags and captions", record.id)
    return rows


def as_unicode(rows: list[Fields], losses: Losses) -> list[Fields]:
    """The rows with a replacement character for each half of a surrogate pair, which is no text."""
    whole = [_as_unicode(row) for row in rows]
    for before, after in zip(rows, whole, strict=True):
        if before != after:
            losses.add("halves of surrogate pairs in texts", str(after[ID_KEY]))
    return whole


def _as_unicode(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, dict):
        return {_as_unicode(key): _as_unicode(inner) for key, inner in value.items()}
    return [_as_unicode(inner) for inner in value] if isinstance(value, list) else value
