"""Saving a run so that it can go on exactly where it stopped.

A checkpoint is a folder ``checkpoints/<samples seen>`` with the trained weights (float32), the optimizer's
state, the averages of the weights, ``state.json``, and ``whole.json`` with the hash of every file. It is
written under a temporary name, flushed to the disk and renamed, so that a folder with a proper name was once
whole; whether it still is, its hashes tell. Files are safetensors and JSON; no pickle is written or read.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from trainkit.ema import Ema
from trainkit.errors import CheckpointError
from trainkit.models import Denoiser
from trainkit.modes import open_to_others
from trainkit.optim import settings_of
from trainkit.room import explain_full
from trainkit.sealed import INDEX, damage, flush, seal, write_tensors
from trainkit.sharding import put_all_together, split_state
from trainkit.stretches import Past, Stretch, read_history
from trainkit.trained import load_trained_state, trained_state

_FORMAT = 3


@dataclass(frozen=True)
class Progress:
    """The run's one clock, and what must not change between two parts of a run."""

    samples_seen: int
    history: tuple[Stretch, ...]
    """How these samples were dealt: the order of pictures goes on from there, with whatever batch, accumulate
    and number of devices."""
    num_pictures: int
    settings: dict[str, Any]
    """The settings that decide what is learned; a change is allowed but said aloud."""
    look: int = 0
    """Samples of the last step when a signal kept the run from looking at the model after it (previews,
    validation): it does so when it goes on. Else 0."""

    @property
    def past(self) -> Past:
        """What the plan of the rest of the run must know."""
        return Past(self.history, self.samples_seen)


