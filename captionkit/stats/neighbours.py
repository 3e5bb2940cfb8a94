"""The tag that comes most often with each tag, over the records that are looked at closely."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence, Set


def commonest(
    records: Sequence[Set[str]], implied_by: Callable[[str], frozenset[str]]
) -> dict[str, tuple[str, int]]:
    """For each tag the tag that is on most of its records, and on how many; what it implies is passed over.

    `records` are the folded names of each. Of two that come equally often, it is the more frequent one, then
    the first by name. A tag that no other comes with is left out. One tag is counted at a time, so that the
    pairs of tags are never in memory together.

    >>> commonest([{"fox", "snow"}, {"fox", "snow"}, {"fox"}, {"cat"}], lambda name: frozenset())
    {'fox': ('snow', 2), 'snow': ('fox', 2)}
    """
    places: dict[str, list[int]] = {}
    for at, names in enumerate(records):
        for name in names:
            places.setdefault(name, []).append(at)
    found: dict[str, tuple[str, int]] = {}
    for name in sorted(places):
        beside: Counter[str] = Counter()
        for at in places[name]:
            beside.update(records[at])
        for other in (name, *implied_by(name)):
            beside.pop(other, None)
        if beside:
            most = max(beside.values())
            among = [other for other, count in beside.items() if count == most]
            found[name] = min(among, key=lambda other: (-len(places[other]), other)), most
    return found
