"""What every policy that leaves out tags by chance shares: which tags it may touch."""

from __future__ import annotations

from abc import ABC
from typing import final

from pydantic import model_validator

from captionkit.patterns import PatternList, compile_patterns
from captionkit.policy import Claim, Flag, Policy
from captionkit.record import Caption


class TagDropout(Policy, ABC):
    """A policy that leaves out tags, and the tags that it leaves alone.

    A tag may leave only when all of `only`, `categories` and `sources` that are given hold for it, and when
    neither `protected` nor `spare_important` exempts it.
    """

    only: PatternList | None = None
    """Only tags that match one of these may leave."""
    categories: tuple[str, ...] | None = None
    """Only tags of these categories may leave."""
    sources: tuple[str, ...] | None = None
    """Only tags of these sources may leave, such as `["classifier"]`."""
    protected: PatternList = ()
    """Tags that match one of these stay."""
    spare_important: Flag = True
    """Whether important tags stay."""

    @model_validator(mode="after")
    def _some_may_leave(self) -> TagDropout:
        for field in ("only", "categories", "sources"):
            if getattr(self, field) == ():
                raise ValueError(f"`{field}` is empty, so no tag could ever leave; leave it out to mean any")
        return self

    @final
    def exempt(self, caption: Caption) -> frozenset[str]:
        """The names of the tags that stay, whatever is drawn."""
        names = caption.important if self.spare_important else frozenset()
        if self.protected:
            names |= compile_patterns(self.protected).matching(caption.tags)
        if self.only is not None:
            names |= {tag.name for tag in caption.tags} - compile_patterns(self.only).matching(caption.tags)
        if self.categories is not None:
            names |= {tag.name for tag in caption.tags if tag.category not in self.categories}
        if self.sources is not None:
            names |= {tag.name for tag in caption.tags if tag.source not in self.sources}
        return names

    @final
    def only_removes(self) -> frozenset[Claim]:
        """What every such policy claims."""
        spared: frozenset[Claim] = frozenset({"spares important"}) if self.spare_important else frozenset()
        return spared | {"subset"}

    @final
    def all_at_one(self) -> frozenset[Claim]:
        """The claim of those whose tags all leave at 1, unless a field keeps some."""
        limits = (self.only, self.categories, self.sources, self.protected or None)
        return frozenset({"all at one"}) if all(limit is None for limit in limits) else frozenset()
