"""``report.html`` of an evaluation: one self-contained page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainkit.pages import page
from trainkit.tagging.confusion import Confusion
from trainkit.tagging.curves import Point, TagCurve
from trainkit.tagging.evaluation import Evaluation
from trainkit.tagging.evaluation_plots import curve_plot, reliability_plot
from trainkit.tagging.intervals import wilson
from trainkit.tagging.measure import f1

_TEMPLATE = Path(__file__).parent / "evaluation.html"
_MOST_PLOTS = 24
_MOST_ROWS = 2000
_WIDEST = 30
"""A matrix of more tags than that is a wall of numbers: its greatest confusions are listed instead."""
PRECISIONS = (0.8, 0.9, 0.95)
RECALLS = (0.5, 0.9)
SMALL = 100
"""Where fewer pictures have a tag, the interval of its precision is shown."""


def evaluation_page(evaluation: Evaluation, *, review: int = 0) -> str:
    """The page's HTML; ``review`` says how many questions the page beside it asks."""
    curves = sorted(evaluation.curves.values(), key=lambda curve: (-curve.positives, curve.tag))
    groups = [_group(confusion) for confusion in evaluation.confusions if confusion.pictures]
    return page(
        _TEMPLATE,
        title=f"{evaluation.tagger}: evaluated",
        evaluation=evaluation,
        rows=[tag_row(curve) for curve in curves[:_MOST_ROWS]],
        more_rows=max(0, len(curves) - _MOST_ROWS),
        precisions=PRECISIONS,
        recalls=RECALLS,
        small=SMALL,
        plots=[(curve, curve_plot(curve)) for curve in curves[:_MOST_PLOTS]],
        more_plots=max(0, len(curves) - _MOST_PLOTS),
        groups=groups,
        empty_groups=[confusion.group for confusion in evaluation.confusions if not confusion.pictures],
        reliability=[
            (calibration, reliability_plot(calibration))
            for calibration in evaluation.calibrations
            if calibration.after
        ],
        review=review,
        problems=evaluation.problems[:20],
    )


def tag_row(curve: TagCurve) -> dict[str, Any]:
    """The figures of one tag, as a table shows them."""
    best = None if curve.best_f1_threshold is None else curve.at(curve.best_f1_threshold)
    common = curve.positives / curve.pictures
    return {
        "tag": curve.tag,
        "positives": curve.positives,
        "pictures": curve.pictures,
        "average_precision": curve.average_precision,
        "guess": common,
        "f1": f1(best.precision, best.recall) if best else 0.0,
        "f1_guess": f1(common, 1.0),
        "threshold": curve.best_f1_threshold,
        "at_precision": [_at_precision(curve, precision) for precision in PRECISIONS],
        "at_recall": [_at_recall(curve, recall) for recall in RECALLS],
    }


def _at_precision(curve: TagCurve, precision: float) -> dict[str, Any] | None:
    threshold = curve.threshold_for(precision)
    point = None if threshold is None else curve.at(threshold)
    return None if point is None else _told(curve, point)


def _at_recall(curve: TagCurve, recall: float) -> dict[str, Any] | None:
    points = [point for point in curve.points if point.recall >= recall]
    return _told(curve, max(points, key=lambda point: point.precision)) if points else None


def _told(curve: TagCurve, point: Point) -> dict[str, Any]:
    interval = wilson(round(point.precision * point.said), point.said)
    return {
        "threshold": point.threshold,
        "precision": point.precision,
        "recall": point.recall,
        "interval": interval if curve.positives < SMALL else None,
    }


def _group(confusion: Confusion) -> dict[str, Any]:
    """A matrix whose cells say which share of their row they are, or a list of what is confused most."""
    sums = [sum(row) for row in confusion.counts]
    pairs = [
        (count, confusion.tags[i], confusion.tags[j], count / sums[i])
        for i, row in enumerate(confusion.counts)
        for j, count in enumerate(row)
        if i != j and count
    ]
    return {
        "confusion": confusion,
        "matrix": None
        if len(confusion.tags) > _WIDEST
        else [
            (tag, sums[i], [(count, count / max(1, sums[i]), i == j) for j, count in enumerate(row)])
            for i, (tag, row) in enumerate(zip(confusion.tags, confusion.counts, strict=True))
        ],
        "pairs": sorted(pairs, key=lambda pair: (-pair[0], pair[1:]))[:20],
    }
