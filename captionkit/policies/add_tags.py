"""Add tags of one's own, such as trigger words."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field, model_validator

from captionkit.curves import Rate, value_at
from captionkit.draws import Draws
from captionkit.policy import Claim, Flag, Policy
from captionkit.record import Caption, Source, Tag, fold


class AddTags(Policy):
    """Add tags, such as the trigger word of a concept; a tag that is there already is not added again.

    It stands behind `choose_source`, so that a caption in sentences gets them too.
    """

    kind: Literal["add_tags"] = "add_tags"
    tags: tuple[str, ...]
    """The names."""
    p: Rate = 1.0
    """How often any of them are added."""
    count: Annotated[int, Field(strict=True, ge=1)] | None = None
    """How many of them, drawn anew each time; left out means all."""
    where: Literal["first", "last", "random"] = "first"
    """Before the other tags, behind them, or each anywhere among them."""
    category: str | None = None
    """The category they get."""
    important: Flag = True
    """Whether they count as important: no later step drops them, and the token budget cuts them last."""
    to_empty: Flag = False
    """Whether an empty caption gets them too. A picture of which nothing is known has one, and so has every
    caption that `empty_caption` made empty for training without a prompt."""

    @model_validator(mode="after")
    def _enough(self) -> AddTags:
        if not self.tags:
            raise ValueError("no tag; give at least one")
        if empty := [name for name in self.tags if not fold(name)]:
            raise ValueError(f"a tag's name is empty: {empty[0]!r}")
        if self.count is not None and self.count > len(self.tags):
            raise ValueError(f"count is {self.count}, but there are only {len(self.tags)} tags")
        return self

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption with the tags that were drawn."""
        if caption.source is Source.EMPTY and not self.to_empty:
            return caption
        if not draws.chance(value_at(self.p, draws)):
            return caption
        present = {fold(tag.name): tag for tag in reversed(caption.tags)}
        new: list[Tag] = []
        chosen: set[str] = set()
        for name in self._drawn(draws):
            if (tag := present.get(fold(name))) is None:
                tag = present[fold(name)] = Tag(name, self.category)
                new.append(tag)
            chosen.add(tag.name)
        important = caption.important | chosen if self.important else caption.important
        source = Source.TAGS if caption.source is Source.EMPTY else caption.source
        return replace(
            caption, tags=self._placed(caption.tags, new, draws), important=important, source=source
        )

    def _drawn(self, draws: Draws) -> list[str]:
        """The names to add, in the order of the list."""
        if self.count is None:
            return list(self.tags)
        chosen = draws.child("which").shuffle(range(len(self.tags)))[: self.count]
        return [self.tags[index] for index in sorted(chosen)]

    def _placed(self, tags: tuple[Tag, ...], new: list[Tag], draws: Draws) -> tuple[Tag, ...]:
        if self.where == "first":
            return (*new, *tags)
        if self.where == "last":
            return (*tags, *new)
        placed = list(tags)
        for tag, at in zip(new, draws.child("where").randoms(len(new)), strict=True):
            placed.insert(int(at * (len(placed) + 1)), tag)
        return tuple(placed)

    def claims(self) -> frozenset[Claim]:
        """Nothing leaves; with all of them every time, a second time adds nothing more."""
        kept: frozenset[Claim] = frozenset({"spares important", "off at zero"})
        return kept | {"idempotent"} if self.p == 1.0 and self.count is None else kept
