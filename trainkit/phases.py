"""The run in its phases: how long each is, and where its steps and samples begin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from trainkit.batches import BatchPlan
from trainkit.buckets import Placement
from trainkit.config import RunConfig, phase_runs
from trainkit.dealing import Dealer, Length, Part
from trainkit.errors import CheckpointError, TrainkitError
from trainkit.merging import place_together
from trainkit.optim import OptimConfig, Parts, trained_parts
from trainkit.rates import Clock
from trainkit.streams import Owed
from trainkit.stretches import Past, Stretch, described
from trainkit.windows import Chunks, Window


@dataclass(frozen=True)
class Phase:
    """A phase of a run that is dealt in one way. A run without phases is one; a run that was resumed with
    another batch, accumulate or number of devices has its phase in two parts of the same number and name."""

    number: int
    """From 1."""
    name: str
    run: RunConfig
    """The whole configuration as it is in this phase."""
    placement: Placement
    part: Part
    """How it is dealt."""
    first_step: int
    """Optimizer steps of the run before this phase."""
    whole: tuple[int, int]
    """Samples of the run before the phase and up to its end, all parts taken together."""

    @property
    def plan(self) -> BatchPlan:
        """This phase's micro-batches, numbered from 0."""
        return self.part.plan

    @property
    def accumulate(self) -> int:
        """Micro-batches of one optimizer step."""
        return self.part.stretch.accumulate

    @property
    def steps(self) -> int:
        """Optimizer steps of this phase."""
        return self.part.steps

    @property
    def group(self) -> int:
        """Samples of one optimizer step over all devices."""
        return self.part.stretch.group

    @property
    def first_sample(self) -> int:
        """Samples of the run before this phase."""
        return self.plan.first_sample

    @property
    def end(self) -> int:
        """Samples of the run up to the end of this phase."""
        return self.part.end

    @property
    def pass_length(self) -> int:
        """Samples of one pass over the data, rounded: a picture counts as often as it is drawn."""
        return max(1, round(self.plan.mean_pass))

    def clock(self, samples_seen: int, total_samples: int) -> Clock:
        """What learning rates depend on, in the step that begins after ``samples_seen``."""
        start, end = self.whole if self.run.optim.span == "phase" else (0, total_samples)
        return Clock(samples_seen, start, end - start, self.pass_length)

    def keeps_optimizer(self, other: OptimConfig) -> bool:
        """Whether this phase goes on with the optimizer's state of another."""
        return self.run.optim.identity == other.identity


_NO_PAST = Past()


def make_phases(
    run: RunConfig,
    sizes: NDArray[np.int32],
    devices: int,
    *,
    weights: NDArray[np.float32] | None = None,
    past: Past = _NO_PAST,
    chunks: Sequence[Chunks] = (),
) -> tuple[Phase, ...]:
    """The phases of a run over pictures of these ``sizes`` ([N, 2], width and height) on ``devices``.

    ``weights`` [N] says how often a picture is drawn in a pass (None: once); ``past`` how the run was dealt
    before it was resumed; ``chunks`` counts the chunks of captions, one for each phase, and is needed where
    data.chunk_window is on. Where a phase or another way of dealing begins, it begins with what the passes so
    far owe: over the whole run every picture comes once in every pass. A phase given in epochs ends at its
    last whole optimizer step, one given in samples is rounded up to one.

    Raises TrainkitError when a phase does not fill a single step, and when the past is not that of this run.
    """
    phases: list[Phase] = []
    placements: dict[str, Placement] = {}
    passes, last = Fraction(0), None
    for number, own in enumerate(phase_runs(run), start=1):
        key = own.data.buckets.model_dump_json()
        if key not in placements:
            placements[key] = place_together(sizes, own.data.buckets)
        counted = chunks[number - 1] if chunks and own.data.chunk_window else None
        length = Length(own.samples, own.epochs)
        dealer = Dealer(
            placements[key],
            run.seed,
            weights,
            None if counted is None else Window(own.data.chunk_window, counted),
            length,
        )
        now = Stretch(number, last.end if last else 0, own.batch * devices, own.accumulate)
        owed = last.owed() if last else Owed()
        parts = tuple(dealer.parts(owed, passes, now, past))
        if not any(part.steps for part in parts):
            raise TrainkitError(
                f"{len(sizes)} pictures x {own.epochs} epochs do not fill one optimizer step of "
                f"{now.batch} x {now.accumulate} samples; lower batch or accumulate, or train more epochs"
            )
        name = (run.phases[number - 1].name if run.phases else "") or f"phase {number}"
        last, whole = parts[-1], (now.first_sample, parts[-1].end)
        for part in parts:
            before = phases[-1].first_step + phases[-1].steps if phases else 0
            phases.append(Phase(number, name, own, dealer.placement, part, before, whole))
        passes = length.passes_at_end(passes, last.end, last.plan.mean_pass)
    require_past(phases, past)
    return tuple(phases)


def merged_buckets(phases: Sequence[Phase]) -> tuple[str, ...]:
    """What became of buckets that were given up for want of pictures, a note for each."""
    notes: dict[str, None] = {}
    for phase in phases:
        where = f"{phase.name}: " if len({p.number for p in phases}) > 1 else ""
        notes |= dict.fromkeys(f"{where}{merged}" for merged in phase.placement.merged)
    return tuple(notes)


def history(phases: Sequence[Phase], samples_seen: int) -> tuple[Stretch, ...]:
    """How the first ``samples_seen`` samples of a run are dealt: what its checkpoint must remember."""
    return tuple(phase.part.stretch for phase in phases if phase.first_sample < samples_seen)


def require_past(phases: Sequence[Phase], past: Past) -> None:
    """Raise CheckpointError when the past of a run is not what these phases begin with."""
    if not past.history:
        return
    found = history(phases, past.samples_seen)
    at = phase_at(phases, past.samples_seen)
    if found != past.history:
        raise CheckpointError(
            f"the checkpoint at {past.samples_seen} samples was made in a run with "
            f"{described(past.history)}; this run file says {described(found)}: the order of pictures would "
            "not go on. Phases that have begun must stay where they are; use the same run file, or start "
            "with another `out` folder."
        )
    if past.samples_seen > at.end or (past.samples_seen - at.first_sample) % at.group:
        raise CheckpointError(
            f"the checkpoint stands at {past.samples_seen} samples, but {at.name} goes in steps of "
            f"{at.group} samples from {at.first_sample} to {at.end}; let the phase be at least as long"
        )


def require_trained(phases: tuple[Phase, ...], parts: Parts) -> None:
    """Raise TrainkitError when there is a moment of the run at which every part is frozen."""
    for phase in phases:
        optim, epoch = phase.run.optim, phase.pass_length
        borders = [
            moment.at(epoch)
            for name in parts
            for moment in (optim.part(name).freeze_until, optim.part(name).freeze_after)
            if moment is not None
        ]
        # The first step that begins behind each border.
        steps = {0, *(-((phase.first_sample - border) // phase.group) for border in borders)}
        for step in sorted(int(step) for step in steps if 0 <= step < phase.steps):
            trained_parts(optim, parts, phase.first_sample + step * phase.group, epoch)


def phase_at(phases: Sequence[Phase], samples_seen: int) -> Phase:
    """The phase that the samples seen so far end in; the first one for a run that has not begun."""
    return next((p for p in phases if samples_seen <= p.end), phases[-1])
