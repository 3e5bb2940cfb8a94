"""Important tags: which they are, and how they come first."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from captionkit.draws import Draws
from captionkit.patterns import PatternList, compile_patterns
from captionkit.policy import Claim, Flag, Policy, Rule
from captionkit.record import Caption, Tag


class MarkImportant(Rule):
    """Mark the tags that later steps treat as important: exempt from dropout, first in order, last to be cut.

    It changes no text. Where it stands twice, both marks count.
    """

    kind: Literal["mark_important"] = "mark_important"
    patterns: PatternList = ()
    """Tags that match one of these are important."""
    categories: tuple[str, ...] = ()
    """Tags of these categories are important too."""

    def rewrite(self, caption: Caption) -> Caption:
        """The same caption, with its important tags known."""
        if not (self.patterns or self.categories):
            return caption
        marked = compile_patterns(self.patterns).matching(caption.tags)
        if self.categories:
            marked |= {tag.name for tag in caption.tags if tag.category in self.categories}
        if marked <= caption.important:
            return caption
        return caption.with_important(caption.important | marked)

    def claims(self) -> frozenset[Claim]:
        """It moves nothing."""
        return frozenset({"subset", "permutation", "idempotent", "spares important"})


class ImportantFirst(Policy):
    """Put the important tags before the rest, and shuffle each part on its own.

    With `ranks`, the tags of the first rank stand before those of the second and so on, then the important
    tags of no rank, then the rest. A rank is about order alone: its tags are not important unless marked.
    """

    kind: Literal["important_first"] = "important_first"
    patterns: PatternList = ()
    """Tags that count as important here, besides those that `mark_important` marked."""
    ranks: tuple[PatternList, ...] = ()
    """Lists of patterns, the foremost first; a tag belongs to the first rank that it matches."""
    shuffle: Flag = True
    """Whether each part is shuffled; otherwise each keeps its order."""

    @model_validator(mode="after")
    def _ranks_hold_patterns(self) -> ImportantFirst:
        for number, rank in enumerate(self.ranks, 1):
            if not rank:
                raise ValueError(f"rank {number} has no pattern; give it one, or take it out")
        return self

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption with its tags in the new order."""
        important = caption.important
        if self.patterns:
            important |= compile_patterns(self.patterns).matching(caption.tags)
        ordered: list[Tag] = []
        rest = list(caption.tags)
        for number, rank in enumerate(self.ranks, 1):
            names = compile_patterns(rank).matching(rest)
            if names:
                ordered += self._part([tag for tag in rest if tag.name in names], f"rank {number}", draws)
                rest = [tag for tag in rest if tag.name not in names]
        # Each part has an address of its own, so that one part's length does not move the others' draws.
        if important:
            ordered += self._part([tag for tag in rest if tag.name in important], "important", draws)
            rest = [tag for tag in rest if tag.name not in important]
        ordered += self._part(rest, "rest", draws)
        after = caption.with_tags(tuple(ordered))
        return after if important is caption.important else after.with_important(important)

    def _part(self, tags: list[Tag], segment: str, draws: Draws) -> list[Tag]:
        return draws.child(segment).shuffle(tags) if self.shuffle else tags

    def claims(self) -> frozenset[Claim]:
        """Nothing leaves; without the shuffle a second time changes nothing."""
        settled: frozenset[Claim] = frozenset() if self.shuffle else frozenset({"idempotent"})
        return settled | {"subset", "permutation", "spares important"}
