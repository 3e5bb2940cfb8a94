"""The run in its phases: how long each is, and where its steps and samples begin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainkit.batches import BatchPlan
from trainkit.buckets import Placement, place
from trainkit.config import RunConfig, phase_runs
from trainkit.errors import TrainkitError
from trainkit.optim import OptimConfig, Parts, trained_parts
from trainkit.rates import Clock


@dataclass(frozen=True)
class Phase:
    """One stretch of a run. A run without phases is one."""

    number: int
    """From 1."""
    name: str
    run: RunConfig
    """The whole configuration as it is in this phase."""
    placement: Placement
    plan: BatchPlan
    """This phase's micro-batches, numbered from 0."""
    first_step: int
    """Optimizer steps of the run before this phase."""
    steps: int
    """Optimizer steps of this phase."""

    @property
    def group(self) -> int:
        """Samples of one optimizer step over all devices."""
        return self.plan.batch * self.run.accumulate

    @property
    def first_sample(self) -> int:
        """Samples of the run before this phase."""
        return self.plan.first_sample

    @property
    def end(self) -> int:
        """Samples of the run up to the end of this phase."""
        return self.first_sample + self.steps * self.group

    def clock(self, samples_seen: int, total_samples: int) -> Clock:
        """What learning rates depend on, in the step that begins after ``samples_seen``."""
        over_phase = self.run.optim.span == "phase"
        start, end = (self.first_sample, self.end) if over_phase else (0, total_samples)
        return Clock(samples_seen, start, end - start, self.plan.num_pictures)

    def keeps_optimizer(self, other: OptimConfig) -> bool:
        """Whether this phase goes on with the optimizer's state of another."""
        return self.run.optim.identity == other.identity


def make_phases(run: RunConfig, sizes: NDArray[np.int32], devices: int) -> tuple[Phase, ...]:
    """The phases of a run over pictures of these ``sizes`` ([N, 2], width and height) on ``devices``.

    A phase given in epochs ends at its last whole optimizer step, one given in samples is rounded up to one.
    Every phase begins a new shuffle of the pictures: at a border, less than one batch per bucket of a pass is
    left out. Raises TrainkitError when a phase does not fill a single step.
    """
    phases: list[Phase] = []
    first_epoch = first_sample = first_step = 0
    placements: dict[str, Placement] = {}
    for number, own in enumerate(phase_runs(run), start=1):
        key = own.data.buckets.model_dump_json()
        if key not in placements:
            placements[key] = place(sizes, own.data.buckets)
        placement = placements[key]
        plan = BatchPlan(
            placement.buckets,
            placement.index,
            own.batch * devices,
            run.seed,
            first_epoch=first_epoch,
            first_sample=first_sample,
        )
        name = (run.phases[number - 1].name if run.phases else "") or f"phase {number}"
        phase = Phase(number, name, own, placement, plan, first_step, _count_steps(own, plan))
        phases.append(phase)
        first_step += phase.steps
        first_sample = phase.end
        first_epoch = plan.epoch_of(phase.steps * own.accumulate - 1) + 1
    return tuple(phases)


def require_trained(phases: tuple[Phase, ...], parts: Parts) -> None:
    """Raise TrainkitError when there is a moment of the run at which every part is frozen."""
    for phase in phases:
        optim, epoch = phase.run.optim, phase.plan.num_pictures
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


def phase_at(phases: tuple[Phase, ...], samples_seen: int) -> Phase:
    """The phase that the samples seen so far end in; the first one for a run that has not begun."""
    return next((p for p in phases if samples_seen <= p.end), phases[-1])


def _count_steps(run: RunConfig, plan: BatchPlan) -> int:
    if run.samples is not None:
        return -(-run.samples // (plan.batch * run.accumulate))
    assert run.epochs is not None, "a phase has samples or epochs"
    steps = plan.batches_before(run.epochs) // run.accumulate
    if steps == 0:
        raise TrainkitError(
            f"{plan.num_pictures} pictures x {run.epochs} epochs do not fill one optimizer step of "
            f"{plan.batch} x {run.accumulate} samples; lower batch or accumulate, or train more epochs"
        )
    return steps
