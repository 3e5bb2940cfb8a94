"""The training loop.

One clock: samples seen. Everything that changes over a run (learning rates, pictures, captions, noise,
timesteps) is a pure function of (seed, samples seen), so a killed run that is started again goes on as if
nothing had happened.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator

from captionkit import CaptionPipeline
from trainkit.batches import BatchPlan
from trainkit.checkpoint import (
    Progress,
    latest_checkpoint,
    load_checkpoint,
    read_progress,
    remove_leftovers,
    save_checkpoint,
)
from trainkit.config import RunConfig, caption_pipeline, write_resolved
from trainkit.devices import make_accelerator
from trainkit.errors import CheckpointError, TrainkitError
from trainkit.feed import Feed, micro_batches
from trainkit.grid import picture_grid
from trainkit.latents import LatentCache, vae_fingerprint
from trainkit.loss import loss_weights
from trainkit.model_folder import model_version
from trainkit.models import Model, export_model, load_model
from trainkit.optim import lr_factor, make_optimizer, set_learning_rates
from trainkit.pictures import DataSet, Skipped, read_data
from trainkit.plan import count_steps
from trainkit.reporter import Reporter
from trainkit.sample import Request, check_prompts, sample_pictures, save_picture
from trainkit.schedule import make_schedule
from trainkit.step import Stepper
from trainkit.text import Tokens


@dataclass(frozen=True)
class Result:
    """What a finished run left behind."""

    model: Path
    """The fine-tuned model, a diffusers folder."""
    samples_seen: int
    resumed_from: int
    """Samples seen at the checkpoint the run went on from; 0 for a fresh run."""
    data: DataSet
    plan: BatchPlan
    pipeline: CaptionPipeline


def train(run: RunConfig) -> Result:
    """Train a run to its end, going on from its newest checkpoint if there is one.

    Raises TrainkitError for everything the user can mend.
    """
    # Setup: devices, captions, model, pictures.
    accelerator = make_accelerator(run.mixed_precision, run.out, tensorboard=run.tensorboard)
    main = accelerator.is_main_process
    pipeline = caption_pipeline(run)
    model = load_model(run.model, run.text)
    tokens = Tokens(model.tokenizer, run.text.max_tokens, run.text.backtrack)
    check_prompts(run.preview, tokens)
    pipeline = pipeline.with_counter(tokens.count)
    data = read_data(run.data, pipeline, progress=main)
    model.vae.to(accelerator.device)
    cache = _fill_cache(run, model, data, accelerator)
    if main:
        write_resolved(run, run.out / "run.json")
        _report_skipped(data.skipped, run.out)

    # Plan: which pictures when, and how long.
    batch = run.batch * accelerator.num_processes
    group = batch * run.accumulate
    plan = BatchPlan([p.fit.bucket for p in data.pictures], batch, run.seed)
    total_steps = count_steps(run, plan)
    total_samples = total_steps * group
    schedule = make_schedule(run.schedule)
    stepper = Stepper(
        schedule=schedule,
        objective=run.objective,
        weights=loss_weights(run.objective, schedule),
        vae=model.vae,
        scaling_factor=model.scaling_factor,
        seed=run.seed,
        group=group,
        device=accelerator.device,
    )

    # Resume: the newest whole checkpoint of this folder.
    optimizer = make_optimizer(run.optim, model.denoiser)
    checkpoints = run.out / "checkpoints"
    newest = latest_checkpoint(checkpoints)
    step = _resume(run, newest, model, optimizer, plan, accelerator) if newest else 0
    resumed_from = step * group
    accelerator.wait_for_everyone()
    if main:
        remove_leftovers(checkpoints)
    denoiser, optimizer = accelerator.prepare(model.denoiser, optimizer)
    denoiser.train()
    feed = Feed(
        plan=plan,
        pictures=data.pictures,
        pipeline=pipeline,
        tokens=tokens,
        cache=cache,
        latent_shape=(
            int(model.vae.config.latent_channels),
            2 ** (len(model.vae.config.block_out_channels) - 1),
        ),
        transparent_as=run.data.transparent_as,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
    )
    batches = micro_batches(
        feed,
        step * run.accumulate,
        total_steps * run.accumulate,
        workers=run.data.workers,
    )
    with contextlib.closing(Reporter(run, accelerator, step * group, total_samples)) as reporter:
        while True:
            done = step >= total_steps
            samples_seen = step * group

            # Once in a while: preview, checkpoint. Both also at the end, neither at the point of resuming.
            if (
                _due(run.preview.every, samples_seen, group, resumed_from, done)
                and run.preview.prompts
                and main
            ):
                _preview(run, model, tokens, samples_seen)
            if _due(run.checkpoint_every, samples_seen, group, resumed_from, done):
                if main:
                    save_checkpoint(
                        checkpoints,
                        model.denoiser,
                        optimizer.optimizer,
                        _progress(run, samples_seen, batch, len(data.pictures)),
                        keep=run.keep_checkpoints,
                    )
                accelerator.wait_for_everyone()
            if done:
                break

            # One optimizer step = `accumulate` micro-batches; gradients are means over all devices' samples.
            factor = lr_factor(run.optim, samples_seen, total_samples)
            rates = set_learning_rates(optimizer, factor)
            loss_sum = torch.zeros((), device=accelerator.device)
            records: list[str] = []
            for micro in range(run.accumulate):
                part = next(batches)
                records += part.records
                reporter.skipped(part)
                with _synchronised(accelerator, denoiser, micro == run.accumulate - 1):
                    loss = stepper.loss(denoiser, part)
                    # DistributedDataParallel averages over devices, each with group / world samples.
                    accelerator.backward(loss * accelerator.num_processes / group)
                loss_sum += loss.detach()
            mean_loss = accelerator.reduce(loss_sum, reduction="sum").item() / group
            grad_norm = float(accelerator.clip_grad_norm_(denoiser.parameters(), run.optim.max_grad_norm))
            _require_finite(mean_loss, grad_norm, samples_seen, records)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            reporter.step(step * group, plan.epoch_of(step * run.accumulate - 1), mean_loss, grad_norm, rates)

    # The end: the model as others load it.
    folder = run.out / "model"
    if main:
        export_model(model, run.schedule, run.objective, run.text, folder)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return Result(folder, step * group, resumed_from, data, plan, pipeline)


def _fill_cache(run: RunConfig, model: Model, data: DataSet, accelerator: Accelerator) -> LatentCache | None:
    """Encode what is not cached yet, every process its share; None when latents are encoded live.

    A picture that vanishes meanwhile is named when its turn comes.
    """
    if run.data.latents == "live":
        return None
    folder = run.data.cache or run.out / "latents"
    cache = LatentCache(folder, vae_fingerprint(model.vae), run.data.transparent_as)
    share = data.pictures[accelerator.process_index :: accelerator.num_processes]
    cache.fill(share, model.vae, accelerator.device, progress=accelerator.is_main_process)
    accelerator.wait_for_everyone()
    return cache


def _report_skipped(skipped: tuple[Skipped, ...], out: Path) -> None:
    """Name what was left out, on the terminal (the first few) and in skipped.jsonl (all)."""
    out.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"name": s.name, "reason": s.reason, "while": "reading"}) + "\n" for s in skipped]
    (out / "skipped.jsonl").write_text("".join(lines), encoding="utf-8")
    for s in skipped[:10]:
        print(f"skipped {s.name}: {s.reason}", flush=True)
    if len(skipped) > 10:
        print(f"skipped {len(skipped) - 10} more; all are named in {out / 'skipped.jsonl'}", flush=True)


def _resume(
    run: RunConfig,
    newest: Path,
    model: Model,
    optimizer: torch.optim.Optimizer,
    plan: BatchPlan,
    accelerator: Accelerator,
) -> int:
    """Load a checkpoint; returns the number of optimizer steps done."""
    group = plan.batch * run.accumulate
    progress = read_progress(newest)
    if (progress.batch, progress.num_pictures) != (plan.batch, plan.num_pictures):
        raise CheckpointError(
            f"checkpoint {newest} was made with {progress.num_pictures} pictures in batches of "
            f"{progress.batch} over all devices, this run has {plan.num_pictures} in batches of "
            f"{plan.batch}; the order of pictures would not go on. Use the same data and batch x devices, or "
            "start with another `out` folder."
        )
    if progress.samples_seen % group:
        raise CheckpointError(
            f"checkpoint {newest} stands at {progress.samples_seen} samples, which is no whole number of "
            f"optimizer steps of {group} samples; choose accumulate so that it is"
        )
    now, then = _settings(run), progress.settings
    for key in sorted(k for k in now if now[k] != then.get(k)):
        accelerator.print(f"note: {key} is {now[key]!r}, the checkpoint was made with {then.get(key)!r}")
    load_checkpoint(newest, model.denoiser, optimizer)
    accelerator.print(f"going on from {newest} ({progress.samples_seen} samples seen)", flush=True)
    return progress.samples_seen // group


def _progress(run: RunConfig, samples_seen: int, batch: int, num_pictures: int) -> Progress:
    return Progress(samples_seen, batch, num_pictures, _settings(run))


def _settings(run: RunConfig) -> dict[str, str]:
    """What decides the result, flat, for telling a resumed run what has changed."""
    tables = run.model_dump(mode="json", include={"text", "schedule", "objective", "optim"})
    flat = {
        f"{table}.{key}": json.dumps(value)
        for table, values in tables.items()
        for key, value in values.items()
    }
    return flat | {
        "seed": json.dumps(run.seed),
        "model.base": model_version(run.model.base),
        "data.recipe": json.dumps(run.model_dump(mode="json")["data"]["recipe"]),
    }


def _due(every: int, samples_seen: int, group: int, resumed_from: int, done: bool) -> bool:
    """Whether something that happens every so many samples happens now; always at the end, never where a run
    resumes."""
    if samples_seen <= resumed_from:
        return False
    return done or (every > 0 and samples_seen // every > (samples_seen - group) // every)


def _synchronised(
    accelerator: Accelerator, denoiser: torch.nn.Module, last: bool
) -> contextlib.AbstractContextManager[None]:
    """Exchange gradients between devices only with the last micro-batch of a step."""
    context: contextlib.AbstractContextManager[None] = (
        contextlib.nullcontext() if last else accelerator.no_sync(denoiser)
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


def _preview(run: RunConfig, model: Model, tokens: Tokens, samples_seen: int) -> None:
    """Sample every prompt and write the sheet."""
    requests = [Request(prompt, number) for number, prompt in enumerate(run.preview.prompts)]
    pictures = sample_pictures(
        model, tokens, run.preview, run.schedule, run.objective, requests, run.preview_size
    )
    title = f"{samples_seen} samples seen, guidance {run.preview.guidance:g}, {run.preview.steps} steps"
    sheet = picture_grid(pictures, list(run.preview.prompts), title=title)
    save_picture(sheet, run.out / "previews" / f"{samples_seen:012d}.png")
