"""What became of a tagger's tags over all pictures."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trainkit.additions.addition import Addition
from trainkit.tagging.decide import Decision

_KINDS = ("there", "contradicted", "taken")


@dataclass(slots=True)
class Counts:
    """Counted over pictures, by the tag as it is written."""

    pictures: int = 0
    without: int = 0
    """Pictures of which the tagger says nothing: none of its tags reaches its threshold."""
    bare: int = 0
    """Pictures to which nothing was added."""
    added: Counter[str] = field(default_factory=Counter)
    scores: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Sums of the scores of what was added."""
    there: Counter[str] = field(default_factory=Counter)
    """Said, and in the record already."""
    contradicted: Counter[str] = field(default_factory=Counter)
    """Said, but a person says otherwise."""
    taken: Counter[str] = field(default_factory=Counter)
    """Said, but another tagger says another of the group."""

    def add(self, addition: Addition) -> None:
        """Count one picture, as its addition tells."""
        self.pictures += 1
        for tag in addition.tags:
            self.added[tag.name] += 1
            self.scores[tag.name] += tag.score or 0.0
        self.bare += not addition.tags
        said = False
        for kind in _KINDS:
            names = addition.detail.get(kind, ())
            said = said or bool(names)
            getattr(self, kind).update(names)
        self.without += not addition.tags and not said

    def rows(self) -> list[TagCount]:
        """A line for each tag that was said, the most often added first."""
        names = {*self.added, *self.there, *self.contradicted, *self.taken}
        rows = [
            TagCount(
                name,
                self.added[name],
                self.there[name],
                self.contradicted[name],
                self.taken[name],
                self.scores[name] / self.added[name] if self.added[name] else None,
            )
            for name in names
        ]
        return sorted(rows, key=lambda row: (-row.added, -row.there, row.name))


@dataclass(frozen=True, slots=True)
class TagCount:
    """One tag over all pictures."""

    name: str
    added: int
    there: int
    contradicted: int
    taken: int
    mean_score: float | None
    """Of the pictures to which it was added."""


def counted(additions: Iterable[Addition]) -> Counts:
    """The counts of additions."""
    counts = Counts()
    for addition in additions:
        counts.add(addition)
    return counts


def addition_of(id: str, digest: str, decision: Decision) -> Addition:
    """What is kept of one picture: the tags, and for the report what was said and not added."""
    detail: Mapping[str, Any] = {kind: list(names) for kind in _KINDS if (names := getattr(decision, kind))}
    return Addition(id, digest, decision.tags, detail=detail)
