"""Rare tags that look like frequent ones: often they are typos."""

from __future__ import annotations

from collections.abc import Container, Mapping

from captionkit.stats.near import Near
from captionkit.stats.result import Typo

TIMES_AS_FREQUENT = 20
"""A tag that is meant is at least so many times as frequent as its misspelling."""
AT_LEAST = 10
"""And at least on so many records."""
SHORTEST = 4
"""Shorter tags are near too many others."""
INDEXED = 20_000
"""So many of the most frequent tags are taken for what may be meant; the memory goes with them."""


def typos(
    counts: Mapping[str, int], categories: Mapping[str, str | None], known: Container[str] = frozenset()
) -> tuple[Typo, ...]:
    """The tags that look like another, those of which the other is the most frequent first.

    `counts` and `categories` are by folded name; `known` are names that somebody vouches for, such as the
    aliases and implications of the recipe.

    Measured on e621's lists (tests/captionkit/test_typos.py): of 4,666 aliases that are one edit or an order
    of words away from their tag it finds 86 %, and it suspects 0.3 % of 139,625 tags that are in use.
    """
    frequent = sorted(
        (name for name, count in counts.items() if count >= AT_LEAST and len(name) >= SHORTEST),
        key=lambda name: (-counts[name], name),
    )
    near = Near(frequent[:INDEXED])
    most = counts[frequent[0]] if frequent else 0
    found = []
    for name, count in counts.items():
        if len(name) < SHORTEST or name in known or not 0 < count * TIMES_AS_FREQUENT <= most:
            continue
        for meant in near.to(name):
            often = counts[meant] >= count * TIMES_AS_FREQUENT
            if often and _same_kind(categories.get(name), categories.get(meant)) and slip(name, meant):
                found.append(Typo(name, count, meant, counts[meant]))
                break
    return tuple(sorted(found, key=lambda typo: (-typo.meant_count, typo.count, typo.name)))


def _same_kind(rare: str | None, frequent: str | None) -> bool:
    """Whether somebody who meant the one may have come to the other: a tag that nobody knows is general, and
    what is known as an artist or a species is not another one that is spelled wrongly."""
    return rare == frequent or rare in (None, "general") or frequent is None


def slip(name: str, meant: str) -> bool:
    """Whether a difference is one that fingers make, rather than one between two words.

    Letters in the middle of a long word, exchanged ones, doubled ones, a plural, a space, an order of words;
    not digits, first letters, endings, short words.

    >>> [slip(name, "blue hair") for name in ("bleu hair", "hair blue", "bluehair", "blue hairs")]
    [True, True, True, True]
    >>> slip("2 girls", "3 girls"), slip("right", "fight"), slip("lover", "love"), slip("spore", "sport")
    (False, False, False, False)
    """
    start = _common(name, meant)
    end = min(_common(name[::-1], meant[::-1]), len(name) - start, len(meant) - start)
    mine, other = name[start : len(name) - end], meant[start : len(meant) - end]
    if any(letter.isdigit() for letter in mine + other):
        return False
    if sorted(name.split()) == sorted(meant.split()) or not any(letter.isalnum() for letter in mine + other):
        return True
    longer = max(name, meant, key=len)
    first, last = _word(longer, start, start + max(len(mine), len(other)))
    length, at = last - first, start - first
    if len(mine) == len(other) == 2:
        return length >= 4
    if len(mine) == len(other) == 1:
        return length >= 6 and at > 0 and (at < length - 1 or length >= 9)
    letter = mine or other
    doubled = letter in (longer[start - 1 : start], longer[start + 1 : start + 2])
    if at == length - 1:
        return length >= 4 and (letter == "s" or doubled)
    return doubled if length < 6 else at > 0


def _common(one: str, other: str) -> int:
    """How many letters two texts begin with together."""
    count = 0
    for mine, its in zip(one, other, strict=False):
        if mine != its:
            break
        count += 1
    return count


def _word(text: str, start: int, end: int) -> tuple[int, int]:
    """Where the word around a place begins and ends."""
    while start > 0 and text[start - 1].isalnum():
        start -= 1
    while end < len(text) and text[end].isalnum():
        end += 1
    return start, end
