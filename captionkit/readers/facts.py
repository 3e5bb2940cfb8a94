"""The facts of one JSON object: what it says about the picture besides tags and captions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from captionkit.errors import DataError
from captionkit.readers.fields import CAPTION_KEYS, IMAGE_KEYS, TAGS_KEY, Fields, parse_object, shown
from captionkit.record import Fact

INFO_KEY = "info"
ID_KEY = "id"

_NO_FACTS = frozenset({TAGS_KEY, *CAPTION_KEYS, *IMAGE_KEYS, ID_KEY, INFO_KEY})


def facts_in(fields: Fields, where: str) -> dict[str, Fact]:
    """Every text, number, true or false that stands under a key of no other meaning, by that key.

    Of an object, such as `"score": {"up": 13, "total": 12}`, each is a fact: `score.up` and `score.total`.
    Lists, null and what lies deeper are passed over. Under "info" stand facts and nothing else.
    Raises `DataError` for a fact that is there twice, and for a number that is not finite.
    """
    facts: dict[str, Fact] = {}
    for name, value, place in _named(fields, where):
        if isinstance(value, float) and not math.isfinite(value):
            raise DataError(
                f"must be a finite number, got {shown(value)}",
                where=place,
                hint="write null where nobody knows it",
            )
        if name in facts:
            raise DataError(f"the fact {name!r} is there twice", where=place, hint="keep one of the two")
        facts[name] = value
    return facts


def _named(fields: Fields, where: str) -> Iterator[tuple[str, Fact, str]]:
    """Each fact with its name and its place in the file."""
    for key, value in fields.items():
        place = f"{where}: {key}"
        if key in _NO_FACTS or not key:
            continue
        if isinstance(value, Fact):
            yield key, value, place
        elif isinstance(value, dict):
            for inner, of_inner in value.items():
                if isinstance(of_inner, Fact):
                    yield f"{key}.{inner}", of_inner, f"{place}.{inner}"
    info = fields.get(INFO_KEY)
    if info is None:
        return
    if isinstance(info, str):  # A column of JSON, as tables have it.
        info = parse_object(info, Path(f"{where}: {INFO_KEY}"))
    if not isinstance(info, dict):
        raise DataError(
            f'got {shown(info)}, allowed is an object {{"rating": "s"}}', where=f"{where}: {INFO_KEY}"
        )
    for key, value in info.items():
        place = f"{where}: {INFO_KEY}.{key}"
        if not key or (value is not None and not isinstance(value, Fact)):
            raise DataError(
                f"must be text, a number, true or false under a name, got {shown(value)}", where=place
            )
        if value is not None:
            yield key, value, place
