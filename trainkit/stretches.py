"""How a run was dealt so far: the one thing about its order that cannot be computed from the run file.

A run that is resumed with another batch, accumulate or number of devices goes on with the pictures that are
left. For that it must be known from which sample on which numbers held: the history, which every checkpoint
carries.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of a run that is dealt in one way."""

    phase: int
    """The number of its phase, from 1."""
    first_sample: int
    """Samples of the run before it."""
    batch: int
    """Samples of one micro-batch over all devices."""
    accumulate: int
    """Micro-batches of one optimizer step."""

    @property
    def group(self) -> int:
        """Samples of one optimizer step over all devices."""
        return self.batch * self.accumulate


@dataclass(frozen=True, slots=True)
class Past:
    """What a checkpoint knows of the run before it; nothing for a run that has not begun."""

    history: tuple[Stretch, ...] = ()
    """In the order of ``first_sample``."""
    samples_seen: int = 0
    """Where the checkpoint stands."""

    def at(self, now: Stretch) -> tuple[Stretch, int | None]:
        """How the samples from ``now.first_sample`` on are dealt, and where that changes within the phase
        (None: it does not).

        ``now`` is how they would be dealt by the run file and the devices of today.
        """
        own = [stretch for stretch in self.history if stretch.phase == now.phase]
        place = bisect.bisect_right(own, now.first_sample, key=lambda stretch: stretch.first_sample)
        if now.first_sample >= self.samples_seen or place == 0:
            return now, None
        then = replace(now, batch=own[place - 1].batch, accumulate=own[place - 1].accumulate)
        if place < len(own):
            return then, own[place].first_sample
        return then, None if then == now else self.samples_seen


def read_history(rows: Any) -> tuple[Stretch, ...]:
    """A history as a checkpoint has it: a list of tables. Raises ValueError for anything else."""
    names = [field.name for field in fields(Stretch)]
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"history is {rows!r}, must be a list of tables")
    found: list[Stretch] = []
    for row in rows:
        if not isinstance(row, dict) or set(row) != set(names):
            raise ValueError(f"history has {row!r}, must have {', '.join(names)}")
        if any(type(value) is not int or value < (name != "first_sample") for name, value in row.items()):
            raise ValueError(f"history has {row!r}, must have whole numbers above 0")
        found.append(Stretch(**row))
    if any(
        a.phase > b.phase or (a.first_sample, a.phase) >= (b.first_sample, b.phase)
        for a, b in itertools.pairwise(found)
    ):
        raise ValueError(f"history is not in order: {described(found)}")
    return tuple(found)


def described(history: Sequence[Stretch]) -> str:
    """A history in words, for errors and reports."""
    return "; ".join(
        f"phase {s.phase} from sample {s.first_sample} on in steps of {s.accumulate} x {s.batch}"
        for s in history
    )
