"""A second look at the captions of a run: cleaned and judged by the settings of today, held against the tags.

Nothing is asked of a model: the raw answers are kept in the manifest's folder of additions.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from captionkit import Record
from captionkit.prose.agreement import Denial, denied_tags
from trainkit.additions.addition import Addition
from trainkit.additions.finished import read_additions
from trainkit.additions.rows import NO_ROW, RowIndex
from trainkit.captioning.agreement import AgreementConfig
from trainkit.captioning.judged import Judge, state_of
from trainkit.errors import PictureError
from trainkit.keys import key_of
from trainkit.manifest_pictures import ManifestPictures

_AT_ONCE = 2048
_OPENING = 4  # Words.
_MOST_OPENINGS = 1 << 16


@dataclass(frozen=True, slots=True)
class Denying:
    """A caption that denies tags of its picture."""

    addition: Addition
    row: int
    denials: tuple[Denial, ...]


@dataclass(slots=True)
class Quality:
    """What there is to know of the captions of a run. It grows caption by caption."""

    shown: int
    """So many captions of each sort are kept to be shown."""
    captioned: int = 0
    refused: int = 0
    failed: int = 0
    changed: int = 0
    """Those that the settings of today clean or judge differently from what stands in the manifest."""
    mended: int = 0
    """Captions of which cleaning takes something away."""
    denying: int = 0
    compared: int = 0
    """Captions whose picture has tags."""
    faults: Counter[str] = field(default_factory=Counter)
    denied: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By (how, tag): captions."""
    rules: Counter[str] = field(default_factory=Counter)
    """How many of the captions that are shown each rule changes."""
    openings: Counter[str] = field(default_factory=Counter)
    refusals: dict[str, list[Addition]] = field(default_factory=dict)
    """By fault, the first ones."""
    differing: list[tuple[Addition, Addition]] = field(default_factory=list)
    """Captions in the manifest and what they are by the settings of today, the first ones that differ."""
    cleaned: list[Addition] = field(default_factory=list)
    """Captions that cleaning changes, some of the whole run."""
    denials: list[Denying] = field(default_factory=list)
    """Captions that deny a tag, the first ones."""
    longest: list[tuple[int, str, str]] = field(default_factory=list)
    """(words, id, text), the longest first."""
    shortest: list[tuple[int, str, str]] = field(default_factory=list)

    def add(
        self, before: Addition, now: Addition, record: Record | None, row: int, told: tuple[Denial, ...]
    ) -> None:
        """Take one caption in; ``now`` is it by the settings of today, ``told`` what it denies."""
        state = state_of(now)
        if _outcome(before) != _outcome(now):
            self.changed += 1
            if len(self.differing) < self.shown:
                self.differing.append((before, now))
        if state == "failed":
            self.failed += 1
            return
        if state == "refused":
            self.refused += 1
            for fault in map(str, now.detail.get("faults") or ()):
                self.faults[fault] += 1
                some = self.refusals.setdefault(fault, [])
                if len(some) < self.shown:
                    some.append(now)
            return
        self._count(now)
        self.compared += record is not None and bool(record.tags)
        if told:
            self.denying += 1
            self.denied.update({(one.how, one.tag) for one in told})
            if len(self.denials) < self.shown:
                self.denials.append(Denying(now, row, told))

    def _count(self, now: Addition) -> None:
        """Take in a caption that passes."""
        self.captioned += 1
        text = " ".join(piece.text for piece in now.prose)
        words = text.split()
        if text != answer_of(now):
            self.mended += 1
            if len(self.cleaned) < self.shown:
                self.cleaned.append(now)
        entry = (len(words), now.id, text)
        self.longest = heapq.nlargest(self.shown, [*self.longest, entry])
        self.shortest = heapq.nsmallest(self.shown, [*self.shortest, entry])
        self.openings[" ".join(words[:_OPENING])] += 1
        if len(self.openings) > _MOST_OPENINGS:  # Rare ones leave; a frequent one comes back soon.
            self.openings = Counter(dict(self.openings.most_common(_MOST_OPENINGS // 2)))

    def summary(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "captioned": self.captioned,
            "refused": self.refused,
            "failed": self.failed,
            "changed": self.changed,
            "mended": self.mended,
            "faults": dict(self.faults.most_common()),
            "compared": self.compared,
            "denying": self.denying,
            "denied": [
                {"how": how, "tag": tag, "captions": count}
                for (how, tag), count in self.denied.most_common(100)
            ],
            "openings": dict(self.openings.most_common(20)),
        }


def answer_of(addition: Addition) -> str:
    """What the model said, less an opening that it was given."""
    return str(addition.detail.get("answer", addition.detail.get("raw", "")))


def look(
    pictures: ManifestPictures,
    sources: Iterable[str],
    judge: Judge,
    agreement: AgreementConfig,
    *,
    shown: int,
) -> Quality:
    """Look at all captions of some sources. Raises TrainkitError when one of them was not finished."""
    quality = Quality(shown)
    index = RowIndex.of(pictures.manifest)
    for source in sources:
        for before, row, record in _with_records(
            read_additions(pictures.manifest.path, source), pictures, index
        ):
            now = judge.again(before, source)
            told: tuple[Denial, ...] = ()
            if now.prose and record is not None and record.tags:
                text = "\n".join(piece.text for piece in now.prose)
                told = denied_tags(text, [tag.name for tag in record.tags], exclusive=agreement.exclusive)
            quality.add(before, now, record, row, told)
    for addition in quality.cleaned:
        quality.rules.update({change.rule for change in judge.clean.changes(answer_of(addition))})
    return quality


def _with_records(
    additions: Iterator[Addition], pictures: ManifestPictures, index: RowIndex
) -> Iterator[tuple[Addition, int, Record | None]]:
    """Each addition with the row of its picture and its record; None where the manifest has it no more."""
    while some := list(islice(additions, _AT_ONCE)):
        rows = index.rows(np.array([key_of(addition.id) for addition in some], np.uint64)).tolist()
        for addition, row in zip(some, rows, strict=True):
            yield addition, row, None if row == NO_ROW else _record(pictures, row)


def _record(pictures: ManifestPictures, row: int) -> Record | None:
    try:
        return pictures.record(row)
    except PictureError:
        return None


def _outcome(addition: Addition) -> tuple[Any, ...]:
    """What of a caption matters to whoever trains with it."""
    return tuple(piece.text for piece in addition.prose), tuple(addition.detail.get("faults") or ())
