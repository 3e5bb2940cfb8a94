"""Stable Diffusion 1.5's parts: read from a diffusers folder, put together for training, written back as one.

Nothing here knows a width or a depth; any model of the same kinds of parts will do.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from trainkit.errors import ModelError
from trainkit.loss import ObjectiveConfig
from trainkit.model_folder import check_model_folder
from trainkit.modes import open_to_others
from trainkit.schedule import ScheduleConfig
from trainkit.text import ChunkMode, TextConfig, drop_skipped_layers, encode_chunks, put_back_layers

_SHAPES = 4096
"""More shapes than buckets x chunks can make."""

_NO_LIMIT = 10_000
"""transformers gives tokenizers whose files name no limit an enormous one; CLIP's is 77."""


class ModelConfig(BaseModel):
    """The base model and how its networks are run."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    base: Path
    """Folder of the base model in diffusers' format (unet/, vae/, text_encoder/, tokenizer/, scheduler/), or
    "demo-base" for the small one that ships with the package."""
    train_text_encoder: bool = True
    """False leaves the text encoder as it is."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: about a third slower, a fraction of the memory, same
    gradients."""
    compile: Literal["no", "blocks", "whole"] = "no"
    """torch.compile; needs a C++ compiler. "blocks" compiles the UNet's transformer blocks once, with the
    numbers of pixels and of tokens as symbols, so that new buckets and longer captions compile nothing.
    "whole" compiles the whole UNet anew for every shape (bucket x number of chunks): minutes for each."""
    channels_last: bool = False
    """Keep the UNet's and the VAE's convolutions in the memory layout that tensor cores prefer."""
    attention: Literal["sdpa", "eager"] = "sdpa"
    """"sdpa" is torch's fused attention; "eager" writes out the whole attention matrix, for comparison."""


class Denoiser(nn.Module):
    """Text encoder and UNet as one module, so that one DistributedDataParallel wrapper holds all that is
    trained."""

    def __init__(
        self, unet: nn.Module, text_encoder: nn.Module, chunk_mode: ChunkMode, train_text: bool
    ) -> None:
        super().__init__()
        self.unet = unet
        self.text_encoder = text_encoder.requires_grad_(train_text)
        self.chunk_mode = chunk_mode
        self.train_text = train_text

    def forward(self, x_t: Tensor, t_B: Tensor, text: Tensor) -> Tensor:
        """The UNet's output for noisy latents [B, 4, h, w], timesteps [B] and texts: token ids [B, n, 77], or
        what was made of them before, a context of floating-point numbers [B, L, d]."""
        encoded = text.is_floating_point()
        context = text if encoded else encode_chunks(self.text_encoder, text, self.chunk_mode)
        return self.unet(x_t, t_B, context).sample  # type: ignore[no-any-return]


@dataclass
class Model:
    """A loaded base model, its trainable part apart from what stays as it is."""

    denoiser: Denoiser
    vae: Any
    tokenizer: Any
    dropped_layers: nn.ModuleList
    """Layers of the text encoder that clip skip leaves out; put back on export."""
    scaling_factor: float
    """Latents are multiplied by this; 0.18215 for Stable Diffusion 1.5, read from the VAE's configuration."""


def load_model(config: ModelConfig, text: TextConfig) -> Model:
    """Load the parts in float32, drop the layers that clip skip leaves out, freeze what is not trained.

    Raises ModelError naming every missing part, or the part that could not be read.
    """
    problems = check_model_folder(config.base)
    if problems:
        raise ModelError("the base model cannot be used:\n" + "\n".join(f"  {p}" for p in problems))
    unet = _load(UNet2DConditionModel, config.base, "unet")
    vae = _load(AutoencoderKL, config.base, "vae").requires_grad_(False).eval()
    text_encoder = _load(CLIPTextModel, config.base, "text_encoder")
    tokenizer = load_tokenizer(config.base)
    try:
        dropped = drop_skipped_layers(text_encoder, text.clip_skip)
    except ValueError as error:
        raise ModelError(f"{config.base}: {error}") from error
    if config.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
        if config.train_text_encoder:
            _checkpoint_activations(text_encoder)
    denoiser = Denoiser(unet, text_encoder, text.chunk_mode, config.train_text_encoder)
    return Model(denoiser, vae, tokenizer, dropped, float(vae.config.scaling_factor))


