"""What the outputs of a tagger's network stand for, and how they become probabilities.

The first L outputs are the labels; behind them comes one for each group that may have none of its tags. In a
group probabilities add up to 1 (softmax); every other label is by itself (sigmoid).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from trainkit.tagging.label import Label


@dataclass(frozen=True)
class Temperatures:
    """What logits are divided by (Guo et al. 2017): over 1 where the network was too sure of itself."""

    tags: float = 1.0
    """Of all labels that are in no group."""
    groups: Mapping[str, float] = field(default_factory=dict)
    """By group; 1 where one is missing."""


@dataclass(frozen=True)
class Outputs:
    """The outputs of a network, in order."""

    labels: tuple[Label, ...]
    none_of: tuple[str, ...] = ()
    """Groups of which a picture may have none; each has an output of its own for that."""
    implications: tuple[tuple[int, int], ...] = ()
    """Pairs of labels, (implying, implied), directly or by way of others."""

    @property
    def count(self) -> int:
        """All outputs."""
        return len(self.labels) + len(self.none_of)

    @cached_property
    def groups(self) -> dict[str, NDArray[np.int64]]:
        """The labels of each group, by its name, in the order of labels."""
        found: dict[str, list[int]] = {}
        for place, label in enumerate(self.labels):
            if label.group is not None:
                found.setdefault(label.group, []).append(place)
        return {name: np.array(places, dtype=np.int64) for name, places in found.items()}

    @cached_property
    def singles(self) -> NDArray[np.int64]:
        """The labels that are in no group."""
        return np.array([i for i, label in enumerate(self.labels) if label.group is None], dtype=np.int64)

    def outputs_of(self, group: str) -> NDArray[np.int64]:
        """The outputs between which a group decides: its labels, and none of them where that may be."""
        if group not in self.none_of:
            return self.groups[group]
        return np.append(self.groups[group], len(self.labels) + self.none_of.index(group))

    def probabilities(
        self, logits_BO: NDArray[np.float32], temperatures: Temperatures | None = None
    ) -> NDArray[np.float32]:
        """[B, L], 0 to 1. An implied tag has at least the probability of every tag that implies it."""
        temperatures = temperatures or Temperatures()
        scores = np.zeros((len(logits_BO), len(self.labels)), dtype=np.float32)
        scores[:, self.singles] = sigmoid(logits_BO[:, self.singles] / temperatures.tags)
        for name, places in self.groups.items():
            logits = logits_BO[:, self.outputs_of(name)] / temperatures.groups.get(name, 1.0)
            scores[:, places] = softmax(logits)[:, : len(places)]
        if self.implications:
            implying, implied = self._pairs
            np.maximum.at(scores.T, implied, scores.T[implying])
        return scores

    @cached_property
    def _pairs(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        pairs = np.array(self.implications, dtype=np.int64)
        return pairs[:, 0], pairs[:, 1]


def sigmoid(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits to probabilities, each by itself."""
    # Written with tanh, which does not overflow.
    return np.asarray(0.5 * np.tanh(0.5 * x) + 0.5, dtype=np.float32)


def softmax(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits [B, K] to probabilities of which each row adds up to 1."""
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)
