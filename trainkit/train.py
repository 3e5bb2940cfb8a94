"""The training loop.

One clock: samples seen. Everything that changes over a run (phases, learning rates, pictures, captions,
noise, timesteps) is a pure function of (seed, samples seen), so a killed run that is started again goes on as
if nothing had happened.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from captionkit import CaptionPipeline
from trainkit.adapters import addressed_dropout
from trainkit.checkpoint import (
    Progress,
    latest_checkpoint,
    load_checkpoint,
    read_progress,
    remove_leftovers,
    save_checkpoint,
)
from trainkit.config import RunConfig
from trainkit.errors import CheckpointError, TrainkitError
from trainkit.feed import Batch, micro_batches
from trainkit.finish import write_results
from trainkit.gradients import clip_gradients, grad_norms
from trainkit.loss import decile_entries
from trainkit.model_folder import model_version
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
from trainkit.setup import Setup, set_up
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


def train(run: RunConfig) -> Result:
    """Train a run to its end, going on from its newest checkpoint if there is one.

    Raises TrainkitError for everything the user can mend.
    """
    setup = set_up(run)
    accelerator, denoiser, total_samples = setup.accelerator, setup.model.denoiser, setup.total_samples

    # Resume: the newest whole checkpoint of this folder, with the optimizer of the phase that it was made in.
    checkpoints = run.out / "checkpoints"
    newest = latest_checkpoint(checkpoints)
    samples_seen = read_progress(newest).samples_seen if newest else 0
    phase = phase_at(setup.phases, samples_seen)
    optimizer = make_optimizer(phase.run.optim, denoiser, setup.parts)
    if newest:
        _resume(setup, phase, newest, optimizer)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        remove_leftovers(checkpoints)
    resumed_from, made_for = samples_seen, phase.run.optim
    watch = Watch(setup)

    with contextlib.closing(Reporter(run, accelerator, samples_seen, total_samples)) as reporter:
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
            stepper, accumulate, group = setup.stepper(phase), phase.run.accumulate, phase.group
            first = (samples_seen - phase.first_sample) // group
            batches = micro_batches(
                setup.feed(phase), first * accumulate, phase.steps * accumulate, workers=run.data.workers
            )
            reporter.enter(phase)
            trained: frozenset[PartName] = frozenset()
            if samples_seen == 0:
                watch.before(phase, reporter)

            for step in range(first, phase.steps):
                # Freeze and thaw; the wrapper that exchanges gradients must know which there will be.
                now_trained = trained_parts(optim, setup.parts, samples_seen, phase.plan.num_pictures)
                if now_trained != trained:
                    trained = now_trained
                    unfreeze(optim, setup.parts, trained)
                    model, prepared = _wrapped(accelerator, denoiser, optimizer)
                    begin(optimizer, trained)
                    denoiser.train()

                # One optimizer step = `accumulate` micro-batches; gradients are means over all samples.
                clock = phase.clock(samples_seen, total_samples)
                rates = set_learning_rates(optimizer, optim, clock)
                sums = torch.zeros(21, device=accelerator.device)
                records: list[str] = []
                waited = 0.0
                for micro in range(accumulate):
                    part, seconds = _timed(batches)
                    waited += seconds
                    records += part.records
                    reporter.skipped(part)
                    with (
                        _synchronised(accelerator, model, micro == accumulate - 1),
                        addressed_dropout(run.adapter, run.seed, part.samples[0], accelerator.process_index),
                    ):
                        losses = stepper.loss(model, part)
                        # DistributedDataParallel averages over devices, each with group / world samples.
                        accelerator.backward(losses.total * accelerator.num_processes / group)
                    sums[0] += losses.total.detach()
                    sums[1:] += losses.deciles(setup.schedule.num_timesteps).flatten()
                total, deciles = _reduced(accelerator, sums)
                norms = grad_norms(denoiser)
                grad_norm = math.hypot(*norms.values())
                _require_finite(total / group, grad_norm, samples_seen, records)
                clip_gradients(denoiser, grad_norm, optim.max_grad_norm)
                prepared.step()
                prepared.zero_grad(set_to_none=True)
                samples_seen += group
                setup.ema.update(denoiser, samples_seen, group)

                entry = {"loss": total / group, "grad_norm": grad_norm, **norms}
                entry |= decile_entries(deciles, phase.run.objective, setup.schedule.num_timesteps)
                epoch = phase.plan.epoch_of((step + 1) * accumulate - 1)
                reporter.step(samples_seen, epoch, entry, rates, waited)

                # Once in a while, and always at the end: look, and save.
                done = samples_seen == total_samples
                watch.after(phase, reporter, samples_seen, group, done=done)
                at_border = samples_seen == phase.end
                if at_border or is_due(run.checkpoint_every, samples_seen, group):
                    if accelerator.is_main_process:
                        progress = _progress(setup, phase, samples_seen)
                        save_checkpoint(
                            checkpoints, denoiser, optimizer, setup.ema, progress, keep=run.keep_checkpoints
                        )
                    accelerator.wait_for_everyone()

    # The end: the model as others load it.
    folder = write_results(setup, samples_seen)
    accelerator.end_training()
    return Result(folder, samples_seen, resumed_from, setup.data, setup.phases, setup.pipelines)


def _wrapped(
    accelerator: Accelerator, denoiser: torch.nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[torch.nn.Module, Any]:
    """The denoiser and the optimizer as accelerate runs them, for the gradients that there are now."""
    accelerator.unwrap_model(denoiser, keep_fp32_wrapper=False)  # Of an earlier wrapping's autocast.
    accelerator.free_memory()
    model, prepared = accelerator.prepare(denoiser, optimizer)
    return model, prepared


def _timed(batches: Iterator[Batch]) -> tuple[Batch, float]:
    """The next micro-batch, and the seconds that the step waited for it."""
    started = time.perf_counter()
    return next(batches), time.perf_counter() - started


def _reduced(accelerator: Accelerator, sums: torch.Tensor) -> tuple[float, torch.Tensor]:
    """Sum of the losses over all devices, and the deciles' sums and numbers, [2, 10]."""
    whole: torch.Tensor = accelerator.reduce(sums, reduction="sum")
    total, *deciles = whole.tolist()
    return total, torch.tensor(deciles).view(2, 10)