def prepare_networks(model: Model, config: ModelConfig) -> None:
    """Memory layout, attention and compilation; after adapters are in their places."""
    unet: Any = model.denoiser.unet
    text_encoder: Any = model.denoiser.text_encoder
    if config.attention == "eager":
        unet.set_attn_processor(AttnProcessor())
        text_encoder.set_attn_implementation("eager")
    if config.channels_last:
        unet.to(memory_format=torch.channels_last)
        model.vae.to(memory_format=torch.channels_last)
    if config.compile == "blocks":
        unet.compile_repeated_blocks(dynamic=True)
    elif config.compile == "whole":
        # By default dynamo gives up after 8 shapes, says so once, and runs all others uncompiled.
        torch._dynamo.config.recompile_limit = _SHAPES
        torch._dynamo.config.accumulated_recompile_limit = _SHAPES
        unet.compile(dynamic=False)


def _checkpoint_activations(text_encoder: Any) -> None:
    """Under its newer name where transformers has that; the older one warns there."""
    if hasattr(text_encoder, "activation_checkpointing_enable"):
        text_encoder.activation_checkpointing_enable()
    else:
        text_encoder.gradient_checkpointing_enable()


def load_tokenizer(base: Path) -> Any:
    """The CLIP tokenizer of a model folder. Raises ModelError when it cannot be read."""
    try:
        tokenizer = CLIPTokenizer.from_pretrained(base / "tokenizer", local_files_only=True)
    except Exception as error:  # Whatever the libraries raise for a broken file, it is the file's fault.
        raise ModelError(f"{base / 'tokenizer'} cannot be read: {error}") from error
    if tokenizer.model_max_length > _NO_LIMIT:
        tokenizer.model_max_length = 77
    return tokenizer


def _load(kind: Any, base: Path, part: str) -> Any:
    """One network of a model folder, float32, safetensors only."""
    try:
        network, report = kind.from_pretrained(
            base / part,
            torch_dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            **({"low_cpu_mem_usage": False} if part != "text_encoder" else {}),
        )
    except Exception as error:
        raise ModelError(f"{base / part} cannot be read: {error}") from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"{base / part} lacks {len(missing)} weights, the first is {missing[0]!r}; the file is not whole"
        )
    return network


def scheduler_for(schedule: ScheduleConfig, objective: ObjectiveConfig) -> Any:
    """The sampler that fits the trained objective: DDIM on trailing timesteps, so that the first step sees
    pure noise."""
    return DDIMScheduler(
        num_train_timesteps=schedule.num_timesteps,
        beta_start=schedule.beta_start,
        beta_end=schedule.beta_end,
        beta_schedule=schedule.beta_schedule,
        prediction_type=objective.prediction,
        rescale_betas_zero_snr=schedule.zero_terminal_snr,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def make_pipeline(model: Model, schedule: ScheduleConfig, objective: ObjectiveConfig) -> Any:
    """A diffusers pipeline over the model's own networks (no copies)."""
    return StableDiffusionPipeline(
        vae=model.vae,
        text_encoder=model.denoiser.text_encoder,
        tokenizer=model.tokenizer,
        unet=model.denoiser.unet,
        scheduler=scheduler_for(schedule, objective),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def export_model(
    model: Model, schedule: ScheduleConfig, objective: ObjectiveConfig, text: TextConfig, folder: Path
) -> None:
    """Write a diffusers folder that StableDiffusionPipeline.from_pretrained loads, all or nothing.

    The layers that clip skip leaves out are put back for the export. ``trainkit.json`` beside the parts tells
    how captions were encoded, which diffusers' own files have no place for.
    """
    for leftover in folder.parent.glob(f".{folder.name}.*-*"):  # Of a process that was killed in here.
        shutil.rmtree(leftover, ignore_errors=True)
    partial = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    put_back_layers(model.denoiser.text_encoder, model.dropped_layers)
    try:
        make_pipeline(model, schedule, objective).save_pretrained(partial, safe_serialization=True)
        _forget_paths(partial)
        open_to_others(partial)
        (partial / "trainkit.json").write_text(
            json.dumps(text.model_dump(), indent=2) + "\n", encoding="utf-8"
        )
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise ModelError(f"the model could not be written to {folder}: {error}") from error
    finally:
        drop_skipped_layers(model.denoiser.text_encoder, text.clip_skip)
    replace_folder(partial, folder)


def _forget_paths(folder: Path) -> None:
    """Take the folder a part was loaded from out of the written configurations: it is nobody else's
    business."""
    for path in folder.rglob("*.json"):
        data = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(data, dict) and data.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def replace_folder(new: Path, folder: Path) -> None:
    """Put a finished folder in the place of an older one; the old one goes only after the new one stands."""
    old = folder.with_name(f".{folder.name}.old-{os.getpid()}")
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
