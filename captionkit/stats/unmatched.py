"""What a recipe names and the data does not have."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice

from captionkit.patterns import REGEX, Patterns
from captionkit.record import fold
from captionkit.stats.mentions import Mention
from captionkit.stats.near import Near
from captionkit.stats.result import Unmatched

MAX_NEAR = 3
CLOSELY = 20
"""For so many names that nothing is near to, the most frequent tags are searched with a wider measure."""
FREQUENT = 3000


@dataclass(frozen=True)
class There:
    """What the data has."""

    names: Collection[str]
    """Folded names of tags, the most frequent first, those that the recipe makes behind them."""
    categories: Collection[str]
    tag_sources: Collection[str]
    prose_sources: Collection[str]
    facts: Collection[str]
    """As `name` and `name=value`."""
    in_prose: Collection[str]
    """Patterns over captions that found something."""


def unmatched(mentions: Iterable[Mention], there: There) -> tuple[Unmatched, ...]:
    """The mentions that nothing answers to, each once, in their order."""
    missing = list(dict.fromkeys(one for one in mentions if not _answered(one, there)))
    near = _near_tags([one for one in missing if one.answer in ("tag", "pattern")], there.names)
    others = {
        "category": there.categories,
        "tag source": there.tag_sources,
        "prose source": there.prose_sources,
        "fact": there.facts,
    }
    return tuple(
        Unmatched(
            one.where,
            said(one),
            near.get(one.what[0], ()) if one.answer in ("tag", "pattern") else _close(one, others),
        )
        for one in missing
    )


def said(mention: Mention) -> str:
    """What a mention names, in words."""
    return mention.what[0] if len(mention.what) == 1 else f"any of {len(mention.what):,} names"


def _answered(mention: Mention, there: There) -> bool:
    what = mention.what
    match mention.answer:
        case "pattern":
            return _matches(what[0], there.names)
        case "tag":
            return any(fold(name) in there.names for name in what)
        case "part":
            return any(fold(what[0]) in name for name in there.names)
        case "prose pattern":
            return what[0] in there.in_prose
        case "category":
            return what[0] in there.categories
        case "tag source":
            return what[0] in there.tag_sources
        case "prose source":
            return what[0] in there.prose_sources
        case "fact":
            return what[0] in there.facts


def _matches(pattern: str, names: Collection[str]) -> bool:
    if "*" not in pattern and not pattern.startswith(REGEX):
        return fold(pattern) in names
    compiled = Patterns((pattern,))
    return any(compiled.match(name) for name in names)


def _near_tags(missing: list[Mention], names: Collection[str]) -> dict[str, tuple[str, ...]]:
    """For each missing name or pattern a few tags that are nearly spelled so."""
    plain = {one.what[0]: fold(one.what[0].replace("*", " ")) for one in missing if len(one.what) == 1}
    asked = {spelled for what, spelled in plain.items() if spelled and not what.startswith(REGEX)}
    index, found = Near(asked), {spelled: list[str]() for spelled in asked}
    lengths = {len(spelled) + more for spelled in asked for more in (-1, 0, 1)}
    for name in names:
        for spelled in index.to(name) if len(name) in lengths else ():
            found[spelled].append(name)
    frequent = list(names)[:FREQUENT]
    for spelled in sorted(name for name, near in found.items() if not near)[:CLOSELY]:
        found[spelled] = get_close_matches(spelled, frequent, MAX_NEAR, 0.8)
    near = {what: tuple(found.get(spelled, [])[:MAX_NEAR]) for what, spelled in plain.items()}
    return near | {what: wider for what in plain if (wider := _with_parts_of_words(what, names))}


def _with_parts_of_words(pattern: str, names: Collection[str]) -> tuple[str, ...]:
    """The first names that a pattern would match if its `*` stood for parts of words too, as `**` does."""
    if "*" not in pattern or pattern.startswith(REGEX):
        return ()
    wider = Patterns((_STARS.sub("**", pattern),))
    return tuple(islice((name for name in names if wider.match(name)), MAX_NEAR))


_STARS = re.compile(r"\*+")


def _close(mention: Mention, known: dict[str, Collection[str]]) -> tuple[str, ...]:
    return tuple(get_close_matches(mention.what[0], known.get(mention.answer, ()), MAX_NEAR, 0.6))
