"""Pictures of rare tags are drawn more often: sampling by the inverse frequency of tags, with a cap.

A tag on n pictures gets the factor (m / n)^power, where m is the count of the commonest of the tags that are
balanced, and at most ``cap``. A picture gets the largest factor of its tags, as in repeat factor sampling
(Gupta, Dollar, Girshick, "LVIS", 2019, section 4.2): it is drawn for the sake of its rarest tag. Their mean
would draw a rare tag less often the more common ones stand beside it, and all pictures have common ones. A
picture without such a tag gets 1. Then all are divided by their mean: a pass keeps its length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from captionkit import PatternList
from captionkit.patterns import compile_patterns
from captionkit.record import fold
from trainkit.tag_columns import TagBatch


class BalanceConfig(BaseModel):
    """Which tags are balanced, and how much."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    tags: PatternList = ()
    """Tags that are balanced, as in caption recipes: "fox", "* (species)"."""
    categories: tuple[str, ...] = ()
    """Categories of which all tags are balanced, such as "species". Of all tags together nearly every picture
    has a rare one, so that nothing is balanced: give one of the two."""
    power: float = Field(default=0.5, gt=0, le=1)
    """1 draws pictures so often that each balanced tag tends to the same count; 0.5, the root, goes half the
    way."""
    cap: float = Field(default=8.0, ge=1, le=1e6)
    """The largest factor. A picture of the rarest tag is drawn so many times as often as one of the commonest
    tag, and no more."""

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if not self.tags and not self.categories:
            raise ValueError("give tags or categories that are to be balanced")
        return self


def tag_factors(
    batches: Callable[[], Iterator[TagBatch]], trained: NDArray[np.bool_], config: BalanceConfig
) -> NDArray[np.float32]:
    """[rows]: how many times as often each row is drawn as one with common tags only, from 1 to ``cap``.

    ``batches`` are gone through twice, all rows in order; tags are counted on those rows that are
    ``trained``. A tag that stands in a record twice counts twice.
    """
    tags = _Tags(config)
    for batch in batches():
        rows = np.repeat(trained[batch.first : batch.first + len(batch)], np.diff(batch.offsets))
        numbers, chosen = tags.of(batch)
        tags.count(numbers[chosen & rows])
    factors = np.ones(len(trained), dtype=np.float32)
    of_tag = tags.factors()
    for batch in batches():
        numbers, chosen = tags.of(batch)
        own = np.where(chosen, of_tag[numbers], np.float32(1))
        some = np.flatnonzero(np.diff(batch.offsets))
        if len(some):
            factors[batch.first + some] = np.maximum.reduceat(own, batch.offsets[some])
    return factors


class _Tags:
    """The balanced tags met so far, numbered by their folded names, and how many pictures have each."""

    def __init__(self, config: BalanceConfig) -> None:
        self._config = config
        self._patterns = compile_patterns(config.tags)
        self._categories = {fold(category) for category in config.categories}
        self._number: dict[str, int] = {}
        self._counts = np.zeros(1024, dtype=np.int64)
        # Of the vocabulary before: most batches of a file share one.
        self._known: tuple[Sequence[str], NDArray[np.int32], NDArray[np.bool_]] = (
            (),
            np.zeros(0, dtype=np.int32),
            np.zeros(0, dtype=np.bool_),
        )

    def of(self, batch: TagBatch) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """[T] each: the number of every tag, and whether it is balanced."""
        if batch.vocabulary != self._known[0]:
            folded = [fold(name) for name in batch.vocabulary]
            numbers = [self._number.setdefault(name, len(self._number)) for name in folded]
            chosen = [self._patterns.match(name) for name in folded]
            self._known = (
                batch.vocabulary,
                np.array(numbers, dtype=np.int32),
                np.array(chosen, dtype=np.bool_),
            )
        _, number, named = self._known
        # The last one stands for tags without a category, whose place is -1.
        inside = [fold(category) in self._categories for category in batch.known_categories]
        by_category = np.array([*inside, False], dtype=np.bool_)
        if not len(batch.names):
            return batch.names, np.zeros(0, dtype=np.bool_)
        return number[batch.names], named[batch.names] | by_category[batch.categories]

    def count(self, numbers: NDArray[np.int32]) -> None:
        """Count some tags."""
        counted = np.bincount(numbers, minlength=len(self._counts))
        counted[: len(self._counts)] += self._counts
        self._counts = counted

    def factors(self) -> NDArray[np.float32]:
        """The factor of every tag by its number; 1 for one that no trained picture has."""
        counts = np.zeros(max(len(self._number), len(self._counts)), dtype=np.float64)
        counts[: len(self._counts)] = self._counts
        most = counts.max(initial=0.0)
        with np.errstate(divide="ignore"):
            factors = np.where(counts > 0, (most / np.maximum(counts, 1)) ** self._config.power, 1.0)
        return np.minimum(factors, self._config.cap).astype(np.float32)
