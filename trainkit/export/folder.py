"""Writing what a single file holds as a folder in diffusers' format."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from safetensors import safe_open
from torch import Tensor

from trainkit.errors import ModelError
from trainkit.export.importing import SingleFile
from trainkit.export.layout import Part, diffusers_shape
from trainkit.export.tensor_file import Entry, write_tensors
from trainkit.loss import ObjectiveConfig
from trainkit.models import replace_folder, scheduler_for


def write_model_folder(single: SingleFile, folder: Path) -> None:
    """Write a folder that StableDiffusionPipeline.from_pretrained and trainkit load, all or nothing.

    Weights become float32 and pass through memory one at a time. Raises ModelError when it cannot be written,
    or a weight is not finite.
    """
    for leftover in folder.parent.glob(f".{folder.name}.partial-*"):  # Of a process that was killed in here.
        shutil.rmtree(leftover, ignore_errors=True)
    partial = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    try:
        partial.mkdir(parents=True)
        _write_configs(single, partial)
        for part in single.networks:
            _write_weights(single, part, partial / part)
        replace_folder(partial, folder)
    except OSError as error:
        raise ModelError(
            f"the model could not be written to {folder}: {error.strerror or error}; choose a folder "
            "that can be written to"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(partial, ignore_errors=True)


def _write_configs(single: SingleFile, folder: Path) -> None:
    """Everything but the weights."""
    networks = single.networks
    pipeline: Any = StableDiffusionPipeline(
        vae=networks["vae"],
        text_encoder=networks["text_encoder"],
        tokenizer=single.tokenizer,
        unet=networks["unet"],
        scheduler=scheduler_for(single.schedule, ObjectiveConfig(prediction=single.objective.prediction)),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_config(folder)
    pipeline.scheduler.save_pretrained(folder / "scheduler")
    single.tokenizer.save_pretrained(folder / "tokenizer")
    for part in ("unet", "vae"):
        networks[part].save_config(folder / part)
    config = networks["text_encoder"].config
    config.architectures, config.dtype = ["CLIPTextModel"], "float32"
    config.save_pretrained(folder / "text_encoder")
    if single.text is not None:
        about = json.dumps(single.text.model_dump(), indent=2) + "\n"
        (folder / "trainkit.json").write_text(about, encoding="utf-8")


def _write_weights(single: SingleFile, part: Part, folder: Path) -> None:
    """A part's weights in one file, by diffusers' names."""
    names = {new: old for old, new in single.names[part].items()}
    path = folder / ("model.safetensors" if part == "text_encoder" else "diffusion_pytorch_model.safetensors")
    with safe_open(single.path, framework="pt") as file:
        entries = [
            Entry(
                new,
                torch.float32,
                diffusers_shape(names[new], tuple(file.get_slice(names[new]).get_shape())),
            )
            for new in sorted(names)
        ]

        def tensors() -> Iterator[Tensor]:
            for entry in entries:
                tensor: Tensor = file.get_tensor(names[entry.name]).float().reshape(entry.shape)
                if not torch.isfinite(tensor).all():
                    raise ModelError(
                        f"{single.path}: weight {names[entry.name]!r} holds values that are not finite; "
                        "the file is broken"
                    )
                yield tensor

        write_tensors(path, entries, tensors(), {"format": "pt"})
