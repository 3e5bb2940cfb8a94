"""Cut captions behind a sentence."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from captionkit.curves import Rate, value_at
from captionkit.draws import Draws
from captionkit.policy import Claim, Policy
from captionkit.prose.sentences import split_sentences
from captionkit.ranges import CountRange, RateRange, count_within, drawn_number, one_measure
from captionkit.record import Caption, Prose


class CutProse(Policy):
    """Cut captions behind a sentence, so that their length differs from draw to draw.

    The first sentences stay, never half of one and never none. In the only controlled study that we know
    (Brack et al. 2025, arXiv 2506.16679: SD v1.1, a million pictures) long captions raised alignment at the
    cost of aesthetics and diversity, and a randomised length improved both without that cost.
    """

    kind: Literal["cut_prose"] = "cut_prose"
    p: Rate = 1.0
    """How often the captions are cut."""
    share: RateRange | None = None
    """The share of a caption's sentences that stay, rounded up: a number, a curve, or a range from which each
    caption draws. From `[0, 1]` every number of sentences is drawn equally often; 0 keeps one sentence."""
    count: CountRange | None = None
    """How many sentences stay: a number, or a range from which each caption draws."""
    sources: tuple[str, ...] | None = None
    """Only captions of these sources are cut; left out means all."""

    @model_validator(mode="after")
    def _one_measure(self) -> CutProse:
        one_measure(self.count, self.share)
        if self.count is not None and count_within(self.count, 0.0) == 0:
            raise ValueError("count is 0; at least one sentence stays, so it must be 1 or above")
        return self

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption with its prose cut."""
        if not caption.prose or not draws.chance(value_at(self.p, draws)):
            return caption
        places = draws.child("lengths").randoms(len(caption.prose))
        prose = tuple(
            [
                self._cut(piece, place, draws) if self._concerns(piece) else piece
                for piece, place in zip(caption.prose, places, strict=True)
            ]
        )
        return caption if prose == caption.prose else caption.with_prose(prose)

    def _concerns(self, piece: Prose) -> bool:
        return self.sources is None or piece.source in self.sources

    def _cut(self, piece: Prose, place: float, draws: Draws) -> Prose:
        sentences = split_sentences(piece.text)
        stay = max(1, drawn_number(len(sentences), self.count, self.share, place, draws))
        if draws.trace is not None:
            draws.note(f"{piece.source}: {min(stay, len(sentences))} of {len(sentences)} sentences stay")
        return piece if stay >= len(sentences) else Prose(" ".join(sentences[:stay]), piece.source)

    def claims(self) -> frozenset[Claim]:
        """Tags stay as they are."""
        return frozenset({"spares important", "off at zero"})
