"""One record as the fields of one JSON object: the way back from `record_of`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from itertools import groupby
from typing import Any, TypeAlias

from captionkit.readers.facts import ID_KEY, INFO_KEY
from captionkit.readers.fields import CAPTION_KEYS, IMAGE_KEYS, TAGS_KEY
from captionkit.readers.separators import SEPARATOR
from captionkit.record import Fact, Facts, Prose, Record, Tag
from captionkit.writers.target import Losses

HUMAN = Prose("").source
"""Who wrote a caption of which nothing else is said."""

TAKEN = frozenset({TAGS_KEY, *CAPTION_KEYS, *IMAGE_KEYS, ID_KEY, INFO_KEY})
"""Keys that mean something else than a fact of their name."""

_SURROGATE = re.compile(r"[\ud800-\udfff]")
_SECOND_SEPARATOR = f"{SEPARATOR} {SEPARATOR}"
# Whole numbers of more than 4,300 digits are refused by Python's JSON, in and out; a bit fewer are safe.
_MOST_BITS = 14_000

Entry: TypeAlias = str | dict[str, object]


def fields_of(
    record: Record, losses: Losses | None = None, taken: frozenset[str] = TAKEN
) -> dict[str, object]:
    """The JSON object of which `record_of` makes this record again.

    Tags are a list, or lists by category where each category stands together; an entry is a name, or an
    object where the tag has a source or a score. Captions stand under "caption" when there is one by a
    human, else under "captions". A fact stands under its own name, or under "info" where that name has
    another meaning, such as "text": where it is one of `taken`.

    What JSON or the reader of it does not allow is left out or changed, and noted in `losses`: infinite
    numbers, numbers of thousands of digits, spaces around captions and captions of spaces alone, a separator
    `|||` inside a name, blank picture paths. A record without tags and captions gets its fields, but
    `record_of` refuses it (`has_content`). Texts are not looked into: half a surrogate pair stays in them
    (`as_unicode` replaces it).

    >>> fields_of(Record("a", (Tag("fox", "species"), Tag("snow", "general")), (Prose("A fox."),)))
    {'id': 'a', 'tags': {'species': ['fox'], 'general': ['snow']}, 'caption': 'A fox.'}
    """
    losses = Losses() if losses is None else losses
    fields: dict[str, object] = {ID_KEY: record.id}
    if record.image is not None:
        if record.image.strip():
            fields["image"] = record.image
        else:
            losses.add("paths of pictures that are blank", record.id)
    if record.tags:
        fields[TAGS_KEY] = _tags(record.tags, losses, record.id)
    if record.prose:
        fields.update(_prose(record.prose, losses, record.id))
    if record.info:
        assert isinstance(record.info, tuple)  # The record has seen to it.
        fields.update(fact_fields(record.info, losses, record.id, taken))
    return fields


def has_content(record: Record) -> bool:
    """Whether it has a tag, or a caption with text in it; `record_of` refuses a record that has neither."""
    return bool(record.tags) or any(piece.text.strip() for piece in record.prose)


def readable(
    records: Iterable[Record],
    losses: Losses,
    taken: frozenset[str] = TAKEN,
    *,
    keep_empty: bool = False,
) -> list[dict[str, object]]:
    """The fields of all records that `record_of` would take; the others are noted. With `keep_empty` those
    without tags and captions are among them."""
    rows: list[dict[str, object]] = []
    for record in records:
        if keep_empty or has_content(record):
            rows.append(fields_of(record, losses, taken))
        else:
            losses.leave_out("records without tags and captions", record.id)
    return rows


def as_unicode(rows: list[dict[str, object]], losses: Losses) -> list[dict[str, object]]:
    """The rows with a replacement character for each half of a surrogate pair, which is no text; noted."""
    whole: list[dict[str, object]] = [_as_unicode(row) for row in rows]
    for before, after in zip(rows, whole, strict=True):
        if before != after:
            losses.add("halves of surrogate pairs in texts", str(after[ID_KEY]))
    return whole


def whole_characters(text: str) -> str:
    """The text with U+FFFD, the replacement character, for each half of a surrogate pair."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def _as_unicode(value: Any) -> Any:
    if isinstance(value, str):
        return whole_characters(value)
    if isinstance(value, dict):
        return {_as_unicode(key): _as_unicode(inner) for key, inner in value.items()}
    return [_as_unicode(inner) for inner in value] if isinstance(value, list) else value


