"""How good a tagger is: its scores against what records say, tag by tag and group by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from trainkit.tagging.calibration import (
    Bin,
    expected_error,
    fit_sigmoid,
    fit_softmax,
    loss_sigmoid,
    loss_softmax,
    reliability,
    sigmoid_at,
    softmax_at,
)
from trainkit.tagging.choices import answer_scores, answers_of, right_answers
from trainkit.tagging.confusion import Confusion, confusion
from trainkit.tagging.curves import TagCurve
from trainkit.tagging.evaluation import Calibration, Means
from trainkit.tagging.label import Label
from trainkit.tagging.measure import average_precision, f1, tag_curve
from trainkit.tagging.outputs import Outputs, Temperatures
from trainkit.tagging.truth import PRESENT, UNKNOWN, TruthTable

ScoreTable = NDArray[np.float32]
"""[N, L]: a row per picture, a column per label."""

LEAST_SUPPORT = 20
"""Fewer pictures with a tag, or without, are no ground for a temperature."""


def curves_of(labels: Sequence[Label], scores: ScoreTable, truth: TruthTable) -> dict[str, TagCurve]:
    """The curve of each tag that at least one picture has, over the pictures of which it is known."""
    curves = {}
    for place in np.flatnonzero((truth == PRESENT).any(axis=0)).tolist():
        known = truth[:, place] != UNKNOWN
        name = labels[place].name
        curves[name] = tag_curve(name, scores[known, place], truth[known, place] == PRESENT)
    return curves


def confusions_of(outputs: Outputs, scores: ScoreTable, truth: TruthTable) -> tuple[Confusion, ...]:
    """The confusion within each group, over the pictures of which the answer is known."""
    found = []
    for group in outputs.groups:
        rows, right = right_answers(outputs, group, truth)
        table = answer_scores(outputs, group, scores[rows])
        found.append(confusion(group, answers_of(outputs, group), table, right))
    return tuple(found)


def calibrations_of(
    outputs: Outputs, scores: ScoreTable, truth: TruthTable, fitted: NDArray[np.bool_]
) -> tuple[Calibration, ...]:
    """A temperature for each group, and one for all other tags, where there is enough to find it from.

    That of the pictures that are ``fitted`` ([N]) is judged by the others: where it makes them likelier, the
    one of all pictures is used, and 1 where it does not.
    """
    found = [_of_group(outputs, group, scores, truth, fitted) for group in outputs.groups]
    if len(outputs.singles):
        found.insert(0, _of_singles(scores[:, outputs.singles], truth[:, outputs.singles], fitted))
    return tuple(found)


def at_temperatures(outputs: Outputs, scores: ScoreTable, temperatures: Temperatures) -> ScoreTable:
    """Scores as they are when their logits are divided by (further) temperatures."""
    moved = scores.copy()
    if temperatures.tags != 1.0:
        moved[:, outputs.singles] = sigmoid_at(scores[:, outputs.singles], temperatures.tags)
    for group, places in outputs.groups.items():
        if (temperature := temperatures.groups.get(group, 1.0)) != 1.0:
            table = softmax_at(answer_scores(outputs, group, scores), temperature)
            moved[:, places] = table[:, : len(places)]
    for implying, implied in outputs.implications:
        np.maximum(moved[:, implied], moved[:, implying], out=moved[:, implied])
    return moved


def means_of(
    labels: Sequence[Label], curves: Mapping[str, TagCurve], scores: ScoreTable, truth: TruthTable
) -> Means:
    """The figures over all tags that have a curve; zeros when none has."""
    if not curves:
        return Means(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    judged = [number for number, label in enumerate(labels) if label.name in curves]
    known = truth[:, judged] != UNKNOWN
    right = truth[:, judged][known] == PRESENT
    common = [curve.positives / curve.pictures for curve in curves.values()]
    best = []
    for curve in curves.values():
        point = None if curve.best_f1_threshold is None else curve.at(curve.best_f1_threshold)
        best.append(f1(point.precision, point.recall) if point else 0.0)
    return Means(
        macro_average_precision=_mean([curve.average_precision for curve in curves.values()]),
        macro_guess=_mean(common),
        micro_average_precision=average_precision(scores[:, judged][known], right),
        micro_guess=float(right.mean()),
        macro_f1=_mean(best),
        macro_f1_guess=_mean([f1(share, 1.0) for share in common]),
    )


def _of_singles(scores: ScoreTable, truth: TruthTable, fitted: NDArray[np.bool_]) -> Calibration:
    known = truth != UNKNOWN
    first, other = known & fitted[:, None], known & ~fitted[:, None]

    def temperature_of(part: NDArray[np.bool_]) -> float:
        right = truth[part] == PRESENT
        enough = min(int(right.sum()), int((~right).sum())) >= LEAST_SUPPORT
        return fit_sigmoid(scores[part], right) if enough else 1.0

    tried, before, right = temperature_of(first), scores[other], truth[other] == PRESENT
    was, now = reliability(before, right), reliability(sigmoid_at(before, tried), right)
    helps = bool(len(before)) and loss_sigmoid(before, right, tried) < loss_sigmoid(before, right, 1.0)
    temperature = temperature_of(known) if helps else 1.0
    return _calibration("", temperature, tried, int(other.any(axis=1).sum()), was, now)


def _of_group(
    outputs: Outputs, group: str, scores: ScoreTable, truth: TruthTable, fitted: NDArray[np.bool_]
) -> Calibration:
    rows, right = right_answers(outputs, group, truth)
    table, first = answer_scores(outputs, group, scores[rows]), fitted[rows]

    def temperature_of(part: NDArray[np.bool_]) -> float:
        return fit_softmax(table[part], right[part]) if int(part.sum()) >= LEAST_SUPPORT else 1.0

    tried, before = temperature_of(first), table[~first]
    hits = (right[~first, None] == np.arange(before.shape[1])).ravel()
    was = reliability(before.ravel(), hits)
    now = reliability(softmax_at(before, tried).ravel(), hits)
    rest = right[~first]
    helps = bool(len(rest)) and loss_softmax(before, rest, tried) < loss_softmax(before, rest, 1.0)
    temperature = temperature_of(np.ones_like(first)) if helps else 1.0
    return _calibration(group, temperature, tried, len(before), was, now)


def _calibration(
    group: str, temperature: float, tried: float, pictures: int, was: tuple[Bin, ...], now: tuple[Bin, ...]
) -> Calibration:
    return Calibration(
        group, temperature, tried, pictures, was, now, expected_error(was), expected_error(now)
    )


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
