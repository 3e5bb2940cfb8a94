"""Combinators: policies made of policies."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from captionkit.draws import Draws
from captionkit.kinds import AnyPolicy
from captionkit.patterns import PatternList, compile_patterns
from captionkit.policy import Claim, Policy, Probability, Weight
from captionkit.record import Caption, Source
from captionkit.steps import require_distinct_names, segments, take_step

Steps = Annotated[tuple[AnyPolicy, ...], AfterValidator(require_distinct_names)]
"""Policies in order; an explicit name may be there once."""


class Sequence(Policy):
    """One policy after the other; without steps it changes nothing."""

    kind: Literal["sequence"] = "sequence"
    steps: Steps = ()
    """The policies, first to last."""

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption after all steps."""
        return run(self.steps, caption, draws)

    def claims(self) -> frozenset[Claim]:
        """What all steps claim, but not idempotence: a b a b is not a b."""
        return _shared(self.steps) - {"idempotent"}


class OneOf(Policy):
    """Exactly one of several policies, drawn by weight."""

    kind: Literal["one_of"] = "one_of"
    choices: Annotated[Steps, Field(min_length=1)]
    """The policies to draw from."""
    weights: tuple[Weight, ...] | None = None
    """How often each is drawn, in any unit; left out means equally often."""

    @model_validator(mode="after")
    def _weights_fit(self) -> OneOf:
        if self.weights is not None and len(self.weights) != len(self.choices):
            raise ValueError(
                f"{len(self.weights)} weights for {len(self.choices)} choices; give one for each"
            )
        if self.weights is not None and sum(self.weights) <= 0.0:
            raise ValueError("all weights are 0; at least one must be above")
        return self

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption after the choice that was drawn."""
        addressed = list(zip(segments(self.choices), self.choices, strict=True))
        segment, chosen = draws.choice(addressed, self.weights)
        if draws.trace is not None:
            draws.note(f"drew {segment}")
        return take_step(chosen, segment, caption, draws)

    def claims(self) -> frozenset[Claim]:
        """What all choices claim, but not idempotence: the second draw may be another."""
        return _shared(self.choices) - {"idempotent"}


class Maybe(Policy):
    """One policy with probability `p`, else another or none."""

    kind: Literal["maybe"] = "maybe"
    p: Probability
    """How often `then` is applied."""
    then: AnyPolicy
    """The policy applied with probability `p`."""
    otherwise: AnyPolicy | None = None
    """The policy applied the rest of the time; left out means the caption stays as it is."""

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption after the policy that was drawn."""
        if draws.chance(self.p):
            return take_step(self.then, "then", caption, draws)
        return caption if self.otherwise is None else take_step(self.otherwise, "otherwise", caption, draws)

    def claims(self) -> frozenset[Claim]:
        """What both ways claim, but not idempotence: the second draw may be the other."""
        ways = (self.then,) if self.otherwise is None else (self.then, self.otherwise)
        off: frozenset[Claim] = frozenset({"off at zero"}) if self.otherwise is None else frozenset()
        return (_shared(ways) - {"idempotent", "off at zero"}) | off


class When(Policy):
    """One policy where the caption fits a condition, else another or none. The condition draws nothing.

    Both `tags` and `sources` must hold where both are given.
    """

    kind: Literal["when"] = "when"
    tags: PatternList | None = None
    """Holds when a tag that is still in the caption matches one of these patterns."""
    sources: tuple[Source, ...] | None = None
    """Holds when the source chosen so far is one of these."""
    then: AnyPolicy
    """The policy applied where the condition holds."""
    otherwise: AnyPolicy | None = None
    """The policy applied elsewhere; left out means the caption stays as it is."""

    @model_validator(mode="after")
    def _has_condition(self) -> When:
        if self.tags is None and self.sources is None:
            raise ValueError("no condition; give `tags`, `sources` or both")
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
        if self.tags is None:
            return True
        match = compile_patterns(self.tags).match
        return any(match(tag.name) for tag in caption.tags)

    def claims(self) -> frozenset[Claim]:
        """What both ways claim; idempotence goes, since the first time can change the condition."""
        ways = (self.then,) if self.otherwise is None else (self.then, self.otherwise)
        return _shared(ways) - {"idempotent", "off at zero"}


def run(steps: tuple[Policy, ...], caption: Caption, draws: Draws) -> Caption:
    """The caption after all steps, each at its own address under `draws`."""
    for segment, step in zip(segments(steps), steps, strict=True):
        caption = take_step(step, segment, caption, draws)
    return caption


def _shared(policies: tuple[Policy, ...]) -> frozenset[Claim]:
    every: frozenset[Claim] = frozenset({"subset", "permutation", "idempotent", "spares important"})
    return every.intersection(*(policy.claims() for policy in policies)) if policies else every
