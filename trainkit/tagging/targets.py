"""What is known about every picture's labels, and how sure that is.

A tag that is there is there; a tag that is not may only have been forgotten. What a person said is certain.
Implications close both: what is there implies what it implies, and a tag that is certainly not there takes
with it all that imply it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from captionkit import ImplicationGraph, Record, Tag
from captionkit.record import fold
from trainkit.tagging.labels import fact_tag
from trainkit.tagging.outputs import Outputs


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one picture, as places of labels; ``present`` holds all that are there."""

    present: tuple[int, ...] = ()
    certain: tuple[int, ...] = ()
    """Labels, there or not, of which a person said so."""
    silent: bool = False
    """Whether the record has no tags but a person's answers, so that a tag which it lacks is unknown rather
    than absent."""


Said = Callable[[str], Iterable[tuple[str, bool]]]
"""By a record's id, the tags of which a person said whether they are there."""


class Closing:
    """Makes what is known of a record."""

    def __init__(
        self,
        outputs: Outputs,
        graph: ImplicationGraph,
        facts: dict[str, str],
        *,
        answers: Collection[str] = (),
    ) -> None:
        """``facts`` are the groups that are made of facts, each with its fact. Tags of the sources
        ``answers`` were asked for one by one: beside them no other is absent."""
        self._answers = frozenset(answers)
        self._graph = graph
        self._facts = facts
        self._places = {
            fold(label.name): place for place, label in enumerate(outputs.labels) if label.group not in facts
        }
        self._categories = {
            key: outputs.labels[place].category
            for key, place in self._places.items()
            if outputs.labels[place].group is not None
        }
        self._values = {
            (group, label.name): place
            for group in facts
            for place, label in enumerate(outputs.labels)
            if label.group == group
        }
        self._named: dict[str, list[int]] = {}
        for place, label in enumerate(outputs.labels):
            self._named.setdefault(fold(label.name), []).append(place)
        self._implying: dict[str, list[int]] = {}
        for key, place in self._places.items():
            for other in graph.implied_by(key):
                self._implying.setdefault(other, []).append(place)

    def known(self, record: Record, said: Iterable[tuple[str, bool]] = ()) -> Known:
        """What is known of a picture by its record and by what a person said of it."""
        present = self._found(fold(tag.name) for tag in record.tags if self._is_meant(tag))
        for group, fact in self._facts.items():
            value = record.fact(fact)
            if value is not None and (place := self._values.get((group, fact_tag(value)))) is not None:
                present.add(place)
        words = [(fold(tag), right) for tag, right in said]
        if not words:
            return Known(tuple(sorted(present)), silent=self._is_silent(record))
        # Conclusions first, what was said itself last: it outweighs them.
        derived_no = {place for tag, right in words if not right for place in self._implying.get(tag, ())}
        derived_yes = self._found(tag for tag, right in words if right)
        yes = {place for tag, right in words if right for place in self._named.get(tag, ())}
        no = {place for tag, right in words if not right for place in self._named.get(tag, ())}
        present = (((present - derived_no) | derived_yes) - no) | yes
        certain = derived_no | derived_yes | yes | no
        return Known(tuple(sorted(present)), tuple(sorted(certain)), silent=self._is_silent(record))

    def tells(self, tag: str) -> bool:
        """Whether a person's word about a tag can say anything of a label."""
        key = fold(tag)
        return key in self._named or key in self._implying or bool(self._found([key]))

    def _is_silent(self, record: Record) -> bool:
        return all(tag.source in self._answers for tag in record.tags)

    def _is_meant(self, tag: Tag) -> bool:
        """Whether a tag may be one of the labels: in a group, a name is not enough where both have a
        category. A picture with the keyword "heart" is none of the group of hearts."""
        if tag.category is None:
            return True
        wanted = self._categories.get(fold(tag.name))
        return wanted is None or wanted == tag.category

    def _found(self, keys: Iterable[str]) -> set[int]:
        """The labels among tags and what they imply."""
        named = list(keys)
        closed = self._graph.implied_names(named).union(named)
        return {self._places[key] for key in closed if key in self._places}


@dataclass(frozen=True)
class Targets:
    """What is known of N pictures, of which each has few labels."""

    num_labels: int
    starts: NDArray[np.int64]
    """[N + 1]: where the labels of each picture begin."""
    present: NDArray[np.int32]
    certain: dict[int, tuple[int, ...]]
    """By picture, where a person said anything."""
    silent: NDArray[np.bool_]
    """[N]: whether the record has no tags but a person's answers."""

    @classmethod
    def of(cls, known: Sequence[Known], num_labels: int) -> Targets:
        """Put together what is known of each picture."""
        starts = np.zeros(len(known) + 1, dtype=np.int64)
        np.cumsum([len(one.present) for one in known], out=starts[1:])
        present = np.array([place for one in known for place in one.present], dtype=np.int32)
        certain = {i: one.certain for i, one in enumerate(known) if one.certain}
        return cls(num_labels, starts, present, certain, np.array([one.silent for one in known], np.bool_))

    def counts(self, pictures: NDArray[np.int64]) -> NDArray[np.int64]:
        """[L]: how many of some pictures have each label."""
        places = [self.of_picture(int(picture)) for picture in pictures]
        return np.bincount(
            np.concatenate(places) if places else np.zeros(0, np.int32), minlength=self.num_labels
        ).astype(np.int64)

    def judged(self, pictures: NDArray[np.int64]) -> NDArray[np.int64]:
        """[L]: of how many of some pictures it is known whether they have each label."""
        told = np.full(self.num_labels, int((~self.silent[pictures]).sum()), np.int64)
        for picture in pictures[self.silent[pictures]].tolist():
            told[list({*self.of_picture(picture).tolist(), *self.certain.get(picture, ())})] += 1
        return told

    def several(self, places: NDArray[np.int64]) -> int:
        """How many pictures have two or more of some labels."""
        among = np.zeros(self.num_labels, np.int64)
        among[places] = 1
        so_far = np.concatenate([[0], np.cumsum(among[self.present])])
        return int(((so_far[self.starts[1:]] - so_far[self.starts[:-1]]) > 1).sum())

    def of_picture(self, picture: int) -> NDArray[np.int32]:
        """The labels of one picture."""
        return self.present[self.starts[picture] : self.starts[picture + 1]]

    def dense(self, pictures: Sequence[int]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """[B, L] twice: which labels are there, and of which a person said so, or not."""
        present = np.zeros((len(pictures), self.num_labels), dtype=np.bool_)
        certain = np.zeros_like(present)
        for row, picture in enumerate(pictures):
            present[row, self.of_picture(picture)] = True
            certain[row, list(self.certain.get(picture, ()))] = True
        return present, certain
