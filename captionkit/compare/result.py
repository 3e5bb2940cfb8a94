"""The result of a comparison, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Change:
    """One setting that differs. JSON values; None where one recipe does not have it."""

    address: str
    """As `with_settings` takes it: `short prompt/otherwise.rate`."""
    a: Any
    b: Any


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure under both recipes, over the same draws of the same records."""

    name: str
    a: float
    b: float
    low: float
    high: float
    """Where the true difference `b - a` lies in 95 cases of 100; of tags, of all of them together."""
    num_records: int
    """The records it is about."""

    @property
    def by(self) -> float:
        """How much larger it is under the second recipe."""
        return self.b - self.a

    @property
    def clear(self) -> bool:
        """Whether the difference is more than the draws' chance."""
        return not self.low <= 0.0 <= self.high


@dataclass(frozen=True, slots=True)
class Example:
    """One draw whose text differs."""

    id: str
    draw: int
    text_a: str
    text_b: str
    tags_a: tuple[str, ...]
    tags_b: tuple[str, ...]
    """As they are written, in the order of the text."""
    prose_a: str
    prose_b: str
    prose_first: bool
    """Whether the second text has its captions before its tags."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that differs between two recipes over one set of data."""

    recipe_a: str
    recipe_b: str
    data: str
    settings: tuple[Change, ...]
    num_records: int
    num_sampled: int
    """Over how many records captions were drawn."""
    draws: int
    num_texts: int
    """Texts drawn under each recipe."""
    texts_changed: int
    flips_changed: int
    """Draws that mirror under one recipe and not under the other."""
    may_flip_a: int
    may_flip_b: int
    """Of the sampled records, those that may be mirrored; counted, not drawn."""
    figures: tuple[Difference, ...]
    """Shares of the captions and mean tokens, all of them, clear or not."""
    tags: tuple[Difference, ...]
    """Share of the captions that say a tag, of the records that have it; where none has it, of all. Those
    that differ clearly, the largest difference first."""
    num_tags: int
    """How many tags were compared."""
    examples: tuple[Example, ...]
