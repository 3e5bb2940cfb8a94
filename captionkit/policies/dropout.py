"""Leave out tags by chance."""

from __future__ import annotations

from typing import Literal

from captionkit.draws import Draws
from captionkit.patterns import PatternList, exempt_names
from captionkit.policy import Claim, Flag, Policy, Probability
from captionkit.record import Caption


class DropTags(Policy):
    """Leave out each tag with probability `rate`, every tag by a coin of its own.

    With 0.75 instead of 0.15 it is the recipe's short prompt; `maybe` chooses between the two, so that the
    short prompt replaces the plain dropout: 0.95 x 0.85 + 0.05 x 0.25 = 0.82 of the tags stay.
    """

    kind: Literal["drop_tags"] = "drop_tags"
    rate: Probability = 0.15
    """The share of tags left out."""
    protected: PatternList = ()
    """Tags that match one of these stay."""
    spare_important: Flag = True
    """Whether important tags stay."""

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption without the tags whose coin fell."""
        tags = caption.tags
        if not tags or self.rate == 0.0:
            return caption
        exempt = exempt_names(caption, self.protected, self.spare_important)
        rate = self.rate
        coins = draws.randoms(len(tags))
        kept = tuple(
            [tag for tag, coin in zip(tags, coins, strict=True) if coin >= rate or tag.name in exempt]
        )
        return caption if len(kept) == len(tags) else caption.with_tags(kept)

    def claims(self) -> frozenset[Claim]:
        """Only removes, and important tags only where told to."""
        spared: frozenset[Claim] = frozenset({"spares important"}) if self.spare_important else frozenset()
        return spared | {"subset", "off at zero"}
