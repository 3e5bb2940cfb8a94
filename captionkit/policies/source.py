"""Where the text comes from: tags, a caption, both, or nothing at all."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Literal

from pydantic import model_validator

from captionkit.curves import Amount, Rate, can_all_be_zero, value_at
from captionkit.draws import Draws, pick
from captionkit.policy import Claim, Policy
from captionkit.record import Caption, Prose, Source


class ChooseSource(Policy):
    """Take the tags, one of the captions, or both in either order.

    The weights are shared out anew over what the record has: without a caption it is always the tags. Where
    only weight-0 sources exist, the text comes from what there is, since a caption must come from somewhere.
    Of several captions one is drawn. The default shares are those of the hyperfusion recipe.
    """

    kind: Literal["choose_source"] = "choose_source"
    tags: Amount = 0.7
    """Weight of the tags alone."""
    caption: Amount = 0.2
    """Weight of one caption alone."""
    both: Amount = 0.1
    """Weight of tags and one caption together."""
    tags_first: Rate = 0.5
    """How often the tags come first where both are taken."""
    prose_weights: dict[str, Amount] | None = None
    """How often each source of captions is drawn, such as `{cogvlm = 2.0, human = 1.0}`, shared out anew over
    those that the record has; a source not named has 1.0. One with 0 is drawn only where there is nothing
    else. Left out, every caption counts the same, however many one source wrote."""

    @model_validator(mode="after")
    def _some_weight(self) -> ChooseSource:
        if can_all_be_zero((self.tags, self.caption, self.both)):
            raise ValueError(
                "all weights are 0, at least at some time; one of tags, caption and both must be above at any"
            )
        return self

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption with the tags, the captions or neither taken out."""
        weights = self._weights(caption.prose, draws)
        prose = caption.prose
        if weights is not None and not any(weights):
            # None of the captions is wanted: with tags the record counts as having none.
            prose, weights = (() if caption.tags else prose), None
        if not prose:  # Tags alone, or nothing at all: there is no choice.
            source = Source.TAGS if caption.tags else Source.EMPTY
            same = caption.source is source and not caption.prose
            return caption if same else replace(caption, prose=(), source=source)
        # Always three numbers in the same places, so that no decision moves another.
        at_source, at_order, at_caption = draws.randoms(3)
        chosen = (pick(prose, at_caption, weights),)
        source = self._source(at_source, at_order, draws) if caption.tags else Source.CAPTION
        if draws.trace is not None:
            draws.note(f"drew {at_source:.3f}: {source}" if caption.tags else "no tags, so the caption")
        if source is Source.TAGS:
            return replace(caption, prose=(), source=source)
        if source is Source.CAPTION:
            return replace(caption, tags=(), prose=chosen, source=source)
        return replace(caption, prose=chosen, source=source)

    def _weights(self, prose: tuple[Prose, ...], draws: Draws) -> list[float] | None:
        """The weight of each caption: what its source has, shared among the captions of that source."""
        if self.prose_weights is None:
            return None
        num = Counter(piece.source for piece in prose)
        return [
            value_at(self.prose_weights.get(piece.source, 1.0), draws) / num[piece.source] for piece in prose
        ]

    def _source(self, at_source: float, at_order: float, draws: Draws) -> Source:
        tags_first = at_order < value_at(self.tags_first, draws)
        both = Source.BOTH_TAGS_FIRST if tags_first else Source.BOTH_CAPTION_FIRST
        weights = [value_at(weight, draws) for weight in (self.tags, self.caption, self.both)]
        return pick((Source.TAGS, Source.CAPTION, both), at_source, weights)

    def claims(self) -> frozenset[Claim]:
        """It takes away whole parts only. Not idempotent: both may become one the second time."""
        return frozenset({"subset"})


class EmptyCaption(Policy):
    """Make the whole caption the empty string, important tags and all: training without a prompt.

    Stands before the other dropouts, so that `p` is the share of empty captions whatever they do. The default
    is the recipe's; Ho & Salimans 2022 (arXiv 2207.12598) found 0.1 and 0.2 alike and 0.5 worse.
    """

    kind: Literal["empty_caption"] = "empty_caption"
    p: Rate = 0.1
    """How often the caption is empty."""

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption, or one with nothing in it."""
        return caption.emptied() if draws.chance(value_at(self.p, draws)) else caption

    def claims(self) -> frozenset[Claim]:
        """It takes away everything or nothing."""
        return frozenset({"subset", "off at zero", "all at one"})
