"""Rare tags that look like frequent ones: often they are typos."""

from __future__ import annotations

from collections.abc import Container, Mapping

from captionkit.stats.near import Near
from captionkit.stats.result import Typo

TIMES_AS_FREQUENT = 20
"""A tag that is meant is at least so many times as frequent as its misspelling."""
AT_LEAST = 10
"""And at least on so many records."""
SHORTEST = 5
"""Shorter tags are near too many others."""
INDEXED = 20_000
"""So many of the most frequent tags are taken for what may be meant; the memory goes with them."""


def typos(
    counts: Mapping[str, int], categories: Mapping[str, str | None], known: Container[str] = frozenset()
) -> tuple[Typo, ...]:
    """The tags that look like another, those with the most frequent likeness first.

    `counts` and `categories` are by folded name; `known` are names that somebody vouches for, such as the
    aliases and implications of the recipe.
    """
    frequent = sorted(
        (name for name, count in counts.items() if count >= AT_LEAST and len(name) >= SHORTEST - 1),
        key=lambda name: (-counts[name], name),
    )
    near = Near(frequent[:INDEXED])
    found = []
    for name, count in counts.items():
        if len(name) < SHORTEST or name in known or count * TIMES_AS_FREQUENT > counts.get(frequent[0], 0):
            continue
        for meant in near.to(name):
            if counts[meant] >= count * TIMES_AS_FREQUENT:
                found.append(Typo(name, count, meant, counts[meant]))
                break
    return tuple(sorted(found, key=lambda typo: (-typo.meant_count, typo.count, typo.name)))
