"""Rates and weights that change over a run: a curriculum."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    TypeAdapter,
    ValidationInfo,
    model_validator,
)

from captionkit.draws import Draws
from captionkit.policy import Config, Probability, Weight

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]


_AT_LEAST_ONE = Field(json_schema_extra={"minItems": 1})


def _some(points: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    # After the points themselves, so that a faulty one is told once.
    if not points:
        raise ValueError("no point; give at least one, such as [0, 0.5]")
    return points


class Curve(Config):
    """A value that follows the run, from point to point; flat before the first and behind the last.

    Over samples, the pipeline must be told how many the run has seen: `render(record, samples=...)`.

    >>> warm_up = Curve(points=[(0, 0.5), (10, 0.1)])
    >>> [round(warm_up.at(epoch), 2) for epoch in (0, 5, 10, 99)]
    [0.5, 0.3, 0.1, 0.1]
    """

    points: Annotated[tuple[tuple[Number, Number], ...], AfterValidator(_some), _AT_LEAST_ONE]
    """Where and how much, such as `[[0, 0.5], [10, 0.15]]`; the places ascend."""
    over: Literal["epoch", "samples"] = "epoch"
    """What the places count."""
    shape: Literal["linear", "steps"] = "linear"
    """Straight lines from point to point, or each value until the next place."""

    @model_validator(mode="after")
    def _ascending(self) -> Curve:
        for (one, _), (other, _) in pairwise(self.points):
            if other <= one:
                raise ValueError(f"the places must ascend: {other:g} comes after {one:g}")
        return self

    def at(self, place: float) -> float:
        """The value at this epoch, or after so many samples."""
        if place <= self.points[0][0]:
            return self.points[0][1]
        for (start, before), (end, after) in pairwise(self.points):
            if place < end:
                return (
                    before
                    if self.shape == "steps"
                    else before + (after - before) * (place - start) / (end - start)
                )
        return self.points[-1][1]

    def now(self, draws: Draws) -> float:
        """The value for the draws at hand."""
        return self.at(draws.epoch if self.over == "epoch" else draws.samples)


_PROBABILITY: TypeAdapter[float] = TypeAdapter(Probability, config=ConfigDict(defer_build=True))
_WEIGHT: TypeAdapter[float] = TypeAdapter(Weight, config=ConfigDict(defer_build=True))


def _number_or_curve(value: Any, number: TypeAdapter[float], info: ValidationInfo) -> float | Curve:
    """A number as it is, a table as a curve; every value of a curve must be allowed as a number."""
    if not isinstance(value, Curve | dict):
        return number.validate_python(value)
    curve = value if isinstance(value, Curve) else Curve.model_validate(value, context=info.context)
    for _, height in curve.points:
        number.validate_python(height)
    return curve


def _rate(value: Any, info: ValidationInfo) -> float | Curve:
    return _number_or_curve(value, _PROBABILITY, info)


def _amount(value: Any, info: ValidationInfo) -> float | Curve:
    return _number_or_curve(value, _WEIGHT, info)


def _plain(value: float | Curve) -> float | dict[str, Any]:
    return value.model_dump(mode="json") if isinstance(value, Curve) else value


Rate: TypeAlias = Annotated[
    float | Curve,
    PlainValidator(_rate, json_schema_input_type=Probability | Curve),
    PlainSerializer(_plain, when_used="json"),
]
"""Between 0 and 1, or a curve of such numbers over the run."""

Amount: TypeAlias = Annotated[
    float | Curve,
    PlainValidator(_amount, json_schema_input_type=Weight | Curve),
    PlainSerializer(_plain, when_used="json"),
]
"""A share in any unit, 0 or above, or a curve of such numbers over the run."""


def value_at(value: float | Curve, draws: Draws) -> float:
    """What a rate or weight is for the draws at hand."""
    return value.now(draws) if isinstance(value, Curve) else value


def can_all_be_zero(weights: Iterable[float | Curve]) -> bool:
    """Whether there is a place of the run at which no weight is above 0, so that nothing could be drawn.

    Weights are never below 0 and curves run straight from place to place, so a sum of them is 0 at one of
    their places or nowhere.
    """
    curves: dict[str, list[Curve]] = {}
    for weight in weights:
        if isinstance(weight, Curve):
            curves.setdefault(weight.over, []).append(weight)
        elif weight > 0.0:
            return False
    return all(
        any(all(curve.at(place) == 0.0 for curve in together) for one in together for place, _ in one.points)
        for together in curves.values()
    )
