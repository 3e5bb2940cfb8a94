"""Which tags a picture gets: a pure function of its scores, its record, the thresholds and a person's word.

- a tag is said when its score reaches its threshold;
- of exclusive tags only the likeliest may be said, and none when the record already has one of them;
- what stands in the record under any other source is not added again, whatever its spelling;
- what a person called wrong is never added, nor what implies it;
- with a tag come the tags that it implies, as on the boards, unless ``implied`` is "left out".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from captionkit import ImplicationGraph, Record, Tag
from captionkit.record import fold
from trainkit.tagging.corrections import Corrections
from trainkit.tagging.label import Label

PEOPLE = frozenset({None, "human"})
"""Sources of tags that a person gave."""

Implied = Literal["written", "left out"]

NEVER = np.float32(np.inf)
"""The threshold of a tag that is not said."""


class Rules:
    """What holds for all pictures of a run, looked up once."""

    def __init__(
        self,
        source: str,
        labels: tuple[Label, ...],
        thresholds: NDArray[np.float32],
        *,
        implications: ImplicationGraph | None = None,
        implied: Implied = "written",
    ) -> None:
        """``labels`` as they are to be written; ``thresholds`` [L], `NEVER` for those that are not."""
        assert len(labels) == len(thresholds)
        self.source, self.labels, self.thresholds, self.implied = source, labels, thresholds, implied
        self.folded = tuple(fold(label.name) for label in labels)
        self.by_name: dict[str, int] = {}
        for at, name in enumerate(self.folded):
            self.by_name.setdefault(name, at)
        graph = implications or ImplicationGraph({})
        self.implies: dict[int, tuple[int, ...]] = {}
        """What a label implies, of the labels."""
        self.implied_names: dict[int, frozenset[str]] = {}
        """The same by name, of all tags."""
        for at, name in enumerate(self.folded):
            if names := graph.implied_by(name):
                self.implied_names[at] = names
                self.implies[at] = tuple(sorted(self.by_name[n] for n in names if n in self.by_name))
        members: dict[str, list[int]] = {}
        for at, label in enumerate(labels):
            if label.group is not None:
                members.setdefault(label.group, []).append(at)
        self.groups = {group: np.array(some) for group, some in members.items()}
        self.graph = graph

    def knows(self, tag: str) -> bool:
        """Whether a person's word about a tag can change what is written."""
        name = fold(tag)
        return name in self.by_name or any(name in names for names in self.implied_names.values())


@dataclass(frozen=True, slots=True)
class Decision:
    """What was made of one picture; names are as the tagger's labels are written."""

    tags: tuple[Tag, ...]
    """To be added, the likeliest first."""
    there: tuple[str, ...] = ()
    """Said, and in the record already."""
    contradicted: tuple[str, ...] = ()
    """Said, but a person says otherwise."""
    taken: tuple[str, ...] = ()
    """Said, but another tagger has said another of the group."""


def decide(
    scores: NDArray[np.float32], record: Record, rules: Rules, corrections: Corrections | None = None
) -> Decision:
    """What to do with the scores, [L], of a picture."""
    said = corrections.of(record.id) if corrections is not None else ()
    wrong = {fold(correction.tag) for correction in said if not correction.right}
    people = {fold(correction.tag) for correction in said if correction.right}
    others: set[str] = set()
    for tag in record.tags:
        if tag.source != rules.source:
            (people if tag.source in PEOPLE else others).add(fold(tag.name))
    people -= wrong  # A correction outweighs what the person said before it.
    others -= wrong | people
    picture = _Picture(scores, rules, wrong, people, others)
    for at in np.flatnonzero(scores >= rules.thresholds).tolist():
        picture.say(at)
    return picture.decision()


