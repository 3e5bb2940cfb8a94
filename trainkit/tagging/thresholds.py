"""From which score each tag is said: from a precision target, from fixed numbers, or as the tagger has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from trainkit.errors import TrainkitError
from trainkit.tagging.curves import TagCurve
from trainkit.tagging.decide import NEVER
from trainkit.tagging.label import Label
from trainkit.tagging.tagger import Tagger

_Share = Field(default=None, gt=0.0, le=1.0)


class ThresholdConfig(BaseModel):
    """Where thresholds come from; with nothing said, from the tagger itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    precision: float | None = _Share
    """Each tag is said from the lowest score on at which it was right in at least this share of the pictures
    that got it, when the tagger was evaluated. A tag that never was is not said."""
    min_support: int = Field(default=10, ge=1)
    """With a precision: a tag that fewer pictures of the evaluation have is not said, for a few prove
    nothing."""
    threshold: float | None = _Share
    """One score for all tags."""
    category_thresholds: Mapping[str, float] = {}
    """Other scores for the tags of some categories, such as character = 0.85."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.precision is not None and (self.threshold is not None or self.category_thresholds):
            raise ValueError("give a precision or thresholds, not both")
        if self.category_thresholds and self.threshold is None:
            raise ValueError("thresholds of categories need one for all others, too: --threshold 0.35")
        for category, threshold in self.category_thresholds.items():
            if not 0 < threshold <= 1:
                raise ValueError(f"the threshold of {category!r} is {threshold}, must be above 0, at most 1")
        return self


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The score from which each label is said."""

    values: NDArray[np.float32]
    """[L], in the order of the labels; `NEVER` for what is not said."""
    never: tuple[tuple[str, str], ...]
    """Tags that are not said whatever their score, each with the reason."""
    says: str
    """Where they come from, in words."""


def thresholds_of(
    tagger: Tagger, config: ThresholdConfig, curves: Mapping[str, TagCurve] | None
) -> Thresholds:
    """The thresholds of a tagger's labels; ``curves`` are those of its evaluation, None without one.

    Raises TrainkitError when nothing says any.
    """
    labels = tagger.labels
    if config.threshold is not None:
        categories = {label.category for label in labels}
        if strange := [name for name in config.category_thresholds if name not in categories]:
            known = ", ".join(sorted(str(category) for category in categories if category))
            raise TrainkitError(
                f"--threshold {strange[0]}=...: the tagger has no tags of that category; it has "
                f"{known or 'no categories'}"
            )
        return _fixed(labels, config.threshold, config.category_thresholds)
    if config.precision is not None:
        if curves is None:
            raise TrainkitError(
                f"--precision {config.precision}: {tagger.name} was never evaluated, so nobody knows what "
                "its scores are worth; first trainkit tagger evaluate TAGGER MANIFEST, on tagged pictures, "
                "or give --threshold 0.35"
            )
        return _precise(labels, config.precision, config.min_support, curves)
    if tagger.thresholds:
        return _own(labels, tagger.thresholds)
    raise TrainkitError(
        f"{tagger.name} comes with no thresholds: give --precision 0.9 after trainkit tagger evaluate, or "
        "--threshold (customary for WD taggers: --threshold 0.35 --threshold character=0.85; for JTP PILOT: "
        "--threshold 0.2)"
    )


def _fixed(labels: tuple[Label, ...], threshold: float, categories: Mapping[str, float]) -> Thresholds:
    values = [categories.get(label.category or "", threshold) for label in labels]
    told = ", ".join([f"{threshold:g}", *(f"{name} {value:g}" for name, value in categories.items())])
    return Thresholds(np.array(values, np.float32), (), f"a score of {told}")


def _precise(
    labels: tuple[Label, ...], precision: float, min_support: int, curves: Mapping[str, TagCurve]
) -> Thresholds:
    values, never = [], []
    for label in labels:
        curve = curves.get(label.name)
        threshold = curve.threshold_for(precision, min_support=min_support) if curve is not None else None
        values.append(NEVER if threshold is None else np.float32(threshold))
        if threshold is None:
            never.append((label.name, _why_never(curve, precision, min_support)))
    return Thresholds(
        np.array(values, np.float32), tuple(never), f"a precision of {precision:g} in the tagger's evaluation"
    )


def _why_never(curve: TagCurve | None, precision: float, min_support: int) -> str:
    if curve is None:
        return "was not evaluated"
    if curve.positives < min_support:
        return (
            f"{curve.positives} pictures of the evaluation have it, fewer than {min_support} (--min-support)"
        )
    best = max((point.precision for point in curve.points), default=0.0)
    return f"reaches a precision of {best:.3f} at most, not {precision:g}"


def _own(labels: tuple[Label, ...], own: Mapping[str, float]) -> Thresholds:
    values = [np.float32(own[label.name]) if label.name in own else NEVER for label in labels]
    never = [(label.name, "the tagger has no threshold for it") for label in labels if label.name not in own]
    return Thresholds(np.array(values, np.float32), tuple(never), "the tagger's own thresholds")