def save_checkpoint(
    folder: Path,
    denoiser: Denoiser,
    optimizer: torch.optim.Optimizer,
    ema: Ema,
    progress: Progress,
    *,
    keep: int,
    keep_every: int = 0,
    writes: bool = True,
) -> Path:
    """Write a checkpoint and remove all but the newest ``keep`` and those that ``keep_every`` keeps for ever.

    Where weights are sharded every process must call it, and one ``writes``.
    Raises CheckpointError when it cannot be written (a full disk); older checkpoints are left as they are.
    """
    final = folder / f"{progress.samples_seen:012d}"
    partial = folder / f".{final.name}.partial-{os.getpid()}"
    tensors, plain = _split(optimizer.state_dict())
    files = trained_state(denoiser) | {"optimizer": tensors}
    files = {name: put_all_together(found, keep=writes) for name, found in files.items()}
    if not writes:
        ema.save(partial)
        return final
    state = {"format": _FORMAT, **asdict(progress), "optimizer": plain}
    try:
        partial.mkdir(parents=True, exist_ok=True)
        for name, weights in files.items():
            write_tensors(partial / f"{name}.safetensors", weights)
        ema.save(partial)
        (partial / "state.json").write_text(json.dumps(state), encoding="utf-8")
        open_to_others(partial)
        seal(partial)
        partial.rename(final)
        flush(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        needed = sum(w.nbytes for weights in files.values() for w in weights.values()) + ema.num_bytes
        newest = latest_checkpoint(folder)
        kept = f"the last good checkpoint is {newest}" if newest else "there is no earlier checkpoint"
        raise CheckpointError(
            f"checkpoint {final} could not be written: {explain_full(error, folder, needed)}; {kept}. Start "
            "the same command again when that is mended."
        ) from error
    for old in superfluous(checkpoints_in(folder), keep, keep_every):
        # Renamed first: a folder with a proper name is whole, also when this process is killed right here.
        shutil.rmtree(old.rename(folder / f".{old.name}.partial-{os.getpid()}"), ignore_errors=True)
    return final


def superfluous(checkpoints: list[Path], keep: int, keep_every: int) -> list[Path]:
    """Which of these checkpoints, oldest first, can go.

    The newest ``keep`` stay, and with ``keep_every`` the first one at or behind each multiple of it.
    """
    ages = [int(path.name) // keep_every if keep_every else 0 for path in checkpoints]
    return [
        path
        for place, path in enumerate(checkpoints[:-keep])
        if ages[place] == 0 or (place > 0 and ages[place - 1] == ages[place])
    ]


def checkpoints_in(folder: Path) -> list[Path]:
    """All checkpoints, oldest first, whole or damaged."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.name.isdecimal() and p.name.isascii() and p.is_dir())


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that seems whole, or None; its hashes are not compared."""
    return next((p for p in reversed(checkpoints_in(folder)) if (p / INDEX).is_file()), None)


def newest_good(folder: Path, say: Callable[[str], None]) -> Path | None:
    """The newest checkpoint whose every byte is as it was written; None where there are no checkpoints.

    Each newer one that is damaged is told through ``say`` and renamed to ``<name>.damaged``, where nothing
    touches it. Raises CheckpointError when all are damaged: a run never begins anew by itself.
    """
    problems: dict[Path, str] = {}
    for path in reversed(checkpoints_in(folder)):
        found = damage(path) or _of_another_moment(path)
        if not found:
            for broken, problem in problems.items():
                say(
                    f"warning: checkpoint {broken} is damaged: {problem}; going on from {path.name}, the one "
                    f"before it, and keeping it as {_put_aside(broken).name}"
                )
            return path
        problems[path] = "; ".join(found)
    if problems:
        raise CheckpointError(
            f"no checkpoint in {folder} is whole:\n"
            + "\n".join(f"  {path.name}: {problem}" for path, problem in problems.items())
            + "\nCopy one back from where you have it. To begin anew, give another `out` folder, or remove "
            "these."
        )
    return None


def _of_another_moment(path: Path) -> list[str]:
    """What is wrong with a whole checkpoint that has the name of another one; empty when nothing is."""
    try:
        samples = read_progress(path).samples_seen
    except CheckpointError:  # Of another version; whoever loads it says so.
        return []
    return [] if samples == int(path.name) else [f"it was made after {samples} samples, and renamed"]


def _put_aside(path: Path) -> Path:
    """Give a damaged checkpoint a name that no checkpoint has."""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged{'' if number == 1 else number}")).exists():
        number += 1
    return path.rename(aside)


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process left half-written."""
    for path in folder.glob(".*.partial-*"):
        shutil.rmtree(path, ignore_errors=True)


def read_progress(checkpoint: Path) -> Progress:
    """The clock of a checkpoint. Raises CheckpointError when it cannot be read."""
    state = _read_state(checkpoint)
    if lacking := [field.name for field in fields(Progress) if field.name not in state]:
        raise CheckpointError(f"{checkpoint / 'state.json'} says nothing of {', '.join(lacking)}")
    found = {field.name: state[field.name] for field in fields(Progress)}
    try:
        return Progress(**found | {"history": read_history(found["history"])})
    except ValueError as error:
        raise CheckpointError(f"{checkpoint / 'state.json'}: {error}") from error


def load_checkpoint(checkpoint: Path, denoiser: Denoiser, optimizer: torch.optim.Optimizer, ema: Ema) -> None:
    """Put a checkpoint's weights, optimizer state and averages into the given objects.

    The optimizer's settings (rates, betas, weight decay) stay those it was made with: they are the run's, and
    the run file may have changed.
    """
    state = _read_state(checkpoint)
    settings = settings_of(optimizer)
    try:
        load_trained_state(
            denoiser, {name: _tensors(checkpoint / f"{name}.safetensors") for name in trained_state(denoiser)}
        )
        ema.load(checkpoint)
        stored = _tensors(checkpoint / "optimizer.safetensors")
        optimizer.load_state_dict(split_state(optimizer, _join(stored, state["optimizer"])))
        for group, own in zip(optimizer.param_groups, settings, strict=True):
            group.update(own)
    except (OSError, SafetensorError, KeyError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"checkpoint {checkpoint} does not fit this run: {error}\n"
            "Start with another `out` folder, or with the model, optimizer and text settings the checkpoint "
            "was made with."
        ) from error


def _read_state(checkpoint: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
        if not isinstance(state, dict):
            raise ValueError("it holds no table")
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{checkpoint / 'state.json'} cannot be read: {error}; remove this checkpoint to use the one "
            "before"
        ) from error
    if state.get("format") != _FORMAT:
        raise CheckpointError(
            f"{checkpoint} has format {state.get('format')!r}, this version reads {_FORMAT}"
        )
    return state


def _tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, mapped: what is copied into a weight passes through memory once.

    An optimizer keeps on a CPU what it is given, and must not live in a file that may be removed; those are
    copied by `_join`. Raises OSError or SafetensorError.
    """
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _split(value: Any, path: str = "") -> tuple[dict[str, Tensor], Any]:
    """A nested state dictionary as (tensors by path, JSON value with a marker where a tensor was).

    Keys that are whole numbers (parameters are numbered) are told apart from text by a leading "#".
    """
    if isinstance(value, Tensor):
        return {path: value.detach()}, {"@tensor": path}
    if isinstance(value, dict):
        tensors: dict[str, Tensor] = {}
        plain: dict[str, Any] = {}
        for key, item in value.items():
            name = f"#{key}" if isinstance(key, int) else str(key)
            found, plain[name] = _split(item, f"{path}/{name}")
            tensors |= found
        return tensors, plain
    if isinstance(value, (list, tuple)):
        parts = [_split(item, f"{path}/{i}") for i, item in enumerate(value)]
        return {name: t for found, _ in parts for name, t in found.items()}, [plain for _, plain in parts]
    return {}, value


def _join(tensors: dict[str, Tensor], plain: Any) -> Any:
    """The inverse of _split; tuples come back as lists, which optimizers take as well."""
    if isinstance(plain, dict):
        if "@tensor" in plain:
            return tensors[plain["@tensor"]].clone()
        return {int(k[1:]) if k.startswith("#") else k: _join(tensors, v) for k, v in plain.items()}
    if isinstance(plain, list):
        return [_join(tensors, item) for item in plain]
    return plain
