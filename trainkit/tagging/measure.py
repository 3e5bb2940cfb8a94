"""From the scores of one tag and the truth to its `TagCurve`.

scores_N float32 in [0, 1]; truth_N bool; both of the pictures that can be judged.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from trainkit.tagging.curves import Point, TagCurve

_LEVELS = 400
"""Levels of precision, from 0 to 1, that a thinned curve tells apart: every quarter of a percent."""


def tag_curve(tag: str, scores_N: NDArray[np.float32], truth_N: NDArray[np.bool_]) -> TagCurve:
    """The curve of a tag, thinned to a few hundred points; empty where no picture has the tag."""
    positives, pictures = int(truth_N.sum()), len(truth_N)
    if not positives:
        return TagCurve(tag, 0, pictures, math.nan, None, ())
    columns = _columns(scores_N, truth_N)
    best = _best_f1(columns)
    points = tuple(
        Point(float(threshold), int(right) / int(said), int(right) / positives, int(said))
        for threshold, right, said in columns[_kept(columns, best)].tolist()
    )
    return TagCurve(tag, positives, pictures, _average(columns), float(columns[best, 0]), points)


def average_precision(scores_N: NDArray[np.float32], truth_N: NDArray[np.bool_]) -> float:
    """The sum over falling thresholds of precision times the recall won, as scikit-learn has it; NaN where
    nothing is true."""
    return _average(_columns(scores_N, truth_N)) if truth_N.any() else math.nan


def f1(precision: float, recall: float) -> float:
    """The harmonic mean of the two; 0 when both are."""
    total = precision + recall
    return 2 * precision * recall / total if total else 0.0


def _columns(scores_N: NDArray[np.float32], truth_N: NDArray[np.bool_]) -> NDArray[np.float64]:
    """[P, 3]: of every distinct score, by rising threshold: threshold, how many that say the tag are right,
    how many say it."""
    order = np.argsort(-scores_N, kind="stable")
    scores, right = scores_N[order], np.cumsum(truth_N[order])
    last = np.append(np.flatnonzero(scores[1:] != scores[:-1]), len(scores) - 1)
    return np.stack([_between(scores[last]), right[last], last + 1], axis=1)[::-1]


def _average(columns: NDArray[np.float64]) -> float:
    right, said = columns[:, 1], columns[:, 2]
    won = right - np.append(right[1:], 0.0)
    return min(1.0, float((won * right / said).sum() / right[0]))


def _between(falling: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each score, moved half-way to the next lower one: a score that comes out a hair lower on another
    device stays on its side. The lowest stays, and so do neighbours without a number between them."""
    moved = falling.copy()
    if len(falling) > 1:
        middle = (falling[:-1] + falling[1:]) / np.float32(2)
        moved[:-1] = np.where(middle > falling[1:], middle, falling[:-1])
    return moved


def _best_f1(columns: NDArray[np.float64]) -> int:
    """Of equals the highest threshold."""
    right, said = columns[:, 1], columns[:, 2]
    scores = 2 * right / (said + right[0])
    return len(scores) - 1 - int(scores[::-1].argmax())


def _kept(columns: NDArray[np.float64], best: int) -> NDArray[np.intp]:
    """The ends, the best F1, the first point that reaches each level of precision (`TagCurve.threshold_for`
    picks among these alone), and what the eye needs between them."""
    right, said = columns[:, 1], columns[:, 2]
    precision, recall = right / said, right / right[0]
    level = np.floor(precision * _LEVELS + 1e-9)
    before = np.concatenate([[-1.0], np.maximum.accumulate(level)[:-1]])
    step = np.floor(recall * (_LEVELS / 2))
    keep = (level > before) | (np.diff(step, prepend=np.inf) != 0)
    # The first of the highest precision has the most recall of them.
    keep[[0, best, int(precision.argmax()), -1]] = True
    return np.flatnonzero(keep)
