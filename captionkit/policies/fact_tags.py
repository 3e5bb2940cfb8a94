"""What the policies share that make tags of a record's facts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from itertools import pairwise
from typing import Annotated, Literal, TypeAlias, final

from pydantic import AfterValidator, Field, StrictInt

from captionkit.curves import Rate, value_at
from captionkit.draws import Draws
from captionkit.policy import Claim, Config, Policy
from captionkit.record import Caption, Fact, Source, Tag, fold


def _named(name: str) -> str:
    if not fold(name):
        raise ValueError(f"a tag's name is empty: {name!r}")
    return name


TagName: TypeAlias = Annotated[str, AfterValidator(_named)]
"""The type of a field that names a tag."""

FactName: TypeAlias = Annotated[str, Field(min_length=1)]
"""The type of a field that names a fact."""


class Level(Config):
    """A tag for all numbers from some number on."""

    at_least: StrictInt | Annotated[float, Field(strict=True, allow_inf_nan=False)] | None = None
    """The smallest number that has the tag; left out, in the last level, means any number."""
    tag: TagName
    """The tag."""


def _descending(levels: tuple[Level, ...]) -> tuple[Level, ...]:
    for higher, lower in pairwise(levels):
        if higher.at_least is None:
            raise ValueError(f"the level {higher.tag!r} takes all; put it last, or give it `at_least`")
        if lower.at_least is not None and lower.at_least >= higher.at_least:
            raise ValueError(
                f"the levels must descend: {lower.at_least} ({lower.tag!r})"
                f" comes after {higher.at_least} ({higher.tag!r})"
            )
    return levels


Levels: TypeAlias = Annotated[tuple[Level, ...], AfterValidator(_descending)]
"""The type of a field of levels, the highest first."""


def level_of(number: float, levels: tuple[Level, ...]) -> str | None:
    """The tag of the first level that the number reaches, None where it reaches none."""
    for level in levels:
        if level.at_least is None or number >= level.at_least:
            return level.tag
    return None


def written(fact: Fact) -> str:
    """A fact as it is written as a key of a recipe's table.

    >>> [written(fact) for fact in ("s", 3, 3.0, True)]
    ['s', '3', '3', 'true']
    """
    if isinstance(fact, bool):
        return "true" if fact else "false"
    return str(int(fact)) if isinstance(fact, float) and fact.is_integer() else str(fact)


class FactTags(Policy, ABC):
    """Add tags that one fact of the record speaks for; a tag that is there already stays where it is.

    They stand behind `choose_source`, so that a caption in sentences gets them too, and behind the dropouts
    and shuffles, so that `p` and `where` hold. An empty caption stays empty.
    """

    fact: FactName
    """The fact's name, such as `rating`."""
    category: str | None = None
    """The category that the tags get, such as `quality`."""
    p: Rate = 1.0
    """How often they are added."""
    where: Literal["first", "last"] = "last"
    """Before the other tags, or behind them."""

    @abstractmethod
    def names(self, caption: Caption, fact: Fact) -> tuple[str, ...]:
        """The names of the tags that the fact speaks for, none where it speaks for nothing."""

    @final
    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption with the fact's tags."""
        if caption.source is Source.EMPTY:
            return caption
        fact = caption.fact(self.fact)
        names = () if fact is None else self.names(caption, fact)
        if draws.trace is not None and not names:
            draws.note(f"{self.fact} is {'not known' if fact is None else repr(fact) + ': no tag for that'}")
        if not names or not draws.chance(value_at(self.p, draws)):
            return caption
        present = {fold(tag.name) for tag in caption.tags}
        # A recipe may name a tag in two spellings: the first of them is the tag.
        fresh = {fold(name): Tag(name, self.category) for name in reversed(names)}
        new = [fresh[key] for key in dict.fromkeys(map(fold, names)) if key not in present]
        tags = (*new, *caption.tags) if self.where == "first" else (*caption.tags, *new)
        return replace(caption, tags=tags) if new else caption

    def claims(self) -> frozenset[Claim]:
        """Nothing leaves; added every time, nothing more comes a second time."""
        settled: frozenset[Claim] = frozenset({"idempotent"}) if self.p == 1.0 else frozenset()
        return settled | {"spares important", "off at zero"}
