"""Other policies at other times of the run."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from captionkit.draws import Draws
from captionkit.kinds import AnyPolicy
from captionkit.policies.combine import shared_claims
from captionkit.policy import Claim, Config, Policy
from captionkit.record import Caption
from captionkit.steps import require_distinct_names, segments, take_step


class Phase(Config):
    """One policy, from some place of the run on."""

    start: Annotated[int, Field(strict=True, ge=0)]
    """The first epoch, or the number of samples seen, at which it is applied."""
    then: AnyPolicy
    """The policy."""


class Schedule(Policy):
    """One policy after the other over the run; before the first phase the caption stays as it is.

    A rate that changes needs no schedule: write a curve in its place.
    """

    kind: Literal["schedule"] = "schedule"
    phases: tuple[Phase, ...]
    """The phases; their starts ascend."""
    over: Literal["epoch", "samples"] = "epoch"
    """What the starts count."""

    @model_validator(mode="after")
    def _ascending(self) -> Schedule:
        if not self.phases:
            raise ValueError("no phase; give at least one")
        for one, other in pairwise(self.phases):
            if other.start <= one.start:
                raise ValueError(f"the starts must ascend: {other.start} comes after {one.start}")
        require_distinct_names(self._policies())
        return self

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption after the policy of the present phase."""
        place = draws.epoch if self.over == "epoch" else draws.samples
        begun = sum(phase.start <= place for phase in self.phases)
        if draws.trace is not None:
            draws.note(
                f"{self.over} {place}: " + (f"phase {begun} of {len(self.phases)}" if begun else "none yet")
            )
        if not begun:
            return caption
        policies = self._policies()
        return take_step(policies[begun - 1], segments(policies)[begun - 1], caption, draws)

    def _policies(self) -> tuple[Policy, ...]:
        return tuple(phase.then for phase in self.phases)

    def claims(self) -> frozenset[Claim]:
        """What all phases claim."""
        return shared_claims(self._policies()) - {"idempotent"}
