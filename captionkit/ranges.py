"""Numbers that each caption draws from a range: `[low, high]`, where one number is a range of it alone."""

from __future__ import annotations

from math import ceil, isclose
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import Field, PlainSerializer, PlainValidator, TypeAdapter, ValidationInfo

from captionkit.curves import Amount, Curve, Rate, value_at
from captionkit.draws import Draws
from captionkit.policy import Probability, Weight

T = TypeVar("T")

Ends: TypeAlias = T | tuple[T, T]
"""What a field with a range holds: the one number, or both ends."""

Count = Annotated[int, Field(strict=True, ge=0)]
"""A whole number, 0 or above."""

_RATE: TypeAdapter[float | Curve] = TypeAdapter(Rate)
_RATES: TypeAdapter[tuple[float | Curve, float | Curve]] = TypeAdapter(tuple[Rate, Rate])
_AMOUNT: TypeAdapter[float | Curve] = TypeAdapter(Amount)
_AMOUNTS: TypeAdapter[tuple[float | Curve, float | Curve]] = TypeAdapter(tuple[Amount, Amount])
_COUNT: TypeAdapter[int] = TypeAdapter(Count)
_COUNTS: TypeAdapter[tuple[int, int]] = TypeAdapter(tuple[Count, Count])


def _one_or_two(
    value: Any, one: TypeAdapter[T], two: TypeAdapter[tuple[T, T]], info: ValidationInfo
) -> Ends[T]:
    """One value, or both ends of a range; those that are numbers may not run backwards."""
    if not isinstance(value, list | tuple):
        return one.validate_python(value, context=info.context)
    if len(value) != 2:
        raise ValueError(f"a range is [low, high], got {list(value)!r}")
    ends = two.validate_python(tuple(value), context=info.context)
    numbers: list[float] = [end for end in ends if isinstance(end, int | float)]
    if numbers != sorted(numbers):
        raise ValueError(f"the range runs backwards: {numbers[0]:g} is above {numbers[1]:g}")
    return ends


def _rates(value: Any, info: ValidationInfo) -> Ends[float | Curve]:
    return _one_or_two(value, _RATE, _RATES, info)


def _amounts(value: Any, info: ValidationInfo) -> Ends[float | Curve]:
    return _one_or_two(value, _AMOUNT, _AMOUNTS, info)


def _counts(value: Any, info: ValidationInfo) -> Ends[int]:
    return _one_or_two(value, _COUNT, _COUNTS, info)


def _as_it_is(value: Any) -> Any:
    """For the dump: of the forms in the type, pydantic would complain about those that a value has not."""
    return value


_RateEnd: TypeAlias = Probability | Curve
_AmountEnd: TypeAlias = Weight | Curve

RateRange: TypeAlias = Annotated[
    Ends[float | Curve],
    PlainValidator(_rates, json_schema_input_type=_RateEnd | tuple[_RateEnd, _RateEnd]),
    PlainSerializer(_as_it_is),
]
"""Between two numbers from 0 to 1; each end may be a curve over the run."""

AmountRange: TypeAlias = Annotated[
    Ends[float | Curve],
    PlainValidator(_amounts, json_schema_input_type=_AmountEnd | tuple[_AmountEnd, _AmountEnd]),
    PlainSerializer(_as_it_is),
]
"""Between two numbers, 0 or above; each end may be a curve over the run."""

CountRange: TypeAlias = Annotated[
    Ends[int],
    PlainValidator(_counts, json_schema_input_type=Count | tuple[Count, Count]),
    PlainSerializer(_as_it_is),
]
"""Between two whole numbers, 0 or above, both included."""


def number_within(numbers: Ends[float | Curve], place: float, draws: Draws) -> float:
    """The number at `place` in [0, 1) of a range, as it is for the draws at hand."""
    if not isinstance(numbers, tuple):
        return value_at(numbers, draws)
    low, high = value_at(numbers[0], draws), value_at(numbers[1], draws)
    return low + (high - low) * place


def count_within(counts: Ends[int], place: float) -> int:
    """The whole number at `place` in [0, 1): each of the range has the same share.

    >>> [count_within((2, 4), place) for place in (0.0, 0.4, 0.9)]
    [2, 3, 4]
    """
    if not isinstance(counts, tuple):
        return counts
    low, high = counts
    return low + int(place * (high - low + 1))


def share_of(total: int, share: float) -> int:
    """How many of `total` a share is, rounded up: any share above 0 is at least one.

    >>> [share_of(10, share) for share in (0.0, 0.01, 0.25, 1.0)]
    [0, 1, 3, 10]
    """
    exact = share * total
    nearest = round(exact)
    # Seven hundredths of a hundred are 7.000000000000001, and still seven.
    return nearest if isclose(exact, nearest) else ceil(exact)


def drawn_number(
    total: int, count: Ends[int] | None, share: Ends[float | Curve] | None, place: float, draws: Draws
) -> int:
    """How many of `total` stay by the one measure that is given; `count` may come to more than there are."""
    if count is not None:
        return count_within(count, place)
    assert share is not None, "whoever asks has called one_measure"
    return share_of(total, number_within(share, place, draws))


def one_measure(count: Ends[int] | None, share: Ends[float | Curve] | None) -> None:
    """`ValueError` unless exactly one of the two is given."""
    if (count is None) == (share is None):
        given = "neither is given" if count is None else "both are given"
        raise ValueError(f"{given}: give either `count` or `share`")
