"""The tags in a drawn order."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from captionkit.draws import Draws
from captionkit.policy import Claim, Policy
from captionkit.record import Caption


class ShuffleTags(Policy):
    """Put the tags in a drawn order, every order equally likely."""

    kind: Literal["shuffle_tags"] = "shuffle_tags"
    keep_first: Annotated[int, Field(strict=True, ge=0)] = 0
    """How many tags at the beginning stay where they are."""

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption with its tags in the new order."""
        fixed, loose = caption.tags[: self.keep_first], caption.tags[self.keep_first :]
        return caption.with_tags((*fixed, *draws.shuffle(loose)))

    def claims(self) -> frozenset[Claim]:
        """Nothing leaves."""
        return frozenset({"subset", "permutation", "spares important"})
