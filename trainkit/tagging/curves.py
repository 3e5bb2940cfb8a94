"""How well a tagger knows one tag: precision and recall at every threshold, as in ``evaluation.json``.

    precision(t) = right above t / all above t        recall(t) = right above t / all that are right

A score stands above a threshold when it is at least that.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from trainkit.errors import TrainkitError

EVALUATION = "evaluation.json"
FORMAT = 1
_MOST_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Point:
    """What holds when a tag is said at ``threshold`` and above."""

    threshold: float
    precision: float
    recall: float
    said: int
    """Pictures that score at least the threshold."""


@dataclass(frozen=True, slots=True)
class TagCurve:
    """The precision-recall curve of one tag on pictures that the tagger never trained on."""

    tag: str
    positives: int
    """Pictures that have the tag."""
    pictures: int
    """Pictures that were judged, with or without it."""
    average_precision: float
    """0 to 1; that of guessing is positives / pictures. NaN where no picture has the tag."""
    best_f1_threshold: float | None
    points: tuple[Point, ...]
    """By rising threshold; thinned, with the best of every precision kept."""

    def threshold_for(self, precision: float, *, min_support: int = 1) -> float | None:
        """The lowest threshold at which the tag is right in at least a share ``precision`` of the pictures
        that get it: of all that reach it, the one with the most recall. None where there is none, or where
        fewer than ``min_support`` pictures have the tag."""
        if self.positives < max(1, min_support):
            return None
        return next((point.threshold for point in self.points if point.precision >= precision), None)

    def at(self, threshold: float) -> Point | None:
        """What the curve knows of a threshold: its first point at it or above; None above all."""
        return next((point for point in self.points if point.threshold >= threshold), None)


def read_evaluation(folder: Path) -> dict[str, TagCurve]:
    """The curves of a tagger that was evaluated, by tag; ``folder`` is the tagger's, or where -o went.

    Raises TrainkitError when it never was, or when the file is not as `evaluate` writes it.
    """
    path = folder / EVALUATION
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        raise TrainkitError(
            f"{path} is not there: `trainkit tagger evaluate {folder} MANIFEST` measures what each threshold "
            "is worth, and writes it"
        ) from None
    except OSError as error:
        raise TrainkitError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        if len(content) > _MOST_BYTES:
            raise ValueError(f"is larger than {_MOST_BYTES >> 20} MiB")
        told = json.loads(content)
        if told["format"] != FORMAT:
            raise ValueError(f"format is {told['format']!r}, must be {FORMAT}")
        return {tag: _curve(tag, entry) for tag, entry in told["tags"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        why = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise TrainkitError(f"{path}: {why[:300]}; evaluate the tagger again") from error


def curve_entry(curve: TagCurve) -> dict[str, Any]:
    """A curve as it stands in ``evaluation.json``."""
    return {
        "positives": curve.positives,
        "pictures": curve.pictures,
        "average_precision": None if math.isnan(curve.average_precision) else curve.average_precision,
        "best_f1_threshold": curve.best_f1_threshold,
        "curve": {
            "threshold": [point.threshold for point in curve.points],
            "precision": [point.precision for point in curve.points],
            "recall": [point.recall for point in curve.points],
            "said": [point.said for point in curve.points],
        },
    }


def _curve(tag: str, entry: Mapping[str, Any]) -> TagCurve:
    columns = entry["curve"]
    points = tuple(
        Point(_share(threshold), _share(precision), _share(recall), int(said))
        for threshold, precision, recall, said in zip(
            columns["threshold"], columns["precision"], columns["recall"], columns["said"], strict=True
        )
    )
    if any(a.threshold >= b.threshold for a, b in pairwise(points)):
        raise ValueError(f"tags[{tag!r}].curve.threshold must rise")
    average, best = entry["average_precision"], entry["best_f1_threshold"]
    return TagCurve(
        tag,
        int(entry["positives"]),
        int(entry["pictures"]),
        math.nan if average is None else _share(average),
        None if best is None else _share(best),
        points,
    )


def _share(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"{value!r} must be a number from 0 to 1")
    return float(value)
