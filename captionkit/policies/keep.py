"""Keep so many tags, and leave out the rest."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from captionkit.draws import Draws
from captionkit.policies.tag_dropout import TagDropout
from captionkit.policy import Claim
from captionkit.ranges import CountRange, RateRange, drawn_number, one_measure
from captionkit.record import Caption


class KeepTags(TagDropout):
    """Keep a number or a share of the tags, where `drop_tags` lets coins decide how many stay.

    Exempt tags stay besides and are not counted. The tags that stay keep their order. In a `maybe`, a range
    of shares is the short prompt; `which = "first"` with a share that rises over the run is a warm-up, which
    shows the first tags before the others.
    """

    kind: Literal["keep_tags"] = "keep_tags"
    count: CountRange | None = None
    """How many tags stay: a number, or a range from which each caption draws."""
    share: RateRange | None = None
    """The share of the tags that stay, rounded up: a number, a curve, or a range from which each caption
    draws. Any share above 0 keeps at least one tag."""
    which: Literal["random", "first"] = "random"
    """Whether any tags stay, or those that come first."""

    @model_validator(mode="after")
    def _one_measure(self) -> KeepTags:
        one_measure(self.count, self.share)
        return self

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption with so many of its tags."""
        exempt = self.exempt(caption)
        loose = [tag.name for tag in caption.tags if tag.name not in exempt]
        if not loose:
            return caption
        number = drawn_number(len(loose), self.count, self.share, draws.random(), draws)
        if draws.trace is not None:
            draws.note(f"{min(number, len(loose))} of {len(loose)} stay")
        chosen = loose[:number] if self.which == "first" else some_of(loose, number, draws)
        return keep_only(caption, exempt.union(chosen))

    def claims(self) -> frozenset[Claim]:
        """Only removes; a second time is no different where the number is always the same."""
        fixed = isinstance(self.count, int)
        settled: frozenset[Claim] = frozenset({"idempotent"}) if fixed else frozenset()
        return self.only_removes() | settled


def some_of(names: list[str], number: int, draws: Draws) -> list[str]:
    """So many of the names, each as likely as the others. For a larger number, the same names and more."""
    return names if number >= len(names) else draws.child("which").shuffle(names)[:number]


def keep_only(caption: Caption, names: frozenset[str]) -> Caption:
    """The caption with the tags of these names, in their order."""
    kept = tuple([tag for tag in caption.tags if tag.name in names])
    return caption if len(kept) == len(caption.tags) else caption.with_tags(kept)
