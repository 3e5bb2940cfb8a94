"""The implication graph: a red fox is a fox is a canine, so `red fox` implies `fox` and `canine`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import TypeAlias

from captionkit.errors import ImplicationsError
from captionkit.implications.source import ImplicationSource
from captionkit.record import Tag, fold, folded_names

Direct: TypeAlias = Mapping[str, frozenset[str]]
_NOTHING: frozenset[str] = frozenset()


class ImplicationGraph:
    """Which tags imply which, directly and by way of others. Frozen; compares by its edges.

    Spelling does not count: names are folded (`captionkit.record.fold`), so `big_circle` is `big circle`.

    >>> graph = ImplicationGraph({"big circle": ["circle"], "circle": ["shape"]})
    >>> sorted(graph.implied_by("Big_Circle"))
    ['circle', 'shape']

    Raises `ImplicationsError` for a tag that implies itself and for a cycle, naming it.
    """

    __slots__ = ("_closure", "_depths", "_edges", "origin")

    def __init__(
        self, edges: Mapping[str, Iterable[str]], *, origin: Path | ImplicationSource | None = None
    ) -> None:
        direct: dict[str, set[str]] = {}
        for name, implied in edges.items():
            if isinstance(implied, str) or not isinstance(implied, Iterable):
                hint = f"[{implied!r}]" if isinstance(implied, str) else None
                raise ImplicationsError(f"{name!r} must have a list of tags, got {implied!r}", hint=hint)
            key, others = _tag_name(name), {_tag_name(other) for other in implied}
            if others:  # A tag with an empty list is not part of the graph.
                direct.setdefault(key, set()).update(others)
        self.origin = origin
        """The file the graph was read from, or the source it was built from; None for one given as a
        mapping."""
        self._edges: Direct = {name: frozenset(others) for name, others in direct.items()}
        self._closure = _closure(self._edges, _place(origin))
        self._depths: dict[str, int] | None = None

    def implied_by(self, name: str) -> frozenset[str]:
        """All tags (folded) that this one implies, directly or not; never itself."""
        return self._closure.get(fold(name), _NOTHING)

    def implied_among(self, tags: Iterable[Tag]) -> frozenset[str]:
        """The folded names that at least one of the tags implies."""
        return self.implied_names(folded_names(tags))

    def implied_names(self, names: Iterable[str]) -> frozenset[str]:
        """The same for names that are folded already."""
        closure = self._closure
        return _NOTHING.union(*[closure[name] for name in names if name in closure])

    def depth(self, name: str) -> int:
        """How general a tag is: the number of implications in the longest chain that ends at it.

        0 for a tag that none implies. What a tag implies is always deeper than the tag.
        """
        if self._depths is None:
            self._depths = _depths(self._edges, self._closure)
        return self._depths.get(fold(name), 0)

    def tags(self) -> frozenset[str]:
        """The folded names of all tags that imply another or are implied."""
        return _NOTHING.union(self._edges, *self._edges.values())

    def edges(self) -> dict[str, list[str]]:
        """The direct implications, sorted: what the graph was made from."""
        return {name: sorted(self._edges[name]) for name in sorted(self._edges)}

    @property
    def num_edges(self) -> int:
        """Direct implications, each counted once."""
        return sum(map(len, self._edges.values()))

    @property
    def num_pairs(self) -> int:
        """Pairs of a tag and a tag it implies, directly or not."""
        return sum(map(len, self._closure.values()))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ImplicationGraph):
            return NotImplemented
        return self is other or self._edges == other._edges

    def __hash__(self) -> int:
        return hash((len(self._edges), self.num_edges))

    def __repr__(self) -> str:
        place = _place(self.origin)
        return f"<ImplicationGraph of {self.num_edges} edges{f' from {place}' if place else ''}>"


def _place(origin: Path | ImplicationSource | None) -> str | None:
    """The file to name in a message."""
    if isinstance(origin, ImplicationSource):
        return str(origin.file)
    return None if origin is None else str(origin)


def _tag_name(value: object) -> str:
    """The folded name. `ImplicationsError` for anything but text with a letter in it."""
    if not isinstance(value, str) or not (name := fold(value)):
        raise ImplicationsError(f"a tag's name must be text and not empty, got {value!r}")
    return name


def _closure(direct: Direct, where: str | None) -> dict[str, frozenset[str]]:
    """Everything each tag implies: known first for the most general tags, last for the most special."""
    above: dict[str, list[str]] = {}
    for name, others in direct.items():
        for other in others:
            above.setdefault(other, []).append(name)
    waits_for = {name: len(others) for name, others in direct.items()}
    gathered: dict[str, frozenset[str]] = {}
    ready = [name for name in above if name not in direct]
    for other in ready:  # Grows while we go through it.
        with_itself = gathered.get(other, _NOTHING) | {other}
        for name in above.get(other, ()):
            # Most tags imply one other directly: they share its set.
            gathered[name] = gathered[name] | with_itself if name in gathered else with_itself
            waits_for[name] -= 1
            if waits_for[name] == 0 and name in above:
                ready.append(name)
    if any(waits_for.values()):
        raise _cycle(direct, {name for name, number in waits_for.items() if number}, where)
    return gathered


def _cycle(direct: Direct, unknown: Set[str], where: str | None) -> ImplicationsError:
    """The error that names a cycle: who follows tags whose closure is unknown gets back to one of them."""
    steps: dict[str, None] = {}
    name = min(unknown)
    while name not in steps:
        steps[name] = None
        name = min(direct[name] & unknown)
    names = list(steps)[list(steps).index(name) :]
    if len(names) == 1:
        return ImplicationsError(f"{name!r} implies itself", where=where, hint="remove this row")
    cycle = " -> ".join(map(repr, [*names, name]))
    return ImplicationsError(f"implications run in a cycle: {cycle}", where=where, hint="remove one")


def _depths(direct: Direct, closure: Mapping[str, frozenset[str]]) -> dict[str, int]:
    """The longest chain that ends at each implied tag."""
    depths: dict[str, int] = {}
    # What a tag implies has a smaller closure than the tag, so every tag comes after all that imply it.
    for name in sorted(direct, key=lambda name: len(closure[name]), reverse=True):
        deeper = depths.get(name, 0) + 1
        for other in direct[name]:
            if depths.get(other, 0) < deeper:
                depths[other] = deeper
    return depths
