"""Rare tags that look like frequent ones: often they are typos."""

from __future__ import annotations

from collections.abc import Container, Mapping
from math import log10

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
    """The tags that look like another, the likeliest typos first.

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
                score = log10(counts[meant] / count) - doubt(name, meant)
                found.append(Typo(name, count, meant, counts[meant], round(score, 2)))
                break
    return tuple(sorted(found, key=lambda typo: (-typo.score, typo.name)))


def doubt(name: str, meant: str) -> float:
    """What is taken off the score of a slip because both may well be words: 0 for the same letters in another
    order, doubled ones and spaces; 1 for another letter that is neither beside it on the keyboard nor a vowel
    for a vowel, and half of that for any other letter; 2 for a plural.

    >>> [doubt(name, "blue hair") for name in ("bleu hair", "hair blue", "bluehair", "bluue hair")]
    [0.0, 0.0, 0.0, 0.0]
    >>> doubt("rumning", "running"), doubt("blu hair", "blue hair"), doubt("sailing", "smiling")
    (0.5, 0.5, 1.0)
    >>> doubt("animals", "animal"), doubt("animal", "animals")
    (2.0, 2.0)
    """
    mine, other, start = _difference(name, meant)
    if not (mine + other).isalnum() or sorted(mine) == sorted(other):
        return 0.0
    if sorted(name.split()) == sorted(meant.split()):
        return 0.0
    longer = max(name, meant, key=len)
    letter = mine or other
    if len(mine) != len(other):
        _, last = _word(longer, start, start + 1)
        if letter == "s" and start == last - 1:
            return 2.0
        return 0.0 if letter in (longer[start - 1 : start], longer[start + 1 : start + 2]) else 0.5
    near = other in _BESIDE.get(mine, "") or (mine in _VOWELS and other in _VOWELS)
    return 0.5 if near else 1.0


_VOWELS = "aeiouy"
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


def _beside() -> dict[str, str]:
    """The letters that touch each letter on a keyboard; each row is moved by half a key."""
    near: dict[str, str] = {}
    for row, letters in enumerate(_ROWS):
        below = _ROWS[row + 1] if row + 1 < len(_ROWS) else ""
        for at, letter in enumerate(letters):
            touching = (
                letters[max(0, at - 1) : at] + letters[at + 1 : at + 2] + below[max(0, at - 1) : at + 1]
            )
            near[letter] = near.get(letter, "") + touching
            for one in below[max(0, at - 1) : at + 1]:
                near[one] = near.get(one, "") + letter
    return near


_BESIDE = _beside()


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
    mine, other, start = _difference(name, meant)
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


def _difference(name: str, meant: str) -> tuple[str, str, int]:
    """What stands in the one where the other has something else, and where that begins."""
    start = _common(name, meant)
    end = min(_common(name[::-1], meant[::-1]), len(name) - start, len(meant) - start)
    return name[start : len(name) - end], meant[start : len(meant) - end], start


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
