"""Records that are always the same: for checks that compare one run with another."""

from __future__ import annotations

from captionkit.record import Prose, Record, Tag
from captionkit.testing.strategies import CATEGORIES, FACTS, SENTENCES, WORDS


def sample_records(count: int = 40) -> tuple[Record, ...]:
    """So many records of every sort: long and short, with and without captions, categories, scores and facts.

    The first has more of everything than the others; every seventh has no tags, every ninth nothing at all.
    """
    return tuple(map(_record, range(count)))


def _record(index: int) -> Record:
    if index % 9 == 8:
        return Record(f"picture {index}")
    size = 44 if index == 0 else 5 + index % 13
    tags = () if index % 7 == 6 else tuple(_tag(index, place) for place in range(size))
    captions = 4 if index == 0 else index % 3
    prose = tuple(_prose(index + place) for place in range(captions))
    info = {name: values[index % len(values)] for name, values in FACTS.items() if (index + len(name)) % 4}
    return Record(f"picture {index}", tags, prose, f"{index}.png", tuple(info.items()))


def _tag(index: int, place: int) -> Tag:
    # Every other tag is one of the words that patterns and implications know, the others fill up.
    number = index + place
    name = WORDS[(number // 2) % len(WORDS)] if place % 2 else f"thing {number}"
    score = (number % 11) / 10 if number % 3 else None
    return Tag(name, CATEGORIES[number % len(CATEGORIES)], (None, "human", "classifier")[number % 3], score)


def _prose(number: int) -> Prose:
    first = number % len(SENTENCES)
    sentences = [SENTENCES[(first + 5 * step) % len(SENTENCES)] for step in range(1 + number % 4)]
    return Prose(" ".join(sentences), ("human", "cogvlm")[number % 2])
