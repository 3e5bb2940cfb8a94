"""The training loop.

One clock: samples seen. Everything that changes over a run (phases, learning rates, pictures, captions,
noise, timesteps) is a pure function of (seed, samples seen), so a killed run that is started again goes on as
if nothing had happened.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from signal import Signals

import torch
from accelerate import Accelerator

from captionkit import CaptionPipeline
from trainkit.adapters import addressed_dropout
from trainkit.checkpoint import read_progress, remove_leftovers
from trainkit.config import RunConfig, write_resolved
from trainkit.devices import end, refuse_false_launch, synchronised, wrapped
from trainkit.disk_plan import plan_disk, told_when_full
from trainkit.errors import TrainkitError
from trainkit.feed import Batch
from trainkit.finish import write_results
from trainkit.gradients import clip_gradients, grad_norms
from trainkit.loader import micro_batches
from trainkit.lock import only_here
from trainkit.loss import decile_entries
from trainkit.optim import (
    PartName,
    apply_settings,
    begin,
    make_optimizer,
    set_learning_rates,
    trained_parts,
    unfreeze,
)
from trainkit.phases import Phase, phase_at
from trainkit.pictures import DataSet
from trainkit.reporter import Reporter
from trainkit.resume import going_on, leave, newest_checkpoint, resume, save
from trainkit.run_folder import explained
from trainkit.setup import Setup, set_up
from trainkit.signals import Stop
from trainkit.starts import Start
from trainkit.tracking import require_trackers
from trainkit.watch import Watch, is_due


@dataclass(frozen=True)
class Result:
    """What a finished run left behind."""

    model: Path
    """The fine-tuned model, a diffusers folder."""
    samples_seen: int
    resumed_from: int
    """Samples seen at the checkpoint the run went on from; 0 for a fresh run."""
    data: DataSet
    phases: tuple[Phase, ...]
    pipelines: tuple[CaptionPipeline, ...]
    """One per phase."""


def train(
    run: RunConfig, stop: Stop | None = None, accepted: Collection[str] = (), home: Path | None = None
) -> Result:
    """Train a run to its end, going on from its newest checkpoint if there is one.

    ``accepted`` names settings that may differ from the checkpoint's though they usually may not; ``home`` is
    the folder of the run file, the working folder if it is left out. Raises TrainkitError for everything the
    user can mend, and Stopped when ``stop`` was asked to.
    """
    refuse_false_launch(os.environ)
    main = os.environ.get("RANK", "0") == "0"
    require_trackers(run.trackers)
    if not main:
        return _train(run, stop or Stop(), accepted, None)
    with only_here(run.out), explained(run, home or Path.cwd()) as start, told_when_full(run.out):
        return _train(run, stop or Stop(), accepted, start)


def _train(run: RunConfig, stop: Stop, accepted: Collection[str], start: Start | None) -> Result:
    """The run from its newest checkpoint to its end, in a folder of its own."""
    setup = set_up(run)
    if start is not None:
        setup.watchdog.before_exit = partial(start.ended, "hung")
    with contextlib.closing(setup.watchdog):
        return _train_through(setup, stop, accepted, start)


def _train_through(setup: Setup, stop: Stop, accepted: Collection[str], start: Start | None) -> Result:
    """The loop."""
    run, doing = setup.run, setup.watchdog.doing
    accelerator, denoiser = setup.accelerator, setup.model.denoiser

    # Resume: the newest whole checkpoint of this folder, with the optimizer of the phase that it was made in.
    checkpoints = run.out / "checkpoints"
    newest = newest_checkpoint(accelerator, checkpoints)
    if newest:
        setup = going_on(setup, newest, accepted)
    if accelerator.is_main_process:
        write_resolved(run, run.out / "run.json")
        print(plan_disk(setup), flush=True)
    samples_seen, total_samples = read_progress(newest).samples_seen if newest else 0, setup.total_samples
    phase = phase_at(setup.phases, samples_seen)
    optimizer = make_optimizer(phase.run.optim, denoiser, setup.parts)
    look = resume(setup, newest, optimizer) if newest else 0
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        remove_leftovers(checkpoints)
    resumed_from, made_for = samples_seen, phase.run.optim
    watch, alone = Watch(setup), accelerator.num_processes == 1
    if start is not None:
        start.training(samples_seen, total_samples, len(setup.data.pictures), setup.data.fingerprint)

    with contextlib.closing(Reporter(run, accelerator, samples_seen, total_samples, look)) as reporter:
        if look:  # A signal came between the last step and what was due after it.
            reporter.enter(phase)
            setup.fill_cache(phase)
            watch.after(phase, reporter, samples_seen, look, done=samples_seen == total_samples)
        for phase in setup.phases:
            if samples_seen >= phase.end:
                continue

            # Enter a phase: its optimizer, its pictures in its buckets, its captions.
            optim = phase.run.optim
            if phase.keeps_optimizer(made_for):
                apply_settings(optimizer, optim, setup.parts)
            else:
                optimizer = make_optimizer(optim, denoiser, setup.parts)
                reporter.say(f"{phase.name}: the optimizer {optim.optimizer} starts with fresh state")
            made_for = optim
            setup.fill_cache(phase)
            stepper, accumulate, group = setup.stepper(phase), phase.accumulate, phase.group
            first = (samples_seen - phase.first_sample) // group
            batches = micro_batches(
                setup.feed(phase),
                first * accumulate,
                phase.steps * accumulate,
                workers=run.data.workers,
                prefetch=run.data.prefetch,
                restarts=run.data.worker_restarts,
                patience=run.data.worker_timeout,
                say=reporter.warn,
            )
            reporter.enter(phase)
            trained: frozenset[PartName] = frozenset()
            if samples_seen == 0:
                watch.before(phase, reporter)

            for step in stop.noting(range(first, phase.steps)):
                # Freeze and thaw; the wrapper that exchanges gradients must know which there will be.
                now_trained = trained_parts(optim, setup.parts, samples_seen, phase.pass_length)
                if now_trained != trained:
                    trained = now_trained
                    unfreeze(optim, setup.parts, trained)
                    model, prepared = wrapped(accelerator, denoiser, optimizer)
                    begin(optimizer, trained)
                    denoiser.train()

                # One optimizer step = `accumulate` micro-batches; gradients are means over all samples.
                clock = phase.clock(samples_seen, total_samples)
                rates = set_learning_rates(optimizer, optim, clock)
                # The loss, the deciles' sums and numbers, and who is asked to stop by which signal.
                sums = torch.zeros(1 + 20 + 3, device=accelerator.device)
                records: list[str] = []
                waited = 0.0
                for micro in range(accumulate):
                    if alone and stop.waited() > run.stop_within:
                        leave(setup, phase, optimizer, samples_seen, stop.asked)
                    doing(f"waiting for pictures of step {phase.first_step + step + 1}", samples_seen)
                    part, seconds = _timed(batches)
                    waited += seconds
                    records += part.records
                    reporter.skipped(part)
                    with (
                        synchronised(model, micro == accumulate - 1),
                        addressed_dropout(run.adapter, run.seed, part.samples[0], accelerator.process_index),
                    ):
                        doing(f"forward pass of step {phase.first_step + step + 1}")
                        losses = stepper.loss(model, part)
                        # DistributedDataParallel averages over devices, each with group / world samples.
                        doing(f"backward pass of step {phase.first_step + step + 1}")
                        accelerator.backward(losses.total * accelerator.num_processes / group)
                    sums[0] += losses.total.detach()
                    sums[1:21] += losses.deciles(setup.schedule.num_timesteps).flatten()
                doing("adding up the losses of all processes", waits=True)
                total, deciles, asked = _reduced(accelerator, sums, stop)
                norms = grad_norms(denoiser)
                grad_norm = math.hypot(*norms.values())
                _require_finite(total / group, grad_norm, samples_seen, records)
                doing("moving the weights")
                clip_gradients(denoiser, grad_norm, optim.max_grad_norm)
                prepared.step()
                prepared.zero_grad(set_to_none=True)
                samples_seen += group
                setup.ema.update(denoiser, samples_seen, group)

                entry = {"loss": total / group, "grad_norm": grad_norm, **norms}
                entry |= decile_entries(deciles, phase.run.objective, setup.schedule.num_timesteps)
                epoch = phase.plan.epoch_of((step + 1) * accumulate - 1)
                reporter.step(samples_seen, epoch, entry, rates, waited)

                # Once in a while, and always at the end: look, and save. Asked to stop: save and go.
                done, at_border = samples_seen == total_samples, samples_seen == phase.end
                asked = stop.asked if alone else asked
                if asked is not None:
                    leave(setup, phase, optimizer, samples_seen, asked, look=group)
                watch.after(phase, reporter, samples_seen, group, done=done)
                if at_border or is_due(run.checkpoint_every, samples_seen, group):
                    save(setup, phase, optimizer, samples_seen)

    # The end: the model as others load it.
    folder = write_results(setup, samples_seen)
    end(accelerator)
    return Result(folder, samples_seen, resumed_from, setup.data, setup.phases, setup.pipelines)


def _timed(batches: Iterator[Batch]) -> tuple[Batch, float]:
    """The next micro-batch, and the seconds that the step waited for it."""
    started = time.perf_counter()
    return next(batches), time.perf_counter() - started


def _reduced(
    accelerator: Accelerator, sums: torch.Tensor, stop: Stop
) -> tuple[float, torch.Tensor, Signals | None]:
    """Sum of the losses over all devices, the deciles' sums and numbers, [2, 10], and whether any process was
    asked to stop: all learn it in the same step."""
    if stop.asked is not None:
        sums[21:] = torch.tensor(stop.votes())
    whole: torch.Tensor = accelerator.reduce(sums, reduction="sum")
    total, *rest = whole.tolist()
    return total, torch.tensor(rest[:20]).view(2, 10), stop.agreed(rest[20:])


def _require_finite(loss: float, grad_norm: float, samples_seen: int, records: list[str]) -> None:
    """Stop before the weights move. Raises TrainkitError naming the pictures of the step."""
    if torch.isfinite(torch.tensor([loss, grad_norm])).all():
        return
    raise TrainkitError(
        f"after {samples_seen} samples the loss is {loss} and the gradient norm {grad_norm}; the weights "
        "were not changed. "
        f"Pictures of this step: {', '.join(records[:32])}. Lower optim.lr, or look at these pictures."
    )
