"""A model folder as one safetensors file in the original layout of Stable Diffusion 1.x.

Weights are read, renamed, cast and written one at a time; the largest of the true-size model, the token
embedding, takes 152 MB in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from trainkit.errors import ModelError
from trainkit.export.layout import newer_name, original_names, original_shape
from trainkit.export.source import PARTS
from trainkit.export.tensor_file import DTYPES, Entry, write_tensors
from trainkit.model_folder import weight_files

HASH_KEY = "modelspec.hash_sha256"
MARKERS = ("v_pred", "ztsnr")
"""Names of the empty tensors by which front ends know v-prediction and zero terminal SNR."""

_NO_WEIGHT = ("position_ids",)
"""Ends of names of tensors that are no weights: older text encoders keep the numbers 0 to 76 as one."""


@dataclass(frozen=True, slots=True)
class Weight:
    """Where one weight of the single file comes from."""

    name: str
    """In the single file."""
    shape: tuple[int, ...]
    """In the single file."""
    file: Path
    key: str
    """In ``file``."""


def find_weights(folder: Path, overlay: Path | None = None) -> list[Weight]:
    """Every weight of a model folder by its name in the single file, sorted; those that ``overlay`` (a
    weights file) holds are taken from there.

    Raises ModelError for a weight that the layout has no place for, and for one in the overlay that the model
    does not have or has in another shape.
    """
    found: dict[str, Weight] = {}
    today: dict[str, str] = {}
    for part in PARTS:
        places = {
            key: (path, shape)
            for path in weight_files(folder / part)
            for key, shape in _shapes(path).items()
            if not key.endswith(_NO_WEIGHT)
        }
        for key, name in original_names(part, places).items():
            path, shape = places[key]
            found[name] = Weight(name, original_shape(name, shape), path, key)
            today[f"{part}.{newer_name(part, key)}"] = name
    if overlay is not None:
        found |= _overlaid(found, today, overlay)
    return [found[name] for name in sorted(found)]


def write_single_file(
    path: Path,
    weights: list[Weight],
    metadata: dict[str, str],
    *,
    dtype: str = "fp32",
    markers: tuple[str, ...] = (),
) -> str:
    """Write the file, all or nothing; returns the SHA-256 of its tensors, which its metadata also holds.

    ``dtype`` is "fp32", "fp16" or "bf16". ``markers`` are names of empty float32 tensors to add. Raises
    ModelError for a weight that is not finite, or too large for float16, and when the file cannot be written.
    """
    kind = DTYPES[dtype]
    entries = [Entry(name, torch.float32, (0,)) for name in markers]
    entries += [Entry(weight.name, kind, weight.shape) for weight in weights]
    with ExitStack() as stack:
        return write_tensors(path, entries, _tensors(stack, weights, kind, len(markers)), metadata, HASH_KEY)


def _tensors(
    stack: ExitStack, weights: list[Weight], dtype: torch.dtype, num_markers: int
) -> Iterator[Tensor]:
    """The tensors in the order of their entries."""
    yield from (torch.empty(0) for _ in range(num_markers))
    opened: dict[Path, Any] = {}
    for weight in weights:
        if weight.file not in opened:
            opened[weight.file] = stack.enter_context(safe_open(weight.file, framework="pt"))
        tensor: Tensor = opened[weight.file].get_tensor(weight.key)
        yield _cast(weight, tensor, dtype).reshape(weight.shape)


def _cast(weight: Weight, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    cast = tensor.to(dtype)
    if torch.isfinite(cast).all():
        return cast
    where = f"{weight.key!r} of {weight.file}"
    if not torch.isfinite(tensor).all():
        raise ModelError(
            f"weight {where} holds values that are not finite; the model is broken, take an earlier one"
        )
    raise ModelError(
        f"weight {where} reaches {tensor.abs().max().item():g}, more than {torch.finfo(dtype).max:g}, the "
        f"largest number of {str(dtype).removeprefix('torch.')}; use --dtype bf16 or fp32"
    )


def _overlaid(model: dict[str, Weight], today: dict[str, str], path: Path) -> dict[str, Weight]:
    """What a weights file brings, by name in the single file; ``today`` maps its names to those."""
    found: dict[str, Weight] = {}
    for key, shape in _shapes(path).items():
        name = today.get(key.replace("text_encoder.text_model.", "text_encoder.", 1))
        if name is None or not key.startswith(("unet.", "text_encoder.")):
            raise ModelError(
                f"{path}: the model has no {key!r}; a weights file holds names such as "
                "'unet.conv_in.weight' and "
                "belongs to the run that wrote it"
            )
        if original_shape(name, shape) != model[name].shape:
            raise ModelError(
                f"{path}: {key!r} has shape {list(shape)}, the model's has {list(model[name].shape)}; it "
                "was made "
                "from another base model"
            )
        found[name] = Weight(name, model[name].shape, path, key)
    if not found:
        raise ModelError(f"{path} holds no weights")
    return found


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of a file. Raises ModelError when it cannot be read."""
    try:
        with safe_open(path, framework="pt") as file:
            return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be read as safetensors: {error}") from error
