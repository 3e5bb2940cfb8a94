"""Policies for some captions only, by what is known about them."""

from __future__ import annotations

from math import isfinite
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    model_validator,
)

from captionkit.draws import Draws
from captionkit.kinds import AnyPolicy
from captionkit.patterns import PatternList, compile_patterns
from captionkit.policies.combine import shared_claims
from captionkit.policy import Claim, Config, Policy
from captionkit.record import Caption, Fact, Source
from captionkit.steps import take_step

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


class When(Policy):
    """One policy where the caption fits a condition, else another or none. The condition draws nothing.

    All of `tags`, `sources` and `facts` that are given must hold.
    """

    kind: Literal["when"] = "when"
    tags: PatternList | None = None
    """Holds when a tag that is still in the caption matches one of these patterns."""
    sources: tuple[Source, ...] | None = None
    """Holds when the source chosen so far is one of these."""
    facts: dict[str, Condition] | None = None
    """Holds when the record's facts are so: `{rating = ["s", "q"], score = {min = 10}}`; one that the record
    does not have is not so."""
    then: AnyPolicy
    """The policy applied where the condition holds."""
    otherwise: AnyPolicy | None = None
    """The policy applied elsewhere; left out means the caption stays as it is."""

    @model_validator(mode="after")
    def _has_condition(self) -> When:
        if self.tags is None and self.sources is None and not self.facts:
            raise ValueError("no condition; give `tags`, `sources`, `facts` or several of them")
        return self

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption after the policy whose side the condition is on."""
        holds = self._holds(caption)
        if draws.trace is not None:
            draws.note("the condition holds" if holds else "the condition does not hold")
        if holds:
            return take_step(self.then, "then", caption, draws)
        return caption if self.otherwise is None else take_step(self.otherwise, "otherwise", caption, draws)

    def _holds(self, caption: Caption) -> bool:
        if self.sources is not None and caption.source not in self.sources:
            return False
        for name, condition in (self.facts or {}).items():
            if not _fits(caption.fact(name), condition):
                return False
        return self.tags is None or bool(compile_patterns(self.tags).matching(caption.tags))

    def claims(self) -> frozenset[Claim]:
        """What both ways claim; idempotence goes, since the first time can change the condition."""
        ways = (self.then,) if self.otherwise is None else (self.then, self.otherwise)
        return shared_claims(ways) - {"idempotent"}


def _fits(value: Fact | None, condition: Between | tuple[Fact, ...]) -> bool:
    if isinstance(condition, Between):
        return condition.holds(value)
    # 1 and True are equal to Python, and not the same to who wrote the recipe.
    return any(
        value == allowed and isinstance(value, bool) is isinstance(allowed, bool) for allowed in condition
    )
