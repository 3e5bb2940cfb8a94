"""Leave out, by chance, tags that another tag implies."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator

from captionkit.draws import Draws
from captionkit.implications import ImplicationGraph, Implications
from captionkit.patterns import PatternList, exempt_names
from captionkit.policy import Claim, Flag, Policy, Probability
from captionkit.record import Caption, fold


def _constant_as_range(value: Any) -> Any:
    return (value, value) if isinstance(value, int | float) else value


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"the range runs backwards: {value[0]} is above {value[1]}")
    return value


RateRange = Annotated[
    tuple[Probability, Probability], BeforeValidator(_constant_as_range), AfterValidator(_ordered)
]
"""A share from `low` to `high`; one number is a range of that number alone."""


class DropImplied(Policy):
    """Leave out a tag that another tag of the caption implies, by one coin per implied tag.

    The rate is drawn once per caption from `rate_range`; then every implied tag has one coin, however many
    tags imply it: a coin per implication would make 0.52 of 0.40 on real posts. Implications count through
    others (the transitive closure), so a gap in the tags does not hide one.

    It stands after every other dropout, so that only tags that survived count as witnesses. A tag is left out
    only while one that implies it stays: the most special of the tags that imply it is implied by none and
    has no coin.
    """

    kind: Literal["drop_implied"] = "drop_implied"
    rate_range: RateRange = (0.3, 0.5)
    """The share of implied tags left out, drawn anew for each caption; one number is a constant rate."""
    implications: Implications = ImplicationGraph({})
    """Which tag implies which: the path of a CSV with e621's columns, or a table `{"big circle" =
    ["circle"]}`."""
    protected: PatternList = ()
    """Tags that match one of these stay."""
    spare_important: Flag = True
    """Whether important tags stay."""

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption without the implied tags whose coin fell."""
        low, high = self.rate_range
        implied = self.implications.implied_among(caption.tags) if high > 0.0 else frozenset()
        if not implied:
            return caption
        exempt = exempt_names(caption, self.protected, self.spare_important)
        at_rate, *coins = draws.randoms(1 + len(caption.tags))
        rate = low + (high - low) * at_rate
        if draws.trace is not None:
            self._explain(caption, exempt, rate, coins, draws)
        kept = tuple(
            [
                tag
                for tag, coin in zip(caption.tags, coins, strict=True)
                if coin >= rate or fold(tag.name) not in implied or tag.name in exempt
            ]
        )
        return caption.with_tags(kept)

    def _explain(
        self, caption: Caption, exempt: frozenset[str], rate: float, coins: list[float], draws: Draws
    ) -> None:
        """Name each tag that goes, and the first that implies it."""
        draws.note(f"rate {rate:.3f}")
        for tag, coin in zip(caption.tags, coins, strict=True):
            witnesses = [
                t.name for t in caption.tags if fold(tag.name) in self.implications.implied_by(t.name)
            ]
            if coin < rate and witnesses and tag.name not in exempt:
                draws.note(f"{tag.name} left out, implied by {witnesses[0]}")

    def claims(self) -> frozenset[Claim]:
        """Only removes, and important tags only where told to."""
        spared: frozenset[Claim] = frozenset({"spares important"}) if self.spare_important else frozenset()
        return spared | {"subset", "off at zero"}
