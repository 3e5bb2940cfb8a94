"""Where the text comes from: tags, a caption, both, or nothing at all."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from captionkit.draws import Draws, pick
from captionkit.policy import Claim, Policy, Probability, Weight
from captionkit.record import Caption, Source


class ChooseSource(Policy):
    """Take the tags, one of the captions, or both in either order.

    The weights are shared out anew over what the record has: without a caption it is always the tags. Where
    only weight-0 sources exist, the text comes from what there is, since a caption must come from somewhere.
    Of several captions one is drawn. The default shares are those of the hyperfusion recipe.
    """

    kind: Literal["choose_source"] = "choose_source"
    tags: Weight = 0.7
    """Weight of the tags alone."""
    caption: Weight = 0.2
    """Weight of one caption alone."""
    both: Weight = 0.1
    """Weight of tags and one caption together."""
    tags_first: Probability = 0.5
    """How often the tags come first where both are taken."""

    @model_validator(mode="after")
    def _some_weight(self) -> ChooseSource:
        if self.tags + self.caption + self.both <= 0.0:
            raise ValueError("all weights are 0; at least one of tags, caption and both must be above")
        return self

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption with the tags, the captions or neither taken out."""
        if not caption.prose:  # Tags alone, or nothing at all: there is no choice.
            source = Source.TAGS if caption.tags else Source.EMPTY
            return (
                caption if caption.source is source else Caption(caption.tags, (), source, caption.important)
            )
        # Always three numbers in the same places, so that no decision moves another.
        at_source, at_order, at_caption = draws.randoms(3)
        chosen = (pick(caption.prose, at_caption),)
        source = self._source(at_source, at_order) if caption.tags else Source.CAPTION
        if draws.trace is not None:
            draws.note(f"drew {at_source:.3f}: {source}" if caption.tags else "no tags, so the caption")
        if source is Source.TAGS:
            return Caption(caption.tags, (), source, caption.important)
        if source is Source.CAPTION:
            return Caption((), chosen, source, caption.important)
        return Caption(caption.tags, chosen, source, caption.important)

    def _source(self, at_source: float, at_order: float) -> Source:
        both = Source.BOTH_TAGS_FIRST if at_order < self.tags_first else Source.BOTH_CAPTION_FIRST
        return pick((Source.TAGS, Source.CAPTION, both), at_source, (self.tags, self.caption, self.both))

    def claims(self) -> frozenset[Claim]:
        """It takes away whole parts only. Not idempotent: both may become one the second time."""
        return frozenset({"subset"})


class EmptyCaption(Policy):
    """Make the whole caption the empty string, important tags and all: training without a prompt.

    Stands before the other dropouts, so that `p` is the share of empty captions whatever they do. The default
    is the recipe's; Ho & Salimans 2022 (arXiv 2207.12598) found 0.1 and 0.2 alike and 0.5 worse.
    """

    kind: Literal["empty_caption"] = "empty_caption"
    p: Probability = 0.1
    """How often the caption is empty."""

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption, or one with nothing in it."""
        return Caption((), (), Source.EMPTY) if draws.chance(self.p) else caption

    def claims(self) -> frozenset[Claim]:
        """It takes away everything or nothing."""
        return frozenset({"subset", "off at zero"})
