"""A tag for how high a number is, such as the quality by the count of favourites."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from captionkit.policies.fact_tags import FactName, FactTags, Level, Levels, level_of, written
from captionkit.record import Caption, Fact


class TagFromNumber(FactTags):
    """Add the tag of the level that a number reaches, where wanted with other levels for each rating.

    The command `captionkit percentiles` computes the levels from the data. What is no number (text, true and
    false) adds nothing, and neither does a number below all levels.
    """

    kind: Literal["tag_from_number"] = "tag_from_number"
    levels: Levels = ()
    """The highest first: `[{at_least = 500, tag = "masterpiece"}, {at_least = 20, tag = "good quality"}]`."""
    by: FactName | None = None
    """A second fact, such as `rating`, by whose value the levels are chosen."""
    groups: dict[str, Levels] = Field(default_factory=dict)
    """The levels for each value of that fact: `{s = [...], e = [...]}`; other values have `levels`."""

    @model_validator(mode="after")
    def _some_level(self) -> TagFromNumber:
        if (self.by is None) is bool(self.groups):
            raise ValueError("`by` and `groups` belong together; give both or neither")
        for value, levels in self.groups.items():
            if not levels:
                raise ValueError(f"no level for {value!r}; give at least one, or take it out")
        if not self.levels and not self.groups:
            raise ValueError("no level; give `levels`, or `by` and `groups`")
        return self

    def names(self, caption: Caption, fact: Fact) -> tuple[str, ...]:
        """The name of the level's tag."""
        if isinstance(fact, bool) or not isinstance(fact, int | float):
            return ()
        name = level_of(fact, self._levels(caption))
        return () if name is None else (name,)

    def _levels(self, caption: Caption) -> tuple[Level, ...]:
        value = None if self.by is None else caption.fact(self.by)
        return self.levels if value is None else self.groups.get(written(value), self.levels)
