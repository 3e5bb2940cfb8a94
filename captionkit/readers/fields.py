"""The fields of one JSON object, from a sidecar or a line of JSON Lines, as tags and captions."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TypeAlias

from captionkit.errors import DataError
from captionkit.readers.separators import part_at_separators
from captionkit.record import Prose, Tag, known_tags, parse_tags

Fields: TypeAlias = Mapping[str, object]

CAPTION_KEYS = ("caption", "captions", "text", "prose")
TAGS_KEY = "tags"
IMAGE_KEYS = ("file", "image", "file_name")

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_TAGS_FORMS = 'a list ["a", "b"], a text "a, b", or lists by category {"species": ["a"]}'
_CAPTIONS_FORMS = 'a text, a list of texts, or texts by source {"cogvlm": "..."}'


def parse_object(text: str, path: Path, line: int = 1) -> Fields:
    """The JSON object that `text` holds, which begins on `line` of the file.

    Raises `DataError` for broken JSON, for half a surrogate pair, and for anything but an object.
    """
    where = f"{path}:{line}"
    try:
        value: object = _decode(text)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except _TwiceError as error:
        raise DataError(
            f"the key {str(error)!r} is there twice in one object", where=where, hint="keep one of the two"
        ) from error
    except json.JSONDecodeError as error:
        raise DataError(
            f"is not valid JSON: {error.msg} at column {error.colno}",
            where=f"{path}:{line + error.lineno - 1}",
            hint="mend it there; strings and keys stand in double quotes, no comma follows the last entry",
        ) from error
    except UnicodeEncodeError as error:
        raise DataError(
            "holds half a surrogate pair, which is no character",
            where=where,
            hint=r"write the character itself, or both halves: \ud83e\udd8a",
        ) from error
    except (RecursionError, ValueError) as error:  # Thousands of brackets, or of digits in one number.
        raise DataError(f"is not a record: {error}", where=where) from error
    if not isinstance(value, dict):
        raise DataError(f"must be a JSON object {{...}}, got {shown(value)}", where=where)
    return value


class _TwiceError(Exception):
    """A key stands twice in one object; which value is meant cannot be known."""


def _once_each(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        keys = [key for key, _ in pairs]
        raise _TwiceError(next(key for key in keys if keys.count(key) > 1))
    return fields


_decode = json.JSONDecoder(object_pairs_hook=_once_each).decode


def tags_in(fields: Fields, where: str) -> tuple[Tag, ...]:
    """The tags under "tags": a list, a comma-separated text, or either of these by category.

    An entry of a list is a name or an object {"name", "category", "source", "score"}.
    None and a missing key are no tags.
    """
    value = fields.get(TAGS_KEY)
    if value is None:
        return ()
    if type(value) is list and {*map(type, value)} == {str}:  # As nearly all are, and quick.
        found = [tag for tag in map(known_tags().__getitem__, value) if tag is not None]
        if len(found) == len(value):
            return part_at_separators(tuple(found))
    by_category = value.items() if isinstance(value, dict) else [(None, value)]
    tags = [
        tag
        for category, entries in by_category
        for tag in _tag_list(
            entries, f"{where}: {TAGS_KEY}{'' if category is None else f'.{category}'}", category
        )
    ]
    return part_at_separators(tuple(tags))


def prose_in(fields: Fields, where: str) -> tuple[Prose, ...]:
    """The captions under "caption", "captions", "text" or "prose": a text, a list, or either by source.

    An entry of a list is a text or an object {"text", "source"}. Texts of spaces alone are left out.
    Raises `DataError` when two of the keys are there: which one is meant cannot be known.
    """
    key = one_of(fields, CAPTION_KEYS, where, "captions")
    if key is None:
        return ()
    value = fields[key]
    if isinstance(value, dict):
        pieces = [
            piece
            for source, texts in value.items()
            for piece in _prose_list(texts, f"{where}: {key}.{source}", source)
        ]
    else:
        pieces = list(_prose_list(value, f"{where}: {key}", None))
    return tuple(piece for piece in pieces if piece.text.strip())


def one_of(fields: Fields, keys: Sequence[str], where: str, what: str) -> str | None:
    """The one of `keys` that has a value, None when none has. Raises `DataError` when several have."""
    found = [key for key in keys if fields.get(key) is not None]
    if len(found) > 1:
        raise DataError(
            f"{what} stand under {len(found)} keys: {', '.join(map(repr, found))}",
            where=where,
            hint="keep one of them and rename the others",
        )
    return found[0] if found else None


def neither(fields: Fields, where: str) -> DataError:
    """The error for an object without a tag and without a caption; names the key that was perhaps meant."""
    hint = "; ".join(f"did {key!r} mean {meant!r}?" for key, meant in misspelt(fields))
    return DataError(
        "has neither tags nor captions"
        + (f"; its keys are {', '.join(map(repr, fields))}" if fields else ""),
        where=where,
        hint=hint or "give it 'tags' or 'caption', or take it out",
    )


def misspelt(fields: Fields, cutoff: float = 0.6) -> list[tuple[str, str]]:
    """The keys that are nearly (by `difflib`'s measure) the key of tags or captions, each with that key."""
    known = (TAGS_KEY, *CAPTION_KEYS)
    near = ((key, get_close_matches(key, known, 1, cutoff)) for key in fields if key not in known)
    return [(key, matches[0]) for key, matches in near if matches]


def _tag_list(value: object, where: str, category: str | None) -> Iterator[Tag]:
    if value is None:
        return
    if isinstance(value, str):
        yield from parse_tags(value, category=category)
        return
    if not isinstance(value, list):
        allowed = _TAGS_FORMS if category is None else 'a list ["a", "b"] or a text "a, b"'
        raise DataError(f"got {shown(value)}, allowed is {allowed}", where=where)
    known = known_tags(category)
    for index, entry in enumerate(value):
        if type(entry) is str and (tag := known[entry]) is not None:
            yield tag
            continue
        place = f"{where}[{index}]"
        if isinstance(entry, str):
            yield _tag(entry, category, None, None, place)
        elif isinstance(entry, dict):
            yield _tag_of_object(entry, category, place)
        else:
            raise DataError(
                f'a tag must be a text or an object {{"name": ...}}, got {shown(entry)}', where=place
            )


def _tag_of_object(entry: Fields, category: str | None, where: str) -> Tag:
    keys = ("name", "source", "score") if category is not None else ("name", "category", "source", "score")
    _only(entry, keys, where)
    score = entry.get("score")
    if score is not None:
        score = _finite(score, f"{where}.score")
    if category is None:
        category = _text_or_none(entry, "category", where)
    name = _text_or_none(entry, "name", where)
    if name is None:
        raise DataError('a tag object needs a "name"', where=where)
    return _tag(name, category, _text_or_none(entry, "source", where), score, where)


def _tag(name: str, category: str | None, source: str | None, score: float | None, where: str) -> Tag:
    if not name.strip():
        raise DataError(f"an empty tag: {name!r}", where=where, hint="take the entry out")
    return Tag(name, category, source, score)


def _prose_list(value: object, where: str, source: str | None) -> Iterator[Prose]:
    if value is None:
        return
    for index, entry in enumerate(value if isinstance(value, list) else [value]):
        place = f"{where}[{index}]" if isinstance(value, list) else where
        if isinstance(entry, dict) and isinstance(value, list):
            _only(entry, ("text",) if source is not None else ("text", "source"), place)
            text, by = _text_or_none(entry, "text", place), source or _text_or_none(entry, "source", place)
        else:
            text, by = entry if isinstance(entry, str) else None, source
        if text is None:
            raise DataError(f"got {shown(entry)}, allowed is {_CAPTIONS_FORMS}", where=place)
        yield Prose(text.strip()) if by is None else Prose(text.strip(), by)


def _finite(value: object, where: str) -> float:
    try:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    except OverflowError:  # A whole number of more than 308 digits.
        pass
    raise DataError(f"must be a finite number, got {shown(value)}", where=where)


def _text_or_none(entry: Fields, key: str, where: str) -> str | None:
    value = entry.get(key)
    if value is not None and not isinstance(value, str):
        raise DataError(f"must be a text, got {shown(value)}", where=f"{where}.{key}")
    return value


def _only(entry: Fields, allowed: Sequence[str], where: str) -> None:
    for key in entry:
        if key not in allowed:
            near = get_close_matches(key, allowed, 1)
            raise DataError(
                f"unknown key {key!r}, allowed are {', '.join(map(repr, allowed))}",
                where=where,
                hint=f"did you mean {near[0]!r}?" if near else None,
            )


def shown(value: object) -> str:
    """A JSON value as the user wrote it, cut to a readable length, with its kind."""
    kinds = {dict: "an object", list: "a list", str: "the text", bool: "the value", type(None): "the value"}
    text = json.dumps(value, ensure_ascii=False)
    return f"{kinds.get(type(value), 'the number')} {text if len(text) <= 60 else text[:57] + '...'}"
