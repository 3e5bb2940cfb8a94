"""Policies one inside the other: at which address each draws, and what an explanation says about it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from captionkit.draws import Draws
from captionkit.policy import Policy
from captionkit.record import Caption, Step


def take_step(policy: Policy, segment: str, caption: Caption, draws: Draws) -> Caption:
    """Apply a policy at the address `segment` under `draws`; every combinator runs its members through
    here."""
    inner = draws.child(segment)
    after = policy.apply(caption, inner)
    if draws.trace is not None:
        _trace(draws.trace, policy, inner, caption, after)
    return after


def segments(policies: tuple[Policy, ...]) -> tuple[str, ...]:
    """The address of each member: its name, or its kind and how many unnamed ones of that kind came before.

    Positions play no part, so that a step put in between leaves the others' draws alone.
    """
    return _segments(tuple((policy.name, policy.kind) for policy in policies))


def require_distinct_names(policies: tuple[Policy, ...]) -> tuple[Policy, ...]:
    """The same policies. `ValueError` when two have one name, since they would share their draws."""
    names = [policy.name for policy in policies if policy.name is not None]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two steps are named {name!r}; they would share their draws, so rename one")
    return policies


@lru_cache(maxsize=1024)
def _segments(labels: tuple[tuple[str | None, str], ...]) -> tuple[str, ...]:
    def each() -> Iterator[str]:
        seen: dict[str, int] = {}
        for name, kind in labels:
            if name is not None:
                yield name
            else:
                yield f"{kind}#{seen.get(kind, 0)}"
                seen[kind] = seen.get(kind, 0) + 1

    return tuple(each())


def _trace(trace: list[Step], policy: Policy, draws: Draws, before: Caption, after: Caption) -> None:
    """Add the step; a combinator, whose members have added theirs already, only when it has something to
    say."""
    inside = draws.address + "/"
    first = len(trace)
    while first > 0 and trace[first - 1].address.startswith(inside):
        first -= 1
    reason = "; ".join(draws.notes)
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
    if before.source != after.source:
        parts.append(f"source: {after.source}")
    if marked := sorted(after.important - before.important):
        parts.append(f"important: {', '.join(marked)}")
    return "; ".join(parts) or "no change"
