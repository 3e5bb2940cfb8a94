"""Policies one inside the other: at which address each draws, and what an explanation says about it."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

from pydantic import AfterValidator

from captionkit.draws import Draws
from captionkit.kinds import AnyPolicy
from captionkit.policy import Policy
from captionkit.record import Caption, Step


def take_step(policy: Policy, segment: str, caption: Caption, draws: Draws) -> Caption:
    """Apply a policy at the address `segment` under `draws`; every combinator runs its members through
    here."""
    inner = draws.child(segment)
    after = policy.apply(caption, inner)
    if inner.trace is not None:
        _trace(inner.trace, policy, inner, caption, after)
    return after


def run(steps: tuple[Policy, ...], caption: Caption, draws: Draws) -> Caption:
    """The caption after all steps, each at its own address under `draws`."""
    for segment, step in zip(segments(steps), steps, strict=True):
        caption = take_step(step, segment, caption, draws)
    return caption


def segments(policies: tuple[Policy, ...]) -> tuple[str, ...]:
    """The address of each member: its name, or its kind and how many unnamed ones of that kind came before.

    Positions play no part, so that a step put in between leaves the others' draws alone.
    """
    known = _known_segments.get(id(policies))
    if known is None or known[0] is not policies:
        if len(_known_segments) >= 1024:
            _known_segments.clear()
        known = _known_segments[id(policies)] = policies, _segments(policies)
    return known[1]


# By the identity of the tuple, which is kept beside the answer, so that no other can take its place:
# comparing the policies themselves would cost more than the steps.
_known_segments: dict[int, tuple[tuple[Policy, ...], tuple[str, ...]]] = {}


def _segments(policies: tuple[Policy, ...]) -> tuple[str, ...]:
    seen: Counter[str] = Counter()
    segments: list[str] = []
    for policy in policies:
        segments.append(policy.name or f"{policy.kind}#{seen[policy.kind]}")
        seen[policy.kind] += policy.name is None
    return tuple(segments)


def require_distinct_names(policies: tuple[Policy, ...]) -> tuple[Policy, ...]:
    """The same policies. `ValueError` when two have one name, since they would share their draws."""
    names = [policy.name for policy in policies if policy.name is not None]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two steps are named {name!r}; they would share their draws, so rename one")
    return policies


Steps = Annotated[tuple[AnyPolicy, ...], AfterValidator(require_distinct_names)]
"""Policies in order; an explicit name may be there once."""


def _trace(trace: list[Step], policy: Policy, draws: Draws, before: Caption, after: Caption) -> None:
    """Add the step; a combinator, whose members have added theirs already, only when it has something to
    say."""
    inside = draws.address + "/"
    first = len(trace)
    while first > 0 and trace[first - 1].address.startswith(inside):
        first -= 1
    reason = "; ".join(draws.notes or ())
    if first < len(trace) and not reason:
        return
    # A combinator's decision stands before its members' steps, and changes nothing by itself.
    settled = before if first < len(trace) else after
    trace.insert(
        first, Step(draws.address, policy.kind, before, settled, reason or difference(before, after))
    )


def difference(before: Caption, after: Caption) -> str:
    """What changed between two captions, in words.

    >>> from captionkit.record import parse_tags
    >>> difference(Caption(parse_tags("fox, tree")), Caption(parse_tags("tree")))
    'left out: fox'
    """
    parts = []
    old, new = [tag.name for tag in before.tags], [tag.name for tag in after.tags]
    if gone := [name for name in old if name not in new]:
        parts.append(f"left out: {', '.join(gone)}")
    if come := [name for name in new if name not in old]:
        parts.append(f"new: {', '.join(come)}")
    if not gone and not come and old != new:
        parts.append("tags in another order")
    if before.prose != after.prose:
        parts.append("captions changed" if after.prose else "captions left out")
    if (before.before, before.after) != (after.before, after.after):
        parts.append(f"around it: {after.before!r} and {after.after!r}")
    if before.source != after.source:
        parts.append(f"source: {after.source}")
    if marked := sorted(after.important - before.important):
        parts.append(f"important: {', '.join(marked)}")
    return "; ".join(parts) or "no change"
