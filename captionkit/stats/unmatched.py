"""What a recipe names and the data does not have."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from captionkit.patterns import REGEX, Patterns
from captionkit.readers.kohya_options import FACT
from captionkit.record import fold
from captionkit.stats.mended import mended
from captionkit.stats.mentions import Mention
from captionkit.stats.near import Near
from captionkit.stats.result import Unmatched

MAX_NEAR = 3
SUBSET = f"{FACT}subset"
"""The fact that every picture of a kohya dataset has."""
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
    """The mentions that nothing answers to, each once, in their order.

    Of facts that no record has at all only the name is told, and those that kohya datasets give to few
    pictures are passed over.
    """
    missing = list(dict.fromkeys(one for one in mentions if not _answered(one, there)))
    tags = [one.what[0] for one in missing if one.answer in ("tag", "pattern") and len(one.what) == 1]
    wild = mended([one for one in tags if "*" in one and not one.startswith(REGEX)], there.names)
    near = _near_tags([one for one in tags if "*" not in one and not one.startswith(REGEX)], there.names)
    found = []
    for one in missing:
        what = said(one)
        if one.answer == "fact":
            name = what.partition("=")[0]
            what = what if name in there.facts else name
            meant = _values(what, there.facts)
        elif one.answer in ("tag", "pattern"):
            meant = (wild | near).get(what, ())
        else:
            meant = _close(one, there)
        found.append(Unmatched(one.where, what, meant, one.answer))
    return tuple(dict.fromkeys(found))


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
            name = what[0].partition("=")[0]
            usual = name.startswith(FACT) and name != SUBSET  # There only where it is not the default.
            return usual or what[0] in there.facts


def _matches(pattern: str, names: Collection[str]) -> bool:
    if "*" not in pattern and not pattern.startswith(REGEX):
        return fold(pattern) in names
    compiled = Patterns((pattern,))
    return any(compiled.match(name) for name in names)


def _near_tags(missing: list[str], names: Collection[str]) -> dict[str, tuple[str, ...]]:
    """For each missing name a few tags that are nearly spelled so."""
    plain = {what: fold(what) for what in missing}
    asked = set(plain.values())
    index, found = Near(asked), {spelled: list[str]() for spelled in asked}
    lengths = {len(spelled) + more for spelled in asked for more in (-1, 0, 1)}
    for name in names:
        for spelled in index.to(name) if len(name) in lengths else ():
            found[spelled].append(name)
    frequent = list(names)[:FREQUENT]
    for spelled in sorted(name for name, near in found.items() if not near)[:CLOSELY]:
        found[spelled] = get_close_matches(spelled, frequent, MAX_NEAR, 0.8)
    return {what: tuple(found[spelled][:MAX_NEAR]) for what, spelled in plain.items()}


def _values(what: str, facts: Collection[str]) -> tuple[str, ...]:
    """The values of a fact that are nearly spelled like the one that is missing."""
    name, _, value = what.partition("=")
    known = [one.partition("=")[2] for one in facts if one.startswith(f"{name}=")]
    return tuple(get_close_matches(value, known, MAX_NEAR, 0.6)) if value else ()


def _close(mention: Mention, there: There) -> tuple[str, ...]:
    known = {
        "category": there.categories,
        "tag source": there.tag_sources,
        "prose source": there.prose_sources,
    }.get(mention.answer, ())
    return tuple(get_close_matches(mention.what[0], known, MAX_NEAR, 0.6))