class _Picture:
    """One picture while it is decided."""

    def __init__(
        self,
        scores: NDArray[np.float32],
        rules: Rules,
        wrong: set[str],
        people: set[str],
        others: set[str],
    ) -> None:
        self._scores, self._rules = scores, rules
        self._wrong, self._people, self._others = wrong, people, others
        self._added: dict[int, float] = {}
        self._there: list[int] = []
        self._contradicted: list[int] = []
        self._taken: list[int] = []
        self._best: dict[str, int | None] = {}

    def say(self, at: int) -> None:
        """Take a label whose score reaches its threshold."""
        name = self._rules.folded[at]
        if self._is_wrong(at):
            self._contradicted.append(at)
        elif name in self._people or name in self._others:
            if self._is_favourite(at):
                self._there.append(at)
        elif self._fits_group(at):
            score = float(self._scores[at])
            self._add(at, score)
            for implied in self._rules.implies.get(at, ()) if self._rules.implied == "written" else ():
                if self._may_follow(implied):
                    # Its own score counts from its own threshold on: below that it need not be known.
                    self._add(implied, score)
        else:
            self._sort_out(at)

    def decision(self) -> Decision:
        """All that was said."""
        rules = self._rules
        if rules.implied == "left out" and self._added:
            witnesses = [rules.folded[at] for at in self._added] + [*self._people, *self._others]
            implied = rules.graph.implied_names(witnesses)
            self._added = {at: s for at, s in self._added.items() if rules.folded[at] not in implied}
        once: dict[str, tuple[int, float]] = {}
        for at, score in sorted(self._added.items(), key=lambda item: (-item[1], item[0])):
            once.setdefault(rules.folded[at], (at, score))
        tags = tuple(
            Tag(rules.labels[at].name, rules.labels[at].category, rules.source, score)
            for at, score in once.values()
        )
        return Decision(
            tags, self._names(self._there), self._names(self._contradicted), self._names(self._taken)
        )

    def _names(self, some: Iterable[int]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self._rules.labels[at].name for at in some))

    def _add(self, at: int, score: float) -> None:
        self._added[at] = max(score, self._added.get(at, 0.0))

    def _is_wrong(self, at: int) -> bool:
        if not self._wrong:
            return False
        names = self._rules.implied_names.get(at)
        return self._rules.folded[at] in self._wrong or (
            names is not None and not self._wrong.isdisjoint(names)
        )

    def _may_follow(self, at: int) -> bool:
        """Whether an implied label may be written with the one that implies it."""
        name = self._rules.folded[at]
        wanted = self._rules.thresholds[at] < NEVER
        known = name in self._people or name in self._others
        return bool(wanted) and not known and not self._is_wrong(at) and self._fits_group(at)

    def _fits_group(self, at: int) -> bool:
        """Whether a label stands by itself, or is the one of its group."""
        group = self._rules.labels[at].group
        if group is None:
            return True
        if group not in self._best:
            self._best[group] = self._likeliest(self._rules.groups[group])
        return self._best[group] == at

    def _likeliest(self, members: NDArray[np.intp]) -> int | None:
        """The likeliest of a group, whatever its threshold; None when the record has one of them.

        Not the likeliest of those that reach their thresholds: when the network thinks it is night, a low
        threshold of "dusk" must not make it dusk.
        """
        names = [self._rules.folded[at] for at in members.tolist()]
        if not self._people.isdisjoint(names) or not self._others.isdisjoint(names):
            return None
        left = [at for at in members.tolist() if not self._is_wrong(at)]
        return max(left, key=lambda at: (float(self._scores[at]), -at), default=None)

    def _sort_out(self, at: int) -> None:
        """Keep in mind who contradicts a label of a group that the record has another of."""
        if not self._is_favourite(at):
            return
        group = self._rules.labels[at].group
        assert group is not None
        names = [self._rules.folded[n] for n in self._rules.groups[group].tolist()]
        if not self._people.isdisjoint(names):
            self._contradicted.append(at)
        elif not self._others.isdisjoint(names):
            self._taken.append(at)

    def _is_favourite(self, at: int) -> bool:
        """Whether the tagger thinks that of a label's group it is this one, whatever the record says."""
        group = self._rules.labels[at].group
        if group is None:
            return True
        members = self._rules.groups[group].tolist()
        return bool(max(members, key=lambda n: (float(self._scores[n]), -n)) == at)
