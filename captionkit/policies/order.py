"""The order of the tags: which count as important, important first, the rest shuffled."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from captionkit.draws import Draws
from captionkit.patterns import PatternList, compile_patterns
from captionkit.policy import Claim, Flag, Policy, Rule
from captionkit.record import Caption


class MarkImportant(Rule):
    """Mark the tags that later steps treat as important: exempt from dropout, first in order, last to be cut.

    It changes no text. Where it stands twice, both marks count.
    """

    kind: Literal["mark_important"] = "mark_important"
    patterns: PatternList = ()
    """Tags that match one of these are important."""
    categories: tuple[str, ...] = ()
    """Tags of these categories are important too."""

    def rewrite(self, caption: Caption) -> Caption:
        """The same caption, with its important tags known."""
        marked = compile_patterns(self.patterns).matching(caption.tags)
        if self.categories:
            marked |= {tag.name for tag in caption.tags if tag.category in self.categories}
        if marked <= caption.important:
            return caption
        return Caption(caption.tags, caption.prose, caption.source, caption.important | marked)

    def claims(self) -> frozenset[Claim]:
        """It moves nothing."""
        return frozenset({"subset", "permutation", "idempotent", "spares important"})


class ImportantFirst(Policy):
    """Put the important tags before the rest, and shuffle each part on its own."""

    kind: Literal["important_first"] = "important_first"
    patterns: PatternList = ()
    """Tags that count as important here, besides those that `mark_important` marked."""
    shuffle: Flag = True
    """Whether each part is shuffled; otherwise each keeps its order."""

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption with its tags in the new order."""
        important = caption.important
        if self.patterns:
            important |= compile_patterns(self.patterns).matching(caption.tags)
        first = [tag for tag in caption.tags if tag.name in important]
        rest = [tag for tag in caption.tags if tag.name not in important]
        if self.shuffle:
            # Two addresses, so that one part's length does not move the other's draws.
            first, rest = draws.child("important").shuffle(first), draws.child("rest").shuffle(rest)
        return Caption((*first, *rest), caption.prose, caption.source, important)

    def claims(self) -> frozenset[Claim]:
        """Nothing leaves; without the shuffle a second time changes nothing."""
        settled: frozenset[Claim] = frozenset() if self.shuffle else frozenset({"idempotent"})
        return settled | {"subset", "permutation", "spares important"}


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
