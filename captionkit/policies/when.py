"""Policies for some captions only, by what is known about them."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from captionkit.conditions import Condition, all_hold
from captionkit.draws import Draws
from captionkit.kinds import AnyPolicy
from captionkit.patterns import PatternList, compile_patterns
from captionkit.policies.combine import shared_claims
from captionkit.policy import Claim, Policy
from captionkit.record import Caption, Source
from captionkit.steps import take_step


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
        if self.facts and not all_hold(self.facts, caption.fact):
            return False
        return self.tags is None or bool(compile_patterns(self.tags).matching(caption.tags))

    def claims(self) -> frozenset[Claim]:
        """What both ways claim; idempotence goes, since the first time can change the condition."""
        ways = (self.then,) if self.otherwise is None else (self.then, self.otherwise)
        return shared_claims(ways) - {"idempotent"}
