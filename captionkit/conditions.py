"""Conditions on what is known about a picture: which values a fact may have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Annotated, Any, TypeAlias

from pydantic import Field, PlainSerializer, PlainValidator, ValidationInfo, model_validator

from captionkit.policy import Config
from captionkit.record import Fact

_Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class Between(Config):
    """A number from `min` to `max`, both included."""

    min: _Number | None = None
    """Not below this."""
    max: _Number | None = None
    """Not above this."""

    @model_validator(mode="after")
    def _has_bound(self) -> Between:
        if self.min is None and self.max is None:
            raise ValueError("no bound; give `min`, `max` or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"the range runs backwards: {self.min:g} is above {self.max:g}")
        return self

    def holds(self, value: Fact | None) -> bool:
        """Whether it is a number in the range; text, true and false are none."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return (self.min is None or value >= self.min) and (self.max is None or value <= self.max)


def _condition(value: Any, info: ValidationInfo) -> Between | tuple[Fact, ...]:
    """A table as a range, a list as the values allowed, one value as a list of it alone."""
    if isinstance(value, Between):
        return value
    if isinstance(value, dict):
        return Between.model_validate(value, context=info.context)
    values = tuple(value) if isinstance(value, list | tuple) else (value,)
    if not values:
        raise ValueError('no value, so that the fact never fits; give at least one, such as ["s"]')
    for one in values:
        if not isinstance(one, Fact) or (isinstance(one, float) and not isfinite(one)):
            raise ValueError(f"a fact's value is text, a finite number, true or false, got {one!r}")
    return values


def _plain(condition: Between | tuple[Fact, ...]) -> dict[str, float] | list[Fact]:
    return condition.model_dump(exclude_none=True) if isinstance(condition, Between) else list(condition)


Condition: TypeAlias = Annotated[
    Between | tuple[Fact, ...],
    PlainValidator(_condition, json_schema_input_type=Between | list[Fact] | Fact),
    PlainSerializer(_plain, when_used="json"),
]
"""The type of a field that says which values a fact may have."""


def all_hold(
    conditions: Mapping[str, Between | tuple[Fact, ...]], fact: Callable[[str], Fact | None]
) -> bool:
    """Whether every fact is as its condition asks; one that nobody knows is not.

    >>> all_hold({"rating": ("s",), "score": Between(min=10)}, {"rating": "s", "score": 12}.get)
    True
    """
    return all(_fits(fact(name), condition) for name, condition in conditions.items())


def _fits(value: Fact | None, condition: Between | tuple[Fact, ...]) -> bool:
    if isinstance(condition, Between):
        return condition.holds(value)
    # 1 and True are equal to Python, and not the same to who wrote the recipe.
    return any(
        value == allowed and isinstance(value, bool) is isinstance(allowed, bool) for allowed in condition
    )
