"""Leave out tags by chance, each by a coin of its own or all at once."""

from __future__ import annotations

from typing import Literal

from captionkit.curves import Rate, value_at
from captionkit.draws import Draws
from captionkit.policies.tag_dropout import TagDropout
from captionkit.policy import Claim
from captionkit.record import Caption


class DropTags(TagDropout):
    """Leave out each tag with probability `rate`, every tag by a coin of its own.

    With 0.75 instead of 0.15 it is the recipe's short prompt; `maybe` chooses between the two, so that the
    short prompt replaces the plain dropout: 0.95 x 0.85 + 0.05 x 0.25 = 0.82 of the tags stay.
    """

    kind: Literal["drop_tags"] = "drop_tags"
    rate: Rate = 0.15
    """The share of tags left out."""

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption without the tags whose coin fell."""
        tags = caption.tags
        rate = value_at(self.rate, draws)
        if not tags or rate == 0.0:
            return caption
        exempt = self.exempt(caption)
        # A coin for the exempt too, so that what is exempt does not move the others' coins.
        coins = draws.coins(rate, len(tags))
        kept = tuple([tag for tag, coin in zip(tags, coins, strict=True) if not coin or tag.name in exempt])
        return caption if len(kept) == len(tags) else caption.with_tags(kept)

    def claims(self) -> frozenset[Claim]:
        """Only removes, and important tags only where told to."""
        return self.only_removes() | self.all_at_one() | {"off at zero"}


class DropAll(TagDropout):
    """With probability `p` leave out all tags at once, but for those that are exempt.

    What remains is a prompt of the protected tags alone. With `categories` or `only` all tags of a group
    leave together, or none of them.
    """

    kind: Literal["drop_all"] = "drop_all"
    p: Rate
    """How often the tags leave."""

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption with all its tags, or with the exempt ones alone."""
        if not caption.tags or not draws.chance(value_at(self.p, draws)):
            return caption
        exempt = self.exempt(caption)
        kept = tuple([tag for tag in caption.tags if tag.name in exempt])
        return caption if len(kept) == len(caption.tags) else caption.with_tags(kept)

    def claims(self) -> frozenset[Claim]:
        """Only removes; where it always does so, a second time finds nothing more."""
        settled: frozenset[Claim] = frozenset({"idempotent"}) if self.p == 1.0 else frozenset()
        return settled | self.only_removes() | self.all_at_one() | {"off at zero"}
