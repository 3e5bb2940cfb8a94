"""What a tagger takes for what, among exclusive tags."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainkit.tagging.intervals import wilson


@dataclass(frozen=True, slots=True)
class Confusion:
    """The confusion matrix of a group on the pictures that have exactly one of its tags."""

    group: str
    tags: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    """[K][K]: of the pictures that have the tag of the row, how many the tagger gives the tag of the
    column."""

    @property
    def pictures(self) -> int:
        """All that were judged."""
        return sum(map(sum, self.counts))

    @property
    def right(self) -> int:
        """Those on the diagonal."""
        return sum(row[i] for i, row in enumerate(self.counts))

    @property
    def accuracy(self) -> float:
        """The share that is right; 0 when there was nothing to judge."""
        return self.right / max(1, self.pictures)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the accuracy."""
        return wilson(self.right, self.pictures)

    @property
    def balanced_accuracy(self) -> float:
        """The mean of the tags' recalls: each tag that occurs counts the same."""
        recalls = [row[i] / sum(row) for i, row in enumerate(self.counts) if sum(row)]
        return sum(recalls) / len(recalls) if recalls else 0.0

    @property
    def majority(self) -> float:
        """The accuracy of always saying the most common tag."""
        return max(map(sum, self.counts), default=0) / max(1, self.pictures)


def confusion(
    group: str, tags: tuple[str, ...], scores_NK: NDArray[np.float32], right_N: NDArray[np.intp]
) -> Confusion:
    """Count; ``right_N`` is the number of each picture's tag, the highest score is what is said."""
    k = len(tags)
    said = scores_NK.argmax(axis=1) if len(right_N) else right_N
    table = np.bincount(right_N * k + said, minlength=k * k).reshape(k, k)
    return Confusion(group, tags, tuple(tuple(int(n) for n in row) for row in table))