def _resume(setup: Setup, phase: Phase, newest: Path, optimizer: torch.optim.Optimizer) -> None:
    """Load a checkpoint. Raises CheckpointError when the order of pictures would not go on."""
    progress = read_progress(newest)
    plan, accelerator = phase.plan, setup.accelerator
    then = (progress.num_pictures, progress.batch, progress.first_sample)
    if then != (plan.num_pictures, plan.batch, plan.first_sample):
        raise CheckpointError(
            f"checkpoint {newest} was made with {progress.num_pictures} pictures in batches of "
            f"{progress.batch} over all devices, in a phase that began at sample {progress.first_sample}; "
            f"this run has {plan.num_pictures} in batches of {plan.batch}, in a phase that begins at "
            f"{plan.first_sample}: the order of pictures would not go on. Use the same data, phases and "
            "batch x devices, or start with another `out` folder."
        )
    if (progress.samples_seen - plan.first_sample) % phase.group or progress.samples_seen > phase.end:
        raise CheckpointError(
            f"checkpoint {newest} stands at {progress.samples_seen} samples, which is no whole number of "
            f"optimizer steps of {phase.group} samples in {phase.name}; choose accumulate and the length so "
            "that it is"
        )
    now = _settings(phase.run)
    for key in sorted(k for k in now if now[k] != progress.settings.get(k)):
        accelerator.print(
            f"note: {key} is {now[key]}, the checkpoint was made with {progress.settings.get(key)}"
        )
    load_checkpoint(newest, setup.model.denoiser, optimizer, setup.ema)
    accelerator.print(f"going on from {newest} ({progress.samples_seen} samples seen)", flush=True)


def _progress(setup: Setup, phase: Phase, samples_seen: int) -> Progress:
    plan = phase.plan
    return Progress(samples_seen, plan.first_sample, plan.batch, plan.num_pictures, _settings(phase.run))


def _settings(run: RunConfig) -> dict[str, str]:
    """What decides the result, flat, for telling a resumed run what has changed."""
    tables = run.model_dump(mode="json", include={"text", "schedule", "objective", "optim", "adapter"})
    flat = {
        f"{table}.{key}": json.dumps(value)
        for table, values in tables.items()
        for key, value in (values or {}).items()
    }
    return flat | {
        "seed": json.dumps(run.seed),
        "captions": json.dumps(run.captions, sort_keys=True),
        "model.base": model_version(run.model.base),
        "data.recipe": json.dumps(run.model_dump(mode="json")["data"]["recipe"]),
    }


def _synchronised(
    accelerator: Accelerator, model: torch.nn.Module, last: bool
) -> contextlib.AbstractContextManager[None]:
    """Exchange gradients between devices only with the last micro-batch of a step."""
    context: contextlib.AbstractContextManager[None] = (
        contextlib.nullcontext() if last else accelerator.no_sync(model)
    )
    return context


def _require_finite(loss: float, grad_norm: float, samples_seen: int, records: list[str]) -> None:
    """Stop before the weights move. Raises TrainkitError naming the pictures of the step."""
    if torch.isfinite(torch.tensor([loss, grad_norm])).all():
        return
    raise TrainkitError(
        f"after {samples_seen} samples the loss is {loss} and the gradient norm {grad_norm}; the weights "
        "were not changed. "
        f"Pictures of this step: {', '.join(records[:32])}. Lower optim.lr, or look at these pictures."
    )
