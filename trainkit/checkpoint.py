"""Saving a run so that it can go on exactly where it stopped.

A checkpoint is a folder ``checkpoints/<samples seen>`` with the trained weights (float32), the optimizer's
state, the averages of the weights, and ``state.json``. It is written under a temporary name, flushed to the
disk and renamed, so that a folder with a proper name is always whole. Files are safetensors and JSON; no
pickle is written or read.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from trainkit.ema import Ema
from trainkit.errors import CheckpointError
from trainkit.models import Denoiser
from trainkit.modes import open_to_others
from trainkit.optim import settings_of
from trainkit.trained import load_trained_state, trained_state

_FORMAT = 2


@dataclass(frozen=True)
class Progress:
    """The run's one clock, and what must not change between two parts of a run."""

    samples_seen: int
    first_sample: int
    """Samples of the run before the phase in which the checkpoint was made."""
    batch: int
    """Samples of one micro-batch over all devices; another number would be another order of pictures."""
    num_pictures: int
    settings: dict[str, Any]
    """The settings that decide what is learned; a change is allowed but said aloud."""


def save_checkpoint(
    folder: Path,
    denoiser: Denoiser,
    optimizer: torch.optim.Optimizer,
    ema: Ema,
    progress: Progress,
    *,
    keep: int,
) -> Path:
    """Write a checkpoint and remove all but the newest ``keep``.

    Raises CheckpointError when it cannot be written (a full disk); older checkpoints are left as they are.
    """
    final = folder / f"{progress.samples_seen:012d}"
    partial = folder / f".{final.name}.partial-{os.getpid()}"
    tensors, plain = _split(optimizer.state_dict())
    state = {"format": _FORMAT, **vars(progress), "optimizer": plain}
    try:
        partial.mkdir(parents=True, exist_ok=True)
        for name, weights in trained_state(denoiser).items():
            save_file(_contiguous(weights), partial / f"{name}.safetensors")
        save_file(tensors, partial / "optimizer.safetensors")
        ema.save(partial)
        (partial / "state.json").write_text(json.dumps(state), encoding="utf-8")
        open_to_others(partial)
        for path in (*partial.iterdir(), partial):
            _flush(path)
        partial.rename(final)
        _flush(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        newest = latest_checkpoint(folder)
        kept = f"the last good checkpoint is {newest}" if newest else "there is no earlier checkpoint"
        raise CheckpointError(
            f"checkpoint {final} could not be written: {error}; {kept}. Free some space and start the same "
            "command again."
        ) from error
    for old in _checkpoints(folder)[:-keep]:
        # Renamed first: a folder with a proper name is whole, also when this process is killed right here.
        shutil.rmtree(old.rename(folder / f".{old.name}.partial-{os.getpid()}"), ignore_errors=True)
    return final


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint, or None."""
    found = _checkpoints(folder)
    return found[-1] if found else None


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process left half-written."""
    for path in folder.glob(".*.partial-*"):
        shutil.rmtree(path, ignore_errors=True)


def read_progress(checkpoint: Path) -> Progress:
    """The clock of a checkpoint. Raises CheckpointError when it cannot be read."""
    state = _read_state(checkpoint)
    return Progress(**{field.name: state[field.name] for field in fields(Progress)})


def load_checkpoint(checkpoint: Path, denoiser: Denoiser, optimizer: torch.optim.Optimizer, ema: Ema) -> None:
    """Put a checkpoint's weights, optimizer state and averages into the given objects.

    The optimizer's settings (rates, betas, weight decay) stay those it was made with: they are the run's, and
    the run file may have changed.
    """
    state = _read_state(checkpoint)
    settings = settings_of(optimizer)
    try:
        files = {name: load_file(checkpoint / f"{name}.safetensors") for name in trained_state(denoiser)}
        load_trained_state(denoiser, files)
        ema.load(checkpoint)
        optimizer.load_state_dict(_join(load_file(checkpoint / "optimizer.safetensors"), state["optimizer"]))
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
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{checkpoint / 'state.json'} cannot be read: {error}; remove this checkpoint to use the one "
            "before"
        ) from error
    if state.get("format") != _FORMAT:
        raise CheckpointError(
            f"{checkpoint} has format {state.get('format')!r}, this version reads {_FORMAT}"
        )
    return state


def _checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.name.isdigit() and (p / "state.json").is_file())


def _split(value: Any, path: str = "") -> tuple[dict[str, Tensor], Any]:
    """A nested state dictionary as (tensors by path, JSON value with a marker where a tensor was).

    Keys that are whole numbers (parameters are numbered) are told apart from text by a leading "#".
    """
    if isinstance(value, Tensor):
        return {path: value.detach().cpu().contiguous().clone()}, {"@tensor": path}
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
            return tensors[plain["@tensor"]]
        return {int(k[1:]) if k.startswith("#") else k: _join(tensors, v) for k, v in plain.items()}
    if isinstance(plain, list):
        return [_join(tensors, item) for item in plain]
    return plain


def _contiguous(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}


def _flush(path: Path) -> None:
    """Make the system write a file or folder to the disk now."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        # Folders cannot be flushed on every system; the rename is then as safe as the system makes it.
        with contextlib.suppress(OSError) if path.is_dir() else contextlib.nullcontext():
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
