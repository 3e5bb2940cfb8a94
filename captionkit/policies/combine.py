"""Combinators: policies made of policies."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from captionkit.curves import Amount, Rate, can_all_be_zero, value_at
from captionkit.draws import Draws
from captionkit.kinds import AnyPolicy
from captionkit.policy import Claim, Policy
from captionkit.record import Caption
from captionkit.steps import Steps, run, segments, take_step


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
        return shared_claims(self.steps) - {"idempotent"}


class OneOf(Policy):
    """Exactly one of several policies, drawn by weight."""

    kind: Literal["one_of"] = "one_of"
    choices: Annotated[Steps, Field(min_length=1)]
    """The policies to draw from."""
    weights: tuple[Amount, ...] | None = None
    """How often each is drawn, in any unit; left out means equally often."""

    @model_validator(mode="after")
    def _weights_fit(self) -> OneOf:
        if self.weights is not None and len(self.weights) != len(self.choices):
            raise ValueError(
                f"{len(self.weights)} weights for {len(self.choices)} choices; give one for each"
            )
        if self.weights is not None and can_all_be_zero(self.weights):
            raise ValueError("all weights are 0, at least at some time; one must be above at any")
        return self

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption after the choice that was drawn."""
        addressed = list(zip(segments(self.choices), self.choices, strict=True))
        weights = None if self.weights is None else [value_at(weight, draws) for weight in self.weights]
        segment, chosen = draws.choice(addressed, weights)
        if draws.trace is not None:
            draws.note(f"drew {segment}")
        return take_step(chosen, segment, caption, draws)

    def claims(self) -> frozenset[Claim]:
        """What all choices claim, but not idempotence: the second draw may be another."""
        return shared_claims(self.choices) - {"idempotent"}


class Maybe(Policy):
    """One policy with probability `p`, else another or none."""

    kind: Literal["maybe"] = "maybe"
    p: Rate
    """How often `then` is applied."""
    then: AnyPolicy
    """The policy applied with probability `p`."""
    otherwise: AnyPolicy | None = None
    """The policy applied the rest of the time; left out means the caption stays as it is."""

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption after the policy that was drawn."""
        if draws.chance(value_at(self.p, draws)):
            return take_step(self.then, "then", caption, draws)
        return caption if self.otherwise is None else take_step(self.otherwise, "otherwise", caption, draws)

    def claims(self) -> frozenset[Claim]:
        """What both ways claim, but not idempotence: the second draw may be the other."""
        ways = (self.then,) if self.otherwise is None else (self.then, self.otherwise)
        off: frozenset[Claim] = frozenset({"off at zero"}) if self.otherwise is None else frozenset()
        return (shared_claims(ways) - {"idempotent", "off at zero"}) | off


def shared_claims(policies: tuple[Policy, ...]) -> frozenset[Claim]:
    """The laws that all of some policies keep, so far as one after another keeps them too."""
    every: frozenset[Claim] = frozenset({"subset", "permutation", "idempotent", "spares important"})
    return every.intersection(*(policy.claims() for policy in policies)) if policies else every
