"""A weights file: other weights for a model's networks, such as an average of them over the run.

One safetensors file whose names are those of ``Denoiser.state_dict()`` ("unet.…", "text_encoder.…"); its
metadata says what it is. It need not hold every tensor: what it lacks stays as it is in the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from trainkit.errors import ModelError, TrainkitError
from trainkit.modes import open_to_others
from trainkit.whole_file import whole_file

_SHOWN = 3
"""Names shown of a longer list."""


@dataclass(frozen=True)
class Overlay:
    """What a weights file brought."""

    replaced: int
    """Tensors of the model that now are the file's."""
    kept: tuple[str, ...]
    """Names of the model's tensors that the file does not hold, in the model's order."""
    about: dict[str, str]
    """The file's metadata."""


def overlay_weights(denoiser: nn.Module, path: Path) -> Overlay:
    """Copy the weights of a file into a ``Denoiser``, each in the model's own data type, all or nothing.

    Raises ModelError when the file cannot be read, holds tensors that the model does not have or has in
    another shape, or values that are not finite; the model then is as it was.
    """
    named = denoiser.state_dict()
    targets = {_short(name): tensor for name, tensor in named.items()}
    try:
        with safe_open(path, framework="pt") as file:
            about = dict(file.metadata() or {})
            found = {_short(name): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be read as a weights file (safetensors): {error}") from error
    if problem := _problem(found, targets):
        raise ModelError(f"{path} does not fit the model: {problem}")
    with torch.no_grad():
        for name, tensor in found.items():
            targets[name].copy_(tensor)
    kept = tuple(name for name in named if _short(name) not in found)
    return Overlay(len(found), kept, about)


def write_weights(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a weights file under a temporary name, flush it, and rename it.

    Raises TrainkitError when it cannot be written; a file that stood there before is then still whole.
    """
    whole = {key: tensor.cpu().contiguous() for key, tensor in tensors.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path, flushed=True, alone=True) as partial:
            save_file(whole, partial, dict(metadata))
            open_to_others(partial)
    except (OSError, SafetensorError) as error:
        raise TrainkitError(f"{path} could not be written: {error}; free some space and try again") from error


def _short(name: str) -> str:
    """A name without the level that transformers before 5.6 had inside of the text encoder."""
    return name.replace("text_encoder.text_model.", "text_encoder.", 1)


def _problem(found: dict[str, Tensor], targets: dict[str, Tensor]) -> str | None:
    """What is wrong with the tensors of a file, or None."""
    if not found:
        return "it holds no tensors"
    if unknown := [name for name in found if name not in targets]:
        return f"the model has no {_some(unknown)}; {_hint(unknown)}"
    shapes = [
        f"{name} is {list(tensor.shape)}, the model's {list(targets[name].shape)}"
        for name, tensor in found.items()
        if tensor.shape != targets[name].shape
    ]
    if shapes:
        return f"{_some(shapes)}; it was made from another base model"
    if broken := [name for name, tensor in found.items() if not torch.isfinite(tensor).all()]:
        return f"values of {_some(broken)} are not finite; take an earlier file"
    return None


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _hint(unknown: list[str]) -> str:
    """What a file with these names probably is."""
    if any(name.startswith(("model.diffusion_model.", "cond_stage_model.")) for name in unknown):
        return "this is a whole model in a single file: turn it into a folder with `trainkit import`"
    if any("lora" in name or "adapter" in name for name in unknown):
        return "this is an adapter (LoRA), not a weights file"
    if all(name.startswith("text_encoder.encoder.layers.") for name in unknown):
        return "these layers are left out by clip skip: use the clip skip that the file was made with"
    return 'a weights file holds names such as "unet.conv_in.weight"; take one that this run wrote'
