"""One phase dealt out in steps: in one part, or in several where the run was resumed with other numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from trainkit.batches import BatchPlan
from trainkit.buckets import Placement
from trainkit.streams import Owed
from trainkit.stretches import Past, Stretch
from trainkit.windows import Window


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive optimizer steps of a phase that are dealt in one way."""

    plan: BatchPlan
    stretch: Stretch
    steps: int

    @property
    def end(self) -> int:
        """Samples of the run up to its end."""
        return self.stretch.first_sample + self.steps * self.stretch.group

    def owed(self) -> Owed:
        """What the passes that have begun owe after it."""
        return self.plan.owed_after(self.steps * self.stretch.accumulate)


@dataclass(frozen=True, slots=True)
class Length:
    """How long a phase is: either of the two."""

    samples: int | None
    epochs: int | None

    def steps(self, plan: BatchPlan, stretch: Stretch, start: int, passes: Fraction) -> int:
        """Optimizer steps from the beginning of a stretch to the end of the phase, that began after ``start``
        samples and ``passes`` over the data: rounded up to its samples, down to its passes."""
        if self.samples is not None:
            return max(0, -(-(start + self.samples - stretch.first_sample) // stretch.group))
        assert self.epochs is not None, "a phase has samples or epochs"
        whole, part = divmod(passes + self.epochs, 1)
        first, end = plan.batches_before(int(whole)), plan.batches_before(int(whole) + 1)
        return (first + int(part * (end - first))) // stretch.accumulate

    def passes_at_end(self, passes: Fraction, end: int, mean_pass: float) -> Fraction:
        """How many passes over the data the run has gone through at the end of the phase: as many as were
        asked for, so that what a step could not hold is not missing from the next phase."""
        return passes + self.epochs if self.epochs is not None else Fraction(end) / Fraction(mean_pass)


@dataclass(frozen=True, slots=True)
class Dealer:
    """What stays the same in a phase however it is dealt."""

    placement: Placement
    seed: int
    weights: NDArray[np.float32] | None
    window: Window | None
    length: Length

    def plan(self, owed: Owed, stretch: Stretch) -> BatchPlan:
        """The micro-batches of a stretch that begins with what is owed."""
        return BatchPlan(
            self.placement.buckets,
            self.placement.index,
            stretch.batch,
            self.seed,
            weights=self.weights,
            owed=owed,
            first_sample=stretch.first_sample,
            window=self.window,
        )

    def parts(self, owed: Owed, passes: Fraction, now: Stretch, past: Past) -> Iterator[Part]:
        """The parts of a phase that begins with ``now``, as the past was and the rest of it is now. What a
        change leaves no whole step for is a part of none."""
        start = now.first_sample
        while True:
            stretch, limit = past.at(now)
            part = Part(self.plan(owed, stretch), stretch, 0)
            steps = self.length.steps(part.plan, stretch, start, passes)
            if limit is not None:
                steps = min(steps, (limit - stretch.first_sample) // stretch.group)
            part = replace(part, steps=steps)
            yield part
            if limit is None or part.end != limit:
                return
            owed, now = part.owed(), replace(now, first_sample=limit)
