"""Leave out tags by chances that differ from tag to tag: by their score, by their place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field, model_validator

from captionkit.curves import Rate, value_at
from captionkit.draws import Draws
from captionkit.policies.tag_dropout import TagDropout
from captionkit.policy import Claim
from captionkit.record import Caption

Score = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class DropByScore(TagDropout):
    """Leave out tags whose source was not sure of them: the lower the score, the more often.

    A tag never leaves from the score `sure` on, leaves with probability `rate` at `gone` and below, and with
    chances on a straight line in between. By default a tag stays as often as its score says: of the tags that
    a classifier gives 0.8, eight in ten stay. Tags without a score stay.
    """

    kind: Literal["drop_by_score"] = "drop_by_score"
    sure: Score = 1.0
    """The score from which on a tag always stays."""
    gone: Score = 0.0
    """The score up to which a tag leaves with probability `rate`; the same as `sure` makes a threshold, on
    which a tag stays."""
    rate: Rate = 1.0
    """How often a tag of the lowest scores leaves."""

    @model_validator(mode="after")
    def _ascending(self) -> DropByScore:
        if self.gone > self.sure:
            raise ValueError(f"`gone` ({self.gone:g}) is above `sure` ({self.sure:g}); it must not be")
        return self

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption without the tags whose coin fell."""
        rate = value_at(self.rate, draws)
        if rate == 0.0 or all(tag.score is None for tag in caption.tags):
            return caption
        chances = [0.0 if tag.score is None else rate * self._doubt(tag.score) for tag in caption.tags]
        return _without(caption, chances, self.exempt(caption), draws)

    def _doubt(self, score: float) -> float:
        """0 for a sure score, 1 for a low one."""
        if score >= self.sure:
            return 0.0
        if score <= self.gone:
            return 1.0
        return (self.sure - score) / (self.sure - self.gone)

    def claims(self) -> frozenset[Claim]:
        """Only removes, and important tags only where told to."""
        return self.only_removes() | {"off at zero"}


class DropByPosition(TagDropout):
    """Leave out tags the more often the further back they stand: tag i of n with probability `rate` i / n.

    The last of the tags leaves with probability `rate` itself, and half of it is the share of all tags left
    out where there are many: (n + 1) / 2n of `rate`, exactly. It stands before any shuffle, where the order
    still says which tags matter. OneTrainer has it as "RANDOM WEIGHTED".
    """

    kind: Literal["drop_by_position"] = "drop_by_position"
    rate: Rate
    """How often the last tag leaves."""

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption without the tags whose coin fell."""
        rate, total = value_at(self.rate, draws), len(caption.tags)
        if rate == 0.0 or not total:
            return caption
        chances = [rate * place / total for place in range(1, total + 1)]
        return _without(caption, chances, self.exempt(caption), draws)

    def claims(self) -> frozenset[Claim]:
        """Only removes, and important tags only where told to."""
        return self.only_removes() | {"off at zero"}


def _without(caption: Caption, chances: Iterable[float], exempt: frozenset[str], draws: Draws) -> Caption:
    """The caption without the tags whose number falls below their chance."""
    numbers = draws.randoms(len(caption.tags))
    kept = tuple(
        [
            tag
            for tag, number, chance in zip(caption.tags, numbers, chances, strict=True)
            if number >= chance or tag.name in exempt
        ]
    )
    return caption if len(kept) == len(caption.tags) else caption.with_tags(kept)
