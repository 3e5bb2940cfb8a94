"""The tags of one draw with what became of each, followed from step to step."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

from captionkit.fate import Cause, Fate, called, cause_of
from captionkit.record import Caption, Step, Tag


@dataclass(frozen=True, slots=True)
class MarkedTag:
    """One tag, and what became of it."""

    name: str
    """As it stands in the caption; for one that left, as it last stood there."""
    category: str | None
    fate: Fate = Fate.KEPT
    cause: Cause | None = None
    """Who dropped, added or renamed it; None for one that was kept."""
    was: str | None = None
    """The record's name of one that was renamed."""
    important: bool = False
    moved: bool = False
    """Whether it left the order of the record; of two that changed places, one has moved."""


class TagMarks:
    """The tags on their way through the steps. It changes while a draw is followed, and is then read once."""

    def __init__(self, tags: Iterable[Tag]) -> None:
        self._marks = [MarkedTag(tag.name, tag.category) for tag in tags]
        self._important: set[str] = set()

    def follow(self, step: Step) -> None:
        """Take note of what a step did to the tags. It may have seen a part of them only, as under
        `keep_fixed`."""
        self._important |= step.before.important | step.after.important
        old, new = step.before.tags, step.after.tags
        if old == new:
            return
        # What a step around this one did by itself stands in no step's before and after.
        above = called(step.address.rpartition("/")[0])
        for tag in old:
            if self._at(tag.name) is None:
                self._marks.append(MarkedTag(tag.name, tag.category, Fate.ADDED, Cause(above, "")))
        renames = _renames(old, new)
        taken = {tag.name for tag in new} - set(renames.values())
        for tag in old:
            if tag.name in renames:
                self._rename(tag.name, renames[tag.name], cause_of(step, tag.name))
            elif tag.name not in taken:
                self._drop(tag.name, cause_of(step, tag.name))
        for tag in new:
            if self._at(tag.name) is None:
                mark = MarkedTag(tag.name, tag.category, Fate.ADDED, cause_of(step, tag.name))
                self._marks.append(mark)

    def result(self, caption: Caption, last: str) -> tuple[MarkedTag, ...]:
        """The caption's tags in its order, and between them those that left, each where it stood in the
        record. What no step accounts for is put down to `last`."""
        self._important |= caption.important
        stay = {tag.name for tag in caption.tags}
        for mark in self._marks:
            if mark.fate is not Fate.DROPPED and mark.name not in stay:
                self._drop(mark.name, Cause(last, ""))
        origin: dict[str, int] = {}
        gone: dict[int, list[MarkedTag]] = {}
        alive: dict[str, MarkedTag] = {}
        for mark in self._marks:
            if mark.fate is Fate.DROPPED:
                gone.setdefault(len(origin), []).append(mark)
                continue
            alive[mark.name] = mark
            if mark.fate is not Fate.ADDED:
                origin[mark.name] = len(origin)
        places = [origin[tag.name] for tag in caption.tags if tag.name in origin]
        still = _longest_ascending(places)
        result, seen = list(gone.get(0, [])), 0
        for tag in caption.tags:
            mark = alive.get(tag.name) or MarkedTag(tag.name, tag.category, Fate.ADDED, Cause(last, ""))
            moved = tag.name in origin and origin[tag.name] not in still
            result.append(replace(mark, moved=moved))
            if tag.name in origin:
                seen += 1
                result += gone.get(seen, [])
        return tuple(replace(mark, important=self._is_important(mark)) for mark in result)

    def _is_important(self, mark: MarkedTag) -> bool:
        return mark.name in self._important or (mark.was is not None and mark.was in self._important)

    def _at(self, name: str) -> int | None:
        """Where the tag of this name is that has not left."""
        for at, mark in enumerate(self._marks):
            if mark.name == name and mark.fate is not Fate.DROPPED:
                return at
        return None

    def _drop(self, name: str, cause: Cause) -> None:
        at = self._at(name)
        if at is None:
            return
        if self._marks[at].fate is Fate.ADDED:
            del self._marks[at]  # It came and went: neither the record nor the text has it.
        else:
            self._marks[at] = replace(self._marks[at], fate=Fate.DROPPED, cause=cause)

    def _rename(self, old: str, new: str, cause: Cause) -> None:
        at = self._at(old)
        assert at is not None  # `follow` has seen to it.
        mark = self._marks[at]
        if mark.fate is Fate.ADDED:
            self._marks[at] = replace(mark, name=new)
        elif mark.was == new:
            self._marks[at] = MarkedTag(new, mark.category)
        else:
            was = mark.was or mark.name
            self._marks[at] = replace(mark, name=new, fate=Fate.RENAMED, cause=cause, was=was)


def _renames(old: tuple[Tag, ...], new: tuple[Tag, ...]) -> dict[str, str]:
    """Old name to new of the tags that stand in the place of another, where nothing else changed place."""
    names, after = [tag.name for tag in old], [tag.name for tag in new]
    gone, come = set(names) - set(after), set(after) - set(names)
    if not gone or not come:
        return {}
    found: dict[str, str] = {}
    for kind, a, b, c, d in SequenceMatcher(None, names, after, autojunk=False).get_opcodes():
        if kind == "replace" and b - a == d - c:
            pairs = zip(names[a:b], after[c:d], strict=True)
            found |= {one: other for one, other in pairs if one in gone and other in come}
    return found


def _longest_ascending(places: list[int]) -> set[int]:
    """The members of a longest run that ascends, other members between them left out."""
    tails: list[int] = []  # The least end of a run of each length.
    before: dict[int, int | None] = {}
    for place in places:
        at = bisect_left(tails, place)
        before[place] = tails[at - 1] if at else None
        tails[at : at + 1] = [place]
    run: set[int] = set()
    place_or_none = tails[-1] if tails else None
    while place_or_none is not None:
        run.add(place_or_none)
        place_or_none = before[place_or_none]
    return run
