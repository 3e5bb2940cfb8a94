"""What a data set makes of the implications: what it never shows alone, and what it lacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from captionkit.implications.graph import ImplicationGraph
from captionkit.record import Record, fold


@dataclass(frozen=True, slots=True)
class ImpliedTag:
    """How often a tag that others imply is shown, and how often by itself."""

    tag: str
    num_records: int
    """Records that have the tag."""
    num_alone: int
    """Records that have the tag and none that implies it."""


@dataclass(frozen=True, slots=True)
class Violation:
    """An implication that the data does not keep."""

    tag: str
    implied: str
    num_records: int
    """Records that have the tag."""
    num_missing: int
    """Records that have the tag without the one it directly implies."""
    example: str
    """The id of the first of them."""


@dataclass(frozen=True, slots=True)
class Audit:
    """A data set held against a graph."""

    num_records: int
    num_tags: int
    """Tags of all records, each counted once per record."""
    num_implied: int
    """Those of them that another tag of their record implies."""
    num_missing: int
    """Tags that a record's tags imply, by way of others too, and that the record lacks."""
    num_incomplete: int
    """Records that lack one."""
    implied: tuple[ImpliedTag, ...]
    """Every implied tag that the data has, the most frequent first."""
    violations: tuple[Violation, ...]
    """The most frequent first."""

    @property
    def never_alone(self) -> tuple[ImpliedTag, ...]:
        """The implied tags that stand beside one that implies them in every record."""
        return tuple(tag for tag in self.implied if tag.num_alone == 0)


def audit(graph: ImplicationGraph, records: Iterable[Record]) -> Audit:
    """Hold records against a graph, one at a time; what is kept in memory does not grow with their number."""
    direct = graph.edges()
    consequents = {other for others in direct.values() for other in others}
    having, alone, missing = Counter[str](), Counter[str](), Counter[tuple[str, str]]()
    examples: dict[tuple[str, str], str] = {}
    num_records = num_tags = num_implied = num_missing = num_incomplete = 0
    for record in records:
        names = {fold(tag.name) for tag in record.tags}
        implied = graph.implied_among(record.tags)
        num_records += 1
        num_tags += len(names)
        num_implied += len(names & implied)
        num_missing += len(implied - names)
        num_incomplete += not implied <= names
        having.update(name for name in names if name in direct or name in consequents)
        alone.update((names & consequents) - implied)
        for name in names & direct.keys():
            for other in direct[name]:
                if other not in names:
                    missing[name, other] += 1
                    examples.setdefault((name, other), record.id)
    shown = [ImpliedTag(tag, having[tag], alone[tag]) for tag in consequents if having[tag]]
    broken = [
        Violation(one, other, having[one], count, examples[one, other])
        for (one, other), count in missing.items()
    ]
    return Audit(
        num_records,
        num_tags,
        num_implied,
        num_missing,
        num_incomplete,
        tuple(sorted(shown, key=lambda shown: (-shown.num_records, shown.tag))),
        tuple(sorted(broken, key=lambda broken: (-broken.num_missing, broken.tag, broken.implied))),
    )
