"""From a source to a graph, with an account of what was left out and why."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from captionkit.errors import ImplicationsError
from captionkit.implications.aliases import read_aliases
from captionkit.implications.exports import PAIR_COLUMNS, read_pairs
from captionkit.implications.graph import ImplicationGraph
from captionkit.implications.source import Edges, ImplicationSource
from captionkit.implications.tag_table import TagTable, read_tag_table
from captionkit.patterns import compile_patterns
from captionkit.record import fold

Edge = tuple[str, str]
Judge = Callable[[Edge], str | None]
"""Why an edge is left out, or None."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Implications left out for one reason, in the order of the file."""

    reason: str
    edges: tuple[Edge, ...]


@dataclass(frozen=True, slots=True)
class Built:
    """A graph, and what became of the rest of its source."""

    graph: ImplicationGraph
    num_active: int
    """Active rows of the file."""
    left_aside: Mapping[str, int]
    """Rows of another status."""
    num_renamed: int
    """Tags of the implications that were aliases of another."""
    left_out: tuple[LeftOut, ...]
    num_added: int
    """Added implications that were not there."""

    def broken(self) -> list[Edge]:
        """What held between two tags that stay by way of implications that were left out."""
        whole: dict[str, set[str]] = {name: set(others) for name, others in self.graph.edges().items()}
        for group in self.left_out:
            for one, other in group.edges:
                whole.setdefault(one, set()).add(other)
        tags = self.graph.tags()
        return [
            (name, other)
            for name in sorted(tags)
            for other in sorted(_reached(name, whole) & tags - self.graph.implied_by(name) - {name})
        ]


def build_implications(source: ImplicationSource) -> Built:
    """The graph of a source.

    Raises `ImplicationsError` for files that cannot be read, for something to remove that is not there, for
    a cycle, and when nothing is left.
    """
    pairs = read_pairs(source.file)
    named = [(fold(one), fold(other)) for one, other in pairs.active]
    aliases = _aliases(source.aliases)
    edges = [(aliases.get(one, one), aliases.get(other, other)) for one, other in named] if aliases else named
    kept, left_out = _sort_out(edges, list(_judges(source, edges)))
    added = {edge for edge in _pairs_of(source.add) if edge not in kept}
    if not kept and not added:
        reasons = "; ".join(f"{len(edges):,} {reason}" for reason, edges in left_out.items())
        raise ImplicationsError(f"nothing is left of {len(edges):,}: {reasons}", where=str(source.file))
    return Built(
        ImplicationGraph(_by_antecedent([*kept, *added]), origin=source),
        num_active=len(pairs.active),
        left_aside=pairs.left_aside,
        num_renamed=len({name for edge in named for name in edge if name in aliases}),
        left_out=tuple(LeftOut(reason, tuple(group)) for reason, group in left_out.items()),
        num_added=len(added),
    )


def write_implications(graph: ImplicationGraph, path: Path) -> None:
    """The graph as a CSV that `read_implications` takes, names with `_` as boorus spell them.

    Raises `ImplicationsError` when it cannot be written.
    """
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(PAIR_COLUMNS)
            for one, others in graph.edges().items():
                rows.writerows((one.replace(" ", "_"), other.replace(" ", "_"), "active") for other in others)
    except (OSError, UnicodeEncodeError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise ImplicationsError(f"cannot be written: {why}", where=str(path)) from error


def _aliases(path: Path | None) -> dict[str, str]:
    """Old name to new, both folded, without names that are only spelled anew."""
    if path is None:
        return {}
    return {old: key for old, new in read_aliases(path).items() if (key := fold(new)) != old}


def _sort_out(
    edges: Sequence[Edge], judges: Sequence[Judge]
) -> tuple[dict[Edge, None], dict[str, list[Edge]]]:
    """The edges that stay, in order, and those that do not by the first reason that speaks against them."""
    kept: dict[Edge, None] = {}
    left_out: dict[str, list[Edge]] = {}
    for edge in edges:
        reason = "named before" if edge in kept else None
        for judge in judges:
            reason = reason or judge(edge)
        if reason is None:
            kept[edge] = None
        else:
            left_out.setdefault(reason, []).append(edge)
    return kept, left_out


def _judges(source: ImplicationSource, edges: Sequence[Edge]) -> Iterator[Judge]:
    """The source's filters, in the order in which they are asked."""
    if source.aliases is not None:
        yield lambda edge: "from a tag to itself, as aliases resolve" if edge[0] == edge[1] else None
    if source.leave_out:
        matches = compile_patterns(source.leave_out).match
        yield lambda edge: "of a tag that takes no part (leave_out)" if any(map(matches, edge)) else None
    if source.tags is not None:
        table = read_tag_table(source.tags, {name for edge in edges for name in edge})
        yield _by_table(source, table)
    if source.remove:
        removed = frozenset(_removed(source, frozenset(edges)))
        yield lambda edge: "removed by name (remove)" if edge in removed else None


def _by_table(source: ImplicationSource, table: TagTable) -> Judge:
    """By posts and category of both ends; a tag that the table lacks has neither."""
    known, least = table.tags, source.min_posts
    categories = table.category_numbers(source.categories, source.site) if source.categories else None
    said = " or ".join(source.categories)

    def judge(edge: Edge) -> str | None:
        one, other = known.get(edge[0]), known.get(edge[1])
        if least and min(one.posts if one else 0, other.posts if other else 0) < least:
            return f"with fewer than {least:,} posts at an end (min_posts)"
        if categories is None:
            return None
        if one is None or other is None:
            return "of a tag that the list of tags lacks"
        if one.category not in categories or other.category not in categories:
            return f"not from {said} to {said} (categories)"
        return None

    return judge


def _removed(source: ImplicationSource, edges: frozenset[Edge]) -> Iterator[Edge]:
    for one, other in _pairs_of(source.remove):
        if (one, other) not in edges:
            implied = ", ".join(sorted(repr(b) for a, b in edges if a == one))
            raise ImplicationsError(
                f"{one!r} does not imply {other!r} directly, so that it cannot be removed; it implies: "
                f"{implied or 'nothing'}",
                where=str(source.file),
            )
        yield one, other


def _pairs_of(edges: Edges) -> list[Edge]:
    return [(fold(one), fold(other)) for one, others in edges.items() for other in others]


def _by_antecedent(edges: Iterable[Edge]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for one, other in edges:
        grouped.setdefault(one, []).append(other)
    return grouped


def _reached(start: str, edges: Mapping[str, Iterable[str]]) -> set[str]:
    """Everything that can be reached from a tag, along edges that may run in a cycle."""
    reached: set[str] = set()
    ahead = [start]
    while ahead:
        for other in edges.get(ahead.pop(), ()):
            if other not in reached:
                reached.add(other)
                ahead.append(other)
    return reached
