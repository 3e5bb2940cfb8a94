"""Calibration by temperature: of the pictures to which a tagger gives 0.8, 80 % should have the tag.

C. Guo et al., "On calibration of modern neural networks" (2017): one number T divides all logits. It moves
confidence and nothing else: the order of scores stays. For a tag by itself p' = sigmoid(logit(p) / T); for a
group of exclusive tags p' = softmax(log(p) / T). T over 1 means that the tagger was too sure of itself.

scores: float32 in [0, 1]; tags by themselves [N], groups [N, K].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

_LEAST = 1e-7
"""Scores are kept this far from 0 and 1, where logits would be infinite."""
_RANGE = (0.05, 20.0)
BINS = 15
_MOST_PAIRS = 2_000_000
"""Of more, every second, third ... tells the one number just as well."""


@dataclass(frozen=True, slots=True)
class Bin:
    """The pairs of picture and tag whose scores lie in one fifteenth of 0 to 1."""

    score: float
    """Their mean score."""
    right: float
    """The share of them that is true."""
    count: int


def sigmoid_at(scores: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Scores of tags by themselves at another temperature."""
    return (1.0 / (1.0 + np.exp(-logits_of(scores) / temperature))).astype(np.float32)


def softmax_at(scores_NK: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Scores of a group at another temperature; each row sums to 1."""
    powers = _log(scores_NK) / temperature
    powers -= powers.max(axis=1, keepdims=True)
    weights = np.exp(powers)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)


def logits_of(scores: NDArray[np.float32]) -> FloatArray:
    """log(p / (1 - p)), p kept off 0 and 1."""
    p = np.clip(scores.astype(np.float64), _LEAST, 1 - _LEAST)
    return np.asarray(np.log(p) - np.log1p(-p))


def fit_sigmoid(scores: NDArray[np.float32], truth: NDArray[np.bool_]) -> float:
    """The temperature with the least `loss_sigmoid`; 1 where nothing can be learnt from the truth, because
    all of it is the same."""
    if not len(truth) or truth.all() or not truth.any():
        return 1.0
    step = -(-len(truth) // _MOST_PAIRS)
    return _least(lambda t: loss_sigmoid(scores[::step], truth[::step], t))


def fit_softmax(scores_NK: NDArray[np.float32], right_N: NDArray[np.intp]) -> float:
    """The temperature of a group with the least `loss_softmax`."""
    return _least(lambda t: loss_softmax(scores_NK, right_N, t)) if len(right_N) else 1.0


def loss_sigmoid(scores: NDArray[np.float32], truth: NDArray[np.bool_], temperature: float) -> float:
    """The mean negative log-likelihood of tags by themselves."""
    logits, signs = logits_of(scores), np.where(truth, -1.0, 1.0)
    return float(np.logaddexp(0.0, signs * logits / temperature).mean())


def loss_softmax(scores_NK: NDArray[np.float32], right_N: NDArray[np.intp], temperature: float) -> float:
    """The mean negative log-likelihood of a group; ``right_N`` is the number of each picture's tag."""
    scaled = _log(scores_NK) / temperature
    return float((np.logaddexp.reduce(scaled, axis=1) - scaled[np.arange(len(right_N)), right_N]).mean())


def reliability(scores: NDArray[np.float32], truth: NDArray[np.bool_]) -> tuple[Bin, ...]:
    """The filled bins of equal width, from 0 to 1."""
    at = np.minimum((scores * BINS).astype(np.intp), BINS - 1)
    counts = np.bincount(at, minlength=BINS)
    sums = np.bincount(at, weights=scores.astype(np.float64), minlength=BINS)
    right = np.bincount(at, weights=truth.astype(np.float64), minlength=BINS)
    return tuple(
        Bin(float(sums[i] / counts[i]), float(right[i] / counts[i]), int(counts[i]))
        for i in range(BINS)
        if counts[i]
    )


def expected_error(bins: tuple[Bin, ...]) -> float:
    """The expected calibration error: the mean distance of score and share, weighted by count."""
    total = sum(b.count for b in bins)
    return sum(b.count * abs(b.score - b.right) for b in bins) / total if total else 0.0


def _log(scores: NDArray[np.float32]) -> FloatArray:
    return np.asarray(np.log(np.maximum(scores.astype(np.float64), _LEAST)))


def _least(loss: Callable[[float], float]) -> float:
    """The temperature at which a loss is least, within bounds beyond which a network is no use anyway."""
    from scipy.optimize import minimize_scalar

    bounds = (float(np.log(_RANGE[0])), float(np.log(_RANGE[1])))
    found = minimize_scalar(lambda log_t: loss(float(np.exp(log_t))), bounds=bounds, method="bounded")
    return float(np.exp(found.x))
