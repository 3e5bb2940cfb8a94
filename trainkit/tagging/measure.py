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
    # scikit-learn is slow to import, and reading a curve does not need it.
    from sklearn.metrics import average_precision_score

    points = _points(scores_N, truth_N)
    best = max(points, key=lambda point: (f1(point.precision, point.recall), point.threshold))
    average = float(average_precision_score(truth_N, scores_N))
    return TagCurve(tag, positives, pictures, min(1.0, average), best.threshold, _thinned(points, best))


def f1(precision: float, recall: float) -> float:
    """The harmonic mean of the two; 0 when both are."""
    total = precision + recall
    return 2 * precision * recall / total if total else 0.0


def _points(scores_N: NDArray[np.float32], truth_N: NDArray[np.bool_]) -> list[Point]:
    """A point for every distinct score, by rising threshold."""
    order = np.argsort(-scores_N, kind="stable")
    scores, right = scores_N[order], np.cumsum(truth_N[order])
    last = np.append(np.flatnonzero(scores[1:] != scores[:-1]), len(scores) - 1)
    thresholds = _between(scores[last])
    positives = int(right[-1])
    return [
        Point(float(threshold), int(hits) / int(said), int(hits) / positives, int(said))
        for threshold, hits, said in zip(thresholds[::-1], right[last][::-1], last[::-1] + 1, strict=True)
    ]


def _between(falling: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each score, moved half-way to the next lower one: a score that comes out a hair lower on another
    device stays on its side. The lowest stays, and so do neighbours without a number between them."""
    moved = falling.copy()
    if len(falling) > 1:
        middle = (falling[:-1] + falling[1:]) / np.float32(2)
        moved[:-1] = np.where(middle > falling[1:], middle, falling[:-1])
    return moved


def _thinned(points: list[Point], best: Point) -> tuple[Point, ...]:
    """The ends, the best F1, the first point that reaches each level of precision (`TagCurve.threshold_for`
    picks among these alone), and what the eye needs between them."""
    level, last_recall = -1, math.inf
    top = max(points, key=lambda point: (point.precision, point.recall))
    kept: list[Point] = []
    for point in points:
        reached = int(point.precision * _LEVELS + 1e-9)
        if reached > level or point in (best, top, points[-1]) or last_recall - point.recall >= 2 / _LEVELS:
            kept.append(point)
            last_recall = point.recall
        level = max(level, reached)
    return tuple(kept)