def _tags(tags: tuple[Tag, ...], losses: Losses, record_id: str) -> list[Entry] | dict[str, list[Entry]]:
    if any(SEPARATOR in tag.name for tag in tags):
        tags = separators_joined(tags, losses, record_id)
    groups = [(category, list(group)) for category, group in groupby(tags, key=_category)]
    by_category = {category: group for category, group in groups if category is not None}
    if len(by_category) == len(groups):
        return {
            category: _entries(group, losses, record_id, False) for category, group in by_category.items()
        }
    return _entries(tags, losses, record_id, any(category is not None for category, _ in groups))


def _category(tag: Tag) -> str | None:
    return tag.category


def _entries(tags: list[Tag] | tuple[Tag, ...], losses: Losses, record_id: str, named: bool) -> list[Entry]:
    """Names alone where nothing else is known of any tag, else objects; `named` says that categories are."""
    if not named and all(tag.source is None and tag.score is None for tag in tags):
        return [tag.name for tag in tags]
    return [_object(tag, losses, record_id, named) for tag in tags]


def _object(tag: Tag, losses: Losses, record_id: str, named: bool) -> dict[str, object]:
    entry: dict[str, object] = {"name": tag.name}
    if named and tag.category is not None:
        entry["category"] = tag.category
    if tag.source is not None:
        entry["source"] = tag.source
    if tag.score is not None:
        score = _score(tag.score)
        if score is None:
            losses.add("scores of tags that are infinite or no floating-point number", record_id)
        else:
            entry["score"] = score
    return entry


def _score(score: float) -> float | None:
    try:
        exact = float(score)
    except OverflowError:  # A whole number of more than 308 digits.
        return None
    return exact if math.isfinite(exact) and exact == score else None


def separators_joined(tags: tuple[Tag, ...], losses: Losses, record_id: str) -> tuple[Tag, ...]:
    """Each separator under the one name by which it is read, though the second has another in a record."""
    joined: list[Tag] = []
    seen = False
    for tag in tags:
        if SEPARATOR not in tag.name:
            joined.append(tag)
            continue
        separator = Tag(SEPARATOR)
        kept = tag == (Tag(_SECOND_SEPARATOR) if seen else separator)
        if not kept:
            losses.add(f"tags with {SEPARATOR} in their names, which are parted there", record_id)
        joined.append(separator if kept else tag)
        seen = True
    return tuple(joined)


def _prose(prose: tuple[Prose, ...], losses: Losses, record_id: str) -> dict[str, object]:
    texts = [(piece.text.strip(), piece.source) for piece in prose]
    if any(text != piece.text for (text, _), piece in zip(texts, prose, strict=True)):
        losses.add("spaces around captions", record_id)
    kept = [(text, source) for text, source in texts if text]
    if len(kept) < len(prose):
        losses.add("captions without text", record_id)
    if any(source != HUMAN for _, source in kept):
        return {"captions": [{"text": text, "source": source} for text, source in kept]}
    if len(kept) == 1:
        return {"caption": kept[0][0]}
    return {"captions": [text for text, _ in kept]} if kept else {}


def fact_fields(
    facts: Facts, losses: Losses, record_id: str, taken: frozenset[str] = TAKEN
) -> dict[str, object]:
    """The facts by their names; those whose names are `taken` under "info". Infinite ones are noted."""
    plain: dict[str, object] = {}
    info: dict[str, Fact] = {}
    for name, value in facts:
        if isinstance(value, float) and not math.isfinite(value):
            losses.add("facts that are infinite", record_id)
        elif isinstance(value, int) and value.bit_length() > _MOST_BITS:
            losses.add("facts that are numbers of thousands of digits", record_id)
        elif name in taken:
            info[name] = value
        else:
            plain[name] = value
    return {**plain, INFO_KEY: info} if info else plain
