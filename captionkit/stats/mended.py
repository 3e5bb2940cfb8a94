"""What a pattern with `*` that matches nothing may have meant."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from captionkit.patterns import Patterns
from captionkit.record import fold
from captionkit.stats.near import Near
from captionkit.stats.typos import slip

MAX_MENDED = 3
FREQUENT = 20_000
"""Only words of so many of the most frequent tags are taken for what was meant."""
_WORDS = re.compile(r"[^\W_]+")
_STARS = re.compile(r"\*+")


def mended(missing: Iterable[str], names: Collection[str]) -> dict[str, tuple[str, ...]]:
    """For patterns that match none of the names (folded, the most frequent first) a few that match some: with
    one slip of a word mended, or with `**` for `*`, so that parts of words count too.

    >>> mended(["txet on*", "asymmetr*", "word*"], ["text on shirt", "asymmetrical hair", "world"])
    {'txet on*': ('text on*',), 'asymmetr*': ('asymmetr**',), 'word*': ()}
    """
    words = {what: _WORDS.findall(fold(what)) for what in missing}
    near = _near({word for said in words.values() for word in said}, list(names)[:FREQUENT])
    found = {}
    for what, said in words.items():
        asked = [re.sub(rf"\b{word}\b", other, fold(what)) for word in said for other in near[word]]
        asked.append(_STARS.sub("**", what))
        matching = [one for one in dict.fromkeys(asked) if one != what and _matches(one, names)]
        found[what] = tuple(matching[:MAX_MENDED])
    return found


def _near(words: set[str], names: list[str]) -> dict[str, list[str]]:
    """For each word those of the names from which a slip leads to it, in their order."""
    index, found = Near(words), {word: list[str]() for word in words}
    for other in dict.fromkeys(word for name in names for word in _WORDS.findall(name)):
        for word in index.to(other):
            if slip(word, other):
                found[word].append(other)
    return found


def _matches(pattern: str, names: Collection[str]) -> bool:
    compiled = Patterns((pattern,))
    return any(compiled.match(name) for name in names)
