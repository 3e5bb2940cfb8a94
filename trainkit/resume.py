"""Where a run goes on, and how it leaves: the checkpoint it starts from, and those it writes."""

from __future__ import annotations

import json
from pathlib import Path
from signal import Signals
from typing import NoReturn

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast

from trainkit.checkpoint import Progress, load_checkpoint, newest_good, read_progress, save_checkpoint
from trainkit.config import RunConfig
from trainkit.errors import CheckpointError
from trainkit.model_folder import model_version
from trainkit.phases import Phase, history
from trainkit.setup import Setup
from trainkit.signals import Stopped


def newest_checkpoint(accelerator: Accelerator, checkpoints: Path) -> Path | None:
    """The checkpoint to go on from, the same on every process; the main one compares the hashes.

    Raises CheckpointError when there are some and none is whole.
    """
    samples, problem = -1, None
    if accelerator.is_main_process:
        try:
            newest = newest_good(checkpoints, lambda text: print(text, flush=True))
            samples = int(newest.name) if newest else -1
        except CheckpointError as error:
            samples, problem = -2, error
    (samples,) = broadcast(torch.tensor([samples], device=accelerator.device)).tolist()
    if samples == -2:
        raise problem or CheckpointError(
            f"no checkpoint in {checkpoints} is whole; the main process says more"
        )
    return checkpoints / f"{samples:012d}" if samples >= 0 else None


def save(
    setup: Setup, phase: Phase, optimizer: torch.optim.Optimizer, samples_seen: int, look: int = 0
) -> Path:
    """Write a checkpoint, on the main process; ``look`` is the size of the last step when what is due after
    it has not been done. The others wait."""
    run, folder = setup.run, setup.run.out / "checkpoints"
    writes = setup.accelerator.is_main_process
    if writes or setup.hollow is not None:
        setup.watchdog.doing(
            "writing a checkpoint" if writes else "lending weights to a checkpoint", waits=not writes
        )
        save_checkpoint(
            folder,
            setup.model.denoiser,
            optimizer,
            setup.ema,
            _progress(setup, phase, samples_seen, look),
            keep=run.keep_checkpoints,
            keep_every=run.checkpoint_keep_every,
            writes=writes,
        )
    setup.watchdog.doing("waiting for the checkpoint", waits=True)
    setup.accelerator.wait_for_everyone()
    return folder / f"{samples_seen:012d}"


def leave(
    setup: Setup,
    phase: Phase,
    optimizer: torch.optim.Optimizer,
    samples_seen: int,
    asked: Signals | None,
    look: int = 0,
) -> NoReturn:
    """Save what there is and raise Stopped: a signal asked for it."""
    assert asked is not None
    told = "before the first step was done"
    path = setup.run.out / "checkpoints" / f"{samples_seen:012d}"
    if samples_seen and not path.exists():
        save(setup, phase, optimizer, samples_seen, look)
    if samples_seen:
        told = f"after {samples_seen} samples, which are in {path}"
    setup.accelerator.end_training()
    raise Stopped(asked, told)


def going_on(setup: Setup, newest: Path) -> Setup:
    """The setup with the rest of the run planned from a checkpoint on.

    Raises CheckpointError when the order of pictures would not go on.
    """
    progress = read_progress(newest)
    if progress.num_pictures != (num_pictures := len(setup.data.pictures)):
        raise CheckpointError(
            f"checkpoint {newest} was made with {progress.num_pictures} pictures, this run has "
            f"{num_pictures}: the order of pictures would not go on. Use the same data, or start with "
            "another `out` folder."
        )
    planned = setup.planned(progress.past)
    for phase in planned.phases:
        if (phase.first_sample, phase.number) == (progress.samples_seen, progress.history[-1].phase):
            before, now = progress.history[-1], phase.part.stretch
            setup.accelerator.print(
                f"note: from here on an optimizer step has {now.accumulate} micro-batches of {now.batch} "
                f"samples over all devices, before it had {before.accumulate} of {before.batch}; the "
                "pictures that are left of this pass come first"
            )
    return planned


def resume(setup: Setup, phase: Phase, newest: Path, optimizer: torch.optim.Optimizer) -> int:
    """Load a checkpoint; returns ``Progress.look``."""
    progress, accelerator = read_progress(newest), setup.accelerator
    now = _settings(phase.run)
    for key in sorted(k for k in now if now[k] != progress.settings.get(k)):
        accelerator.print(
            f"note: {key} is {now[key]}, the checkpoint was made with {progress.settings.get(key)}"
        )
    load_checkpoint(newest, setup.model.denoiser, optimizer, setup.ema)
    accelerator.print(f"going on from {newest} ({progress.samples_seen} samples seen)", flush=True)
    return progress.look


def _progress(setup: Setup, phase: Phase, samples_seen: int, look: int) -> Progress:
    dealt = history(setup.phases, samples_seen)
    return Progress(samples_seen, dealt, phase.plan.num_pictures, _settings(phase.run), look)


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
