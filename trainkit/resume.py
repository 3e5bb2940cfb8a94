"""Where a run goes on, and how it leaves: the checkpoint it starts from, and those it writes."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from signal import Signals
from typing import Any, NoReturn

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast

from trainkit.changes import compare, settings_of_run
from trainkit.checkpoint import Progress, load_checkpoint, newest_good, read_progress, save_checkpoint
from trainkit.devices import end
from trainkit.errors import CheckpointError
from trainkit.model_folder import model_version
from trainkit.moment import time_stamp
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
    if samples_seen and (look or not path.exists()):  # Several processes always come with `look`.
        save(setup, phase, optimizer, samples_seen, look)
    if samples_seen:
        told = f"after {samples_seen} samples, which are in {path}"
    end(setup.accelerator)
    raise Stopped(asked, told)


def going_on(setup: Setup, newest: Path, accepted: Collection[str] = ()) -> Setup:
    """The setup with the rest of the run planned from a checkpoint on.

    Says what has changed since. Raises ConfigError for a change that is forbidden and not ``accepted``, and
    CheckpointError when the order of pictures would not go on.
    """
    progress = read_progress(newest)
    _compare(setup, progress, newest, accepted)
    if progress.num_pictures != (num_pictures := len(setup.data.pictures)):
        raise CheckpointError(
            f"checkpoint {newest} was made with {progress.num_pictures} pictures, this run has "
            f"{num_pictures}: the order of pictures would not go on. Use the same data, or start with "
            "another `out` folder."
        )
    planned = setup.planned(progress.past)
    for phase in planned.phases:
        changed = (phase.first_sample, phase.number) == (progress.samples_seen, progress.history[-1].phase)
        if changed and phase.steps:
            before, now = progress.history[-1], phase.part.stretch
            setup.accelerator.print(
                f"note: from here on an optimizer step has {now.accumulate} micro-batches of {now.batch} "
                f"samples over all devices, before it had {before.accumulate} of {before.batch}; the "
                "pictures that are left of this pass come first"
            )
    return planned


def _compare(setup: Setup, progress: Progress, newest: Path, accepted: Collection[str]) -> None:
    """Say what has changed, and note what was accepted in ``accepted.jsonl``. Raises ConfigError."""
    number = progress.history[-1].phase
    phase = next((phase for phase in setup.phases if phase.number == number), None)
    if phase is None:  # The order of pictures will not go on, and that is said elsewhere.
        return
    notes, taken = compare(str(newest), progress.settings, _settings(setup, phase), accepted)
    for note in notes:
        setup.accelerator.print(note)
    if taken and setup.accelerator.is_main_process:
        with (setup.run.out / "accepted.jsonl").open("a", encoding="utf-8") as file:
            for path, before, after in taken:
                told = {"samples": progress.samples_seen, "setting": path, "then": before, "now": after}
                file.write(json.dumps(told | {"time": time_stamp()}) + "\n")


def resume(setup: Setup, newest: Path, optimizer: torch.optim.Optimizer) -> int:
    """Load a checkpoint; returns ``Progress.look``."""
    progress, accelerator = read_progress(newest), setup.accelerator
    load_checkpoint(newest, setup.model.denoiser, optimizer, setup.ema)
    accelerator.print(f"going on from {newest} ({progress.samples_seen} samples seen)", flush=True)
    return progress.look


def _progress(setup: Setup, phase: Phase, samples_seen: int, look: int) -> Progress:
    dealt = history(setup.phases, samples_seen)
    return Progress(samples_seen, dealt, phase.plan.num_pictures, _settings(setup, phase), look)


def _settings(setup: Setup, phase: Phase) -> dict[str, Any]:
    """All that decides the run in a phase."""
    pipeline, data = setup.pipelines[phase.number - 1], setup.data
    pictures = f"{len(data.pictures)} pictures, fingerprint {data.fingerprint or 'unknown'}"
    return settings_of_run(phase.run, pipeline, pictures, model_version(setup.run.model.base))
