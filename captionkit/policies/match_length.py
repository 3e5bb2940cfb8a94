"""As many tags as go with the length of the prose."""

from __future__ import annotations

from typing import Literal

from captionkit.draws import Draws, pick
from captionkit.policies.keep import keep_only, some_of
from captionkit.policies.tag_dropout import TagDropout
from captionkit.policy import Claim
from captionkit.ranges import AmountRange, Count, number_within
from captionkit.record import Caption


class MatchLength(TagDropout):
    """Keep as many tags as go with the length of the prose, so that a prompt's length does not tell which of
    the two it is.

    Before `choose_source` the prompts of tags alone come to the lengths of the captions too; behind it only
    those that still hold a caption. Of several captions one is drawn as the measure. Without prose nothing is
    left out. Exempt tags stay and are counted.
    """

    kind: Literal["match_length"] = "match_length"
    ratio: AmountRange = (0.3, 0.6)
    """How many tags stay for each word of the prose: a number, a curve, or a range from which each caption
    draws. With 0.46 both are about as long in tokens: a tag has 3.3 with its comma, a word of prose 1.5."""
    min_tags: Count = 5
    """So many tags stay however short the prose is."""

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption with so many of its tags."""
        if not caption.prose or len(caption.tags) <= self.min_tags:
            return caption
        at_ratio, at_prose = draws.randoms(2)
        words = len(pick(caption.prose, at_prose).text.split())
        wanted = max(self.min_tags, round(words * number_within(self.ratio, at_ratio, draws)))
        if draws.trace is not None:
            draws.note(f"{wanted} tags go with {words} words")
        if wanted >= len(caption.tags):
            return caption
        exempt = self.exempt(caption)
        loose = [tag.name for tag in caption.tags if tag.name not in exempt]
        room = max(0, wanted - (len(caption.tags) - len(loose)))
        return keep_only(caption, exempt.union(some_of(loose, room, draws)))

    def claims(self) -> frozenset[Claim]:
        """Only removes. Not idempotent: the second time may draw a lower ratio."""
        return self.only_removes()
