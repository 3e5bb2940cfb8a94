"""The tags in the order of their categories."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Literal

from pydantic import Field, model_validator

from captionkit.draws import Draws
from captionkit.patterns import PatternList, compile_patterns
from captionkit.policy import Claim, Flag, Policy
from captionkit.record import Caption, Tag

OTHERS = "..."
"""Stands in an order for all categories that are not in it, and for tags without one."""

Order = tuple[str | tuple[str, ...], ...]
"""Categories in order; those in a list of their own are one group."""


class OrderByCategory(Policy):
    """Put the tags in the order of their categories, and shuffle each category on its own.

    No tag ever leaves: one of a category that the order does not name, or of none, stands where `...` is, and
    at the end where the order has no `...`.
    """

    kind: Literal["order_by_category"] = "order_by_category"
    order: Order
    """The categories, such as `["special", "character", ["series", "copyright"], "artist", "...", "meta"]`; a
    list of several is one group, whose tags are shuffled together."""
    members: dict[str, PatternList] = Field(default_factory=dict)
    """Tags that match one of these patterns count as of this category, whatever their own:
    `{special = ["1girl", "solo"]}`; a tag belongs to the first that it matches."""
    shuffle: Flag = True
    """Whether each group is shuffled; otherwise each keeps its order."""

    @model_validator(mode="after")
    def _each_category_once(self) -> OrderByCategory:
        groups = [(group,) if isinstance(group, str) else group for group in self.order]
        named = [category for group in groups for category in group]
        if not named or not all(groups) or not all(named):
            raise ValueError("an empty list, or a category without a name; name at least one category")
        for category in named:
            if named.count(category) > 1:
                raise ValueError(f"{category!r} is there twice; a category has one place")
        for category in self.members:
            if category not in named:
                raise ValueError(f"members of {category!r}, which is not in the order; put it there")
        return self

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption with its tags in the new order."""
        places, rest, segments = _places(self.order)
        groups: list[list[Tag]] = [[] for _ in segments]
        given = self._given(caption) if self.members else {}
        for tag in caption.tags:
            category = given.get(tag.name, tag.category)
            groups[rest if category is None else places.get(category, rest)].append(tag)
        ordered: list[Tag] = []
        for segment, group in zip(segments, groups, strict=True):
            ordered += draws.child(segment).shuffle(group) if self.shuffle and len(group) > 1 else group
        return caption.with_tags(tuple(ordered))

    def _given(self, caption: Caption) -> Mapping[str, str]:
        """The category of each tag that has one by its name."""
        given: dict[str, str] = {}
        for category, patterns in self.members.items():
            for name in compile_patterns(patterns).matching(caption.tags):
                given.setdefault(name, category)
        return given

    def claims(self) -> frozenset[Claim]:
        """Nothing leaves; without the shuffle a second time changes nothing."""
        settled: frozenset[Claim] = frozenset() if self.shuffle else frozenset({"idempotent"})
        return settled | {"subset", "permutation", "spares important"}


@lru_cache(maxsize=64)
def _places(order: Order) -> tuple[Mapping[str, int], int, tuple[str, ...]]:
    """The place of each category, the place of all others, and the address of each place."""
    groups = [(group,) if isinstance(group, str) else group for group in order]
    places = {category: place for place, group in enumerate(groups) for category in group}
    # `...` names no category: a tag of that very name for one is a tag of another category like any other.
    rest = places.pop(OTHERS, len(groups))
    # A `/` in a category's name is doubled, so that it cannot spell the address of an inner step.
    segments = [f"of {group[0].replace('/', '//')}" for group in groups]
    return places, rest, (*segments, *(["others"] if rest == len(groups) else []))
