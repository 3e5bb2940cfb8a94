"""Saving the training of a tagger so that it goes on exactly where it stopped.

A checkpoint is a folder ``checkpoints/<samples seen>`` with the trained weights, their average, the best ones
so far, the optimizer's state, ``state.json``, and ``whole.json`` with the hash of every file. Safetensors and
JSON; no pickle is written or read.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from trainkit.changed import changed, in_short
from trainkit.checkpoint import checkpoints_in, remove_leftovers, superfluous
from trainkit.errors import CheckpointError
from trainkit.modes import open_to_others
from trainkit.room import explain_full
from trainkit.sealed import damage, flush, seal, write_tensors
from trainkit.tagging.average import Average

_FORMAT = 1


@dataclass
class Training:
    """Everything that moves while a tagger is trained, in one place."""

    trained: nn.Module
    """The whole network, or its head."""
    optimizer: torch.optim.AdamW
    average: Average | None
    samples_seen: int = 0
    steps: int = 0
    best: float = -math.inf
    """The best metric on held-out pictures so far."""
    best_at: int = 0
    """Samples seen then."""
    best_weights: dict[str, Tensor] | None = None
    worse: int = 0
    """Looks since then that were not better."""
    ended: bool = False
    """Whether it has ended early."""

    def weights(self) -> dict[str, Tensor]:
        """A copy of what would be kept now: the average, or the weights themselves."""
        now = self.trained.state_dict() if self.average is None else self.average.weights
        return {name: value.detach().clone() for name, value in now.items()}


def save_training(folder: Path, training: Training, settings: Mapping[str, Any], keep: int) -> Path:
    """Write a checkpoint and remove all but the newest. Raises CheckpointError when it cannot be written."""
    final = folder / f"{training.samples_seen:012d}"
    partial = folder / f".{final.name}.partial-{os.getpid()}"
    state = {
        "format": _FORMAT,
        **{name: getattr(training, name) for name in _PLAIN},
        "best": training.best if math.isfinite(training.best) else None,
        "settings": dict(settings),
    }
    files = {"weights": training.trained.state_dict(), "optimizer": _optimizer_tensors(training)}
    if training.average is not None:
        files["average"] = training.average.weights
    if training.best_weights is not None:
        files["best"] = training.best_weights
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, tensors in files.items():
            write_tensors(partial / f"{name}.safetensors", tensors)
        (partial / "state.json").write_text(json.dumps(state), encoding="utf-8")
        open_to_others(partial)
        seal(partial)
        if final.exists():  # Of the same moment: it holds the same.
            shutil.rmtree(final.rename(folder / f".{final.name}.partial-old-{os.getpid()}"))
        partial.rename(final)
        flush(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        needed = sum(tensor.nbytes for tensors in files.values() for tensor in tensors.values())
        raise CheckpointError(
            f"checkpoint {final} could not be written: {explain_full(error, folder, needed)}; start the same "
            "command again when that is mended"
        ) from error
    for old in superfluous(checkpoints_in(folder), keep, 0):
        shutil.rmtree(old.rename(folder / f".{old.name}.partial-{os.getpid()}"), ignore_errors=True)
    return final


_PLAIN = ("samples_seen", "steps", "best_at", "worse", "ended")


def newest_whole(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint whose every byte is as it was written, and what is wrong with newer ones.

    Raises CheckpointError when there are some and all are damaged.
    """
    remove_leftovers(folder)
    wrong: list[str] = []
    for path in reversed(checkpoints_in(folder)):
        if not (problems := damage(path)):
            return path, wrong
        wrong.append(f"checkpoint {path} is damaged: {'; '.join(problems)}")
    if wrong:
        raise CheckpointError("\n".join([*wrong, "Remove them to begin anew, or copy one back."]))
    return None, []


def load_training(path: Path, training: Training, settings: Mapping[str, Any]) -> None:
    """Go on from a checkpoint.

    Raises CheckpointError when it was made with other settings, naming them, or by another network.
    """
    try:
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        if state["format"] != _FORMAT:
            raise ValueError(f"has format {state['format']!r}, this version reads {_FORMAT}")
        if others := list(changed(state["settings"], dict(settings))):
            raise CheckpointError(
                f"{path} was made with other settings:\n"
                + "\n".join(f"  {at}: was {in_short(old)}, is {in_short(new)}" for at, old, new in others)
                + "\nSet them back to go on, or begin anew: --restart, or another `out` folder."
            )
        training.trained.load_state_dict(load_file(path / "weights.safetensors"))
        if training.average is not None:
            training.average.load(load_file(path / "average.safetensors"))
        if (path / "best.safetensors").is_file():
            training.best_weights = load_file(path / "best.safetensors")
        _load_optimizer(training, load_file(path / "optimizer.safetensors"))
        for name in _PLAIN:
            setattr(training, name, state[name])
        training.best = -math.inf if state["best"] is None else float(state["best"])
    except CheckpointError:
        raise
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(
            f"{path} cannot be gone on from: {' '.join(str(error).split())[:300]}; remove it to use the one "
            "before, or begin anew with another `out` folder"
        ) from error


def _optimizer_tensors(training: Training) -> dict[str, Tensor]:
    """AdamW's state by the names of the parameters."""
    state = training.optimizer.state
    return {
        f"{name}@{key}": value
        for name, parameter in training.trained.named_parameters()
        for key, value in state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def _load_optimizer(training: Training, tensors: Mapping[str, Tensor]) -> None:
    by_name: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        name, _, field = key.rpartition("@")
        by_name.setdefault(name, {})[field] = value
    for name, parameter in training.trained.named_parameters():
        if parameter.requires_grad and name in by_name:
            training.optimizer.state[parameter] = {
                field: value if field == "step" else value.to(parameter.device)
                for field, value in by_name[name].items()
            }
