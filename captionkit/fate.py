"""What became of a tag or of a word in one draw, and which step did it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from captionkit.record import Step
from captionkit.steps import difference


class Fate(StrEnum):
    """What became of a piece between the record and the text."""

    KEPT = "kept"
    DROPPED = "dropped"
    ADDED = "added"
    RENAMED = "renamed"
    """Kept, under another name."""


@dataclass(frozen=True, slots=True)
class Cause:
    """The step that decided, and why."""

    step: str
    """As one would say it: `short prompt/otherwise`, `drop_implied`."""
    reason: str
    """What `explain` says beyond the change itself; empty where there is nothing more to say."""

    def __str__(self) -> str:
        return f"{self.step}: {self.reason}" if self.reason else self.step


def called(address: str) -> str:
    """A step's address as one would say it: the first of its kind needs no number.

    >>> called("short prompt/then/drop_tags#0"), called("#flip")
    ('short prompt/then/drop_tags', 'flip')
    """
    return re.sub(r"#0(?=/|$)", "", address).removeprefix("#")


def cause_of(step: Step, name: str | None = None) -> Cause:
    """Why a step did what it did; of reasons told one by one, that of the tag `name`."""
    change = difference(step.before, step.after)
    reason = "" if step.reason == change else step.reason.removesuffix(f"; {change}")
    if name is not None:
        for told in reason.split("; "):
            if told.startswith(f"{name} "):
                reason = told.removeprefix(f"{name} ")
    return Cause(called(step.address), reason)
