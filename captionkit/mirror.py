"""What is said about a picture, made true of its mirror image."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from captionkit.prose.sides import quotation, speaks_of_sides, swap_sides, swap_tag_sides, without_twin
from captionkit.record import Prose, Record, Tag, fold

NAMES = frozenset({"artist", "character", "copyright", "series"})
"""Categories whose tags are names, in which a side is none: "left 4 dead"."""


def mirror_record(record: Record) -> Record:
    """The record with left and right exchanged in its tags and captions; a second time gives it back.

    Names stay (tags of the categories in `NAMES`), and so does what stands in quotation marks.

    >>> record = Record("1", (Tag("left_arm_up"),), (Prose("A cat on the left. Nothing is left."),))
    >>> mirrored = mirror_record(record)
    >>> mirrored.tags[0].name, mirrored.prose[0].text
    ('right_arm_up', 'A cat on the right. Nothing is left.')
    """
    tags = tuple(map(_mirrored_tag, record.tags))
    prose = tuple(map(_mirrored_prose, record.prose))
    return record if (tags, prose) == (record.tags, record.prose) else replace(record, tags=tags, prose=prose)


def mirror_tags(record: Record) -> Record:
    """The record with left and right exchanged in its tags, and without the captions that speak of sides.

    >>> prose = (Prose("A cat on the left."), Prose("A cat."))
    >>> mirrored = mirror_tags(Record("1", (Tag("looking_right"),), prose))
    >>> mirrored.tags[0].name, [piece.text for piece in mirrored.prose]
    ('looking_left', ['A cat.'])
    """
    tags = tuple(map(_mirrored_tag, record.tags))
    prose = tuple(piece for piece in record.prose if not speaks_of_sides(piece.text))
    return record if (tags, prose) == (record.tags, record.prose) else replace(record, tags=tags, prose=prose)


def writing_in(record: Record) -> str | None:
    """The first quotation of the captions, None without one: it is nearly always writing in the picture."""
    return next((quote for piece in record.prose if (quote := quotation(piece.text))), None)


def word_without_twin(record: Record, *, prose: bool = True) -> str | None:
    """The first side word that nothing stands opposite to, such as "anticlockwise"; None without one."""
    texts = [fold(tag.name) for tag in record.tags if tag.category not in NAMES]
    texts += [piece.text for piece in record.prose] if prose else []
    return next((word for text in texts if (word := without_twin(text))), None)


def only_sides(record: Record) -> bool:
    """Whether there is no tag, and every caption speaks of sides."""
    said = [piece.text for piece in record.prose if piece.text.strip()]
    return not record.tags and bool(said) and all(map(speaks_of_sides, said))


def _mirrored_tag(tag: Tag) -> Tag:
    if tag.category in NAMES:
        return tag
    name = _swapped(tag.name)
    return tag if name == tag.name else replace(tag, name=name)


def _mirrored_prose(piece: Prose) -> Prose:
    text = swap_sides(piece.text)
    return piece if text == piece.text else replace(piece, text=text)


_swapped = lru_cache(maxsize=1 << 16)(swap_tag_sides)  # Tags recur over all records.
