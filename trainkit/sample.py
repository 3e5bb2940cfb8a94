"""Pictures from a model: DDIM on trailing timesteps from pure noise, with classifier-free guidance and its
rescale."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from trainkit.draws import generator
from trainkit.errors import TrainkitError
from trainkit.loss import ObjectiveConfig
from trainkit.models import Model, make_pipeline
from trainkit.schedule import ScheduleConfig
from trainkit.text import Tokens, encode_chunks


class PreviewConfig(BaseModel):
    """The samples drawn while training. Each prompt has noise of its own that stays the same for the whole
    run."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    prompts: tuple[str, ...] = ()
    """One sample each; none turns previews off."""
    every: int = Field(default=0, ge=0)
    """Samples seen between two previews; 0 means only at the end of the run."""
    width: int | None = Field(default=None, ge=8, multiple_of=8)
    """Width in pixels; None takes data.buckets.resolution."""
    height: int | None = Field(default=None, ge=8, multiple_of=8)
    """Height in pixels; None takes data.buckets.resolution."""
    steps: int = Field(default=25, ge=1, le=1000)
    """Sampling steps, trailing: the first is always the last timestep, the one with zero SNR."""
    guidance: float = Field(default=7.5, ge=1)
    """Classifier-free guidance; 1 turns it off."""
    guidance_rescale: float = Field(default=0.7, ge=0, le=1)
    """phi of Lin et al. (2023), section 3.4; 0.7 with guidance 7.5 is the paper's choice."""
    negative: str = ""
    """Negative prompt."""
    seed: int = 0
    """Seed of the noise."""


def check_prompts(config: PreviewConfig, tokens: Tokens) -> None:
    """Raise TrainkitError for a prompt that is too long, before hours of training, not after."""
    for name, prompt in [
        *((f"prompts.{i}", p) for i, p in enumerate(config.prompts)),
        ("negative", config.negative),
    ]:
        if (count := tokens.count(prompt)) > tokens.max_tokens:
            raise TrainkitError(
                f"preview.{name}: has {count} tokens, at most text.max_tokens = {tokens.max_tokens} fit; "
                "shorten it or raise text.max_tokens"
            )


@dataclass(frozen=True, slots=True)
class Request:
    """One picture to sample."""

    prompt: str
    number: int
    """The noise is addressed by this number."""


def sample_pictures(
    model: Model,
    tokens: Tokens,
    config: PreviewConfig,
    schedule: ScheduleConfig,
    objective: ObjectiveConfig,
    requests: list[Request],
    size: tuple[int, int],
    *,
    batch: int = 8,
) -> list[Image.Image]:
    """One picture of ``size`` (width, height) for every request, in order. The model's state is left as it
    was."""
    pipe = make_pipeline(model, schedule, objective)
    pipe.set_progress_bar_config(disable=True)
    pictures: list[Image.Image] = []
    with _evaluating(model.denoiser), torch.no_grad():
        for start in range(0, len(requests), batch):
            pictures += _sample_batch(pipe, model, tokens, config, requests[start : start + batch], size)
    return pictures


def _sample_batch(
    pipe: Any,
    model: Model,
    tokens: Tokens,
    config: PreviewConfig,
    requests: list[Request],
    size: tuple[int, int],
) -> list[Image.Image]:
    unet: Any = model.denoiser.unet
    device = unet.device
    width, height = size
    ids = tokens.chunks([r.prompt for r in requests] + [config.negative])
    context = encode_chunks(model.denoiser.text_encoder, ids.to(device), model.denoiser.chunk_mode)
    factor = pipe.vae_scale_factor
    shape = (unet.config.in_channels, height // factor, width // factor)
    noise = [torch.randn(shape, generator=generator(config.seed, "preview", r.number)) for r in requests]
    result: list[Image.Image] = pipe(
        prompt_embeds=context[:-1],
        negative_prompt_embeds=context[-1:].expand(len(requests), -1, -1),
        latents=torch.stack(noise).to(device, context.dtype),
        num_inference_steps=config.steps,
        guidance_scale=config.guidance,
        guidance_rescale=config.guidance_rescale,
        width=width,
        height=height,
    ).images
    return result


@contextlib.contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    was = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was)


def save_picture(image: Image.Image, path: Path) -> None:
    """Write a PNG under a temporary name and rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    image.save(partial, format="PNG")
    partial.replace(path)
