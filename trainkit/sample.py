"""Pictures from a model: any of the samplers on trailing timesteps from pure noise, with classifier-free
guidance and its rescale.

A picture is a function of its request alone. Its noise is drawn on the CPU from its own seed, its prompt is
cut into as many chunks as it and its negative prompt need, and requests of one shape share a batch: neither
the size of the batch nor the other pictures in it matter, but for the last bits of floating point.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from tqdm import tqdm

from trainkit import __version__
from trainkit.draws import generator
from trainkit.errors import TrainkitError
from trainkit.loss import ObjectiveConfig
from trainkit.models import Model
from trainkit.png_text import KEY, parameters_text, text_chunk
from trainkit.progress import bar_style
from trainkit.samplers import SamplerName, make_sampler, rescaled_guidance
from trainkit.schedule import ScheduleConfig
from trainkit.text import Tokens, encode_chunks
from trainkit.whole_file import whole_file

_DECODED_AT_ONCE = 1024 * 1024
"""Pixels that the VAE decodes in one go: memory stays that of one large picture, however large the batch."""
_NAMES: dict[SamplerName, tuple[str, str | None]] = {
    "ddim": ("DDIM", None),
    "euler": ("Euler", "SGM Uniform"),
    "dpmpp_2m": ("DPM++ 2M", "SGM Uniform"),
}
"""What front ends call a sampler, and the schedule type that is their nearest to trailing timesteps."""


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
    sampler: SamplerName = "ddim"
    """"ddim", "euler" or "dpmpp_2m" (DPM++ 2M), all without added noise. DPM++ 2M needs the fewest steps."""
    steps: int = Field(default=25, ge=1, le=1000)
    """Sampling steps, trailing: the first is always the last timestep, the one with zero SNR."""
    guidance: float = Field(default=7.5, ge=1)
    """Classifier-free guidance; 1 turns it off."""
    guidance_rescale: float = Field(default=0.7, ge=0, le=1)
    """phi of Lin et al. (2023), section 3.4; 0.7 with guidance 7.5 is the paper's choice."""
    negative: str = ""
    """Negative prompt."""
    seed: int = 0
    """Seed of the first picture's noise; the next has the next seed, as in front ends."""


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
    """The seed of its noise is ``PreviewConfig.seed`` plus this."""
    negative: str | None = None
    """Its own negative prompt; None takes the configuration's."""
    size: tuple[int, int] | None = None
    """Its own (width, height) in pixels, multiples of 8; None takes the common size."""


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
    model_name: str = "",
    progress: bool = False,
) -> list[Image.Image]:
    """One picture for every request, in order, of ``size`` (width, height) where the request has none.

    Each carries the text that front ends write into PNG files as ``info["parameters"]``. The model's state is
    left as it was. Raises TrainkitError for a prompt that is too long, a size that is no multiple of the
    VAE's pixels per latent pixel, and for pictures that are not finite, naming their prompts.
    """
    factor = 2 ** (len(model.vae.config.block_out_channels) - 1)
    groups: dict[tuple[tuple[int, int], int], list[int]] = {}
    for i, request in enumerate(requests):
        width, height = request.size or size
        if width % factor or height % factor or min(width, height) < factor:
            raise TrainkitError(f"size is {width}x{height}, width and height must be multiples of {factor}")
        chunks = max(tokens.num_chunks(text) for text in _texts(request, config))
        groups.setdefault(((width, height), chunks), []).append(i)
    pictures: dict[int, Image.Image] = {}
    bar = tqdm(total=len(requests), unit="picture", disable=not progress, **bar_style())
    with bar, _evaluating(model.denoiser), torch.no_grad():
        for (wanted, chunks), members in groups.items():
            for start in range(0, len(members), batch):
                part = members[start : start + batch]
                asked = [requests[i] for i in part]
                sampler = make_sampler(config.sampler, schedule, objective, config.steps, _device(model))
                context = _context(model, tokens, config, asked, chunks)
                noise = _noise(model, config, asked, (wanted[1] // factor, wanted[0] // factor))
                latents = _denoise(model, sampler, config, context, noise)
                for i, picture in zip(part, _decode(model, latents, asked), strict=True):
                    settings = _settings(model, config, schedule, requests[i], wanted, model_name)
                    prompt, negative = _texts(requests[i], config)
                    picture.info[KEY] = parameters_text(prompt, negative, settings)
                    pictures[i] = picture
                bar.update(len(part))
    return [pictures[i] for i in range(len(requests))]


def _texts(request: Request, config: PreviewConfig) -> tuple[str, str]:
    """(prompt, negative prompt)."""
    return request.prompt, config.negative if request.negative is None else request.negative


def _device(model: Model) -> torch.device:
    return next(model.denoiser.parameters()).device


def _context(
    model: Model, tokens: Tokens, config: PreviewConfig, requests: list[Request], chunks: int
) -> Tensor:
    """What the UNet attends to, [2 B, L, d]: the prompts, then the negative prompts, all of ``chunks``
    chunks.

    Without guidance [B, L, d], the prompts alone.
    """
    pairs = [_texts(request, config) for request in requests]
    texts = [prompt for prompt, _ in pairs]
    if config.guidance > 1:
        texts += [negative for _, negative in pairs]
    different = list(dict.fromkeys(texts))
    ids = tokens.chunks(different, num_chunks=chunks).to(_device(model))
    context = encode_chunks(model.denoiser.text_encoder, ids, model.denoiser.chunk_mode)
    return context[[different.index(text) for text in texts]]


def _noise(model: Model, config: PreviewConfig, requests: list[Request], size: tuple[int, int]) -> Tensor:
    """Each request's own noise, [B, 4, h, w], the same on every device."""
    shape = (int(model.vae.config.latent_channels), *size)
    rows = [torch.randn(shape, generator=generator(config.seed + r.number, "preview")) for r in requests]
    return torch.stack(rows).to(_device(model))


def _denoise(model: Model, sampler: Any, config: PreviewConfig, context: Tensor, noise: Tensor) -> Tensor:
    """From noise to latents, [B, 4, h, w]."""
    unet = model.denoiser.unet
    x: Tensor = noise * sampler.init_noise_sigma
    for t in sampler.timesteps:
        shown = sampler.scale_model_input(x, t).to(context.dtype)
        if config.guidance > 1:
            cond, uncond = unet(torch.cat([shown, shown]), t, context).sample.float().chunk(2)
            prediction = rescaled_guidance(cond, uncond, config.guidance, config.guidance_rescale)
        else:
            prediction = unet(shown, t, context).sample.float()
        x = sampler.step(prediction, t, x).prev_sample
    return x


def _decode(model: Model, latents: Tensor, requests: list[Request]) -> list[Image.Image]:
    """Pictures of latents. Raises TrainkitError naming the prompts of those that are not finite."""
    factor = 2 ** (len(model.vae.config.block_out_channels) - 1)
    height, width = (side * factor for side in latents.shape[2:])
    pictures: list[Image.Image] = []
    broken: list[str] = []
    scaled: Tensor = (latents / model.scaling_factor).to(model.vae.dtype)
    at_once = max(1, _DECODED_AT_ONCE // (width * height))
    for start in range(0, len(scaled), at_once):
        part = scaled[start : start + at_once]
        for pixels in model.vae.decode(part).sample.float().cpu():
            if not torch.isfinite(pixels).all():
                broken.append(repr(requests[len(pictures)].prompt))
            bytes_HWC = ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().nan_to_num().byte().permute(1, 2, 0)
            pictures.append(Image.fromarray(bytes_HWC.numpy()))
    if broken:
        raise TrainkitError(
            f"the picture for prompt {', '.join(broken)} is not finite: the weights are broken, or too large "
            "for their data type; sample an earlier checkpoint or average, and look at the loss in log.jsonl"
        )
    return pictures


def _settings(
    model: Model,
    config: PreviewConfig,
    schedule: ScheduleConfig,
    request: Request,
    size: tuple[int, int],
    model_name: str,
) -> dict[str, object]:
    """What front ends write beside the prompts, under their names and in their order."""
    sampler, schedule_type = _NAMES[config.sampler]
    clip_skip = len(model.dropped_layers) + 1
    return {
        "Steps": config.steps,
        "Sampler": sampler,
        "Schedule type": schedule_type,
        "CFG scale": config.guidance,
        "Seed": config.seed + request.number,
        "Size": f"{size[0]}x{size[1]}",
        "Model": model_name,
        "Clip skip": clip_skip if clip_skip > 1 else None,
        "CFG Rescale": config.guidance_rescale if config.guidance > 1 else None,
        "Noise Schedule": "Zero Terminal SNR" if schedule.zero_terminal_snr else None,
        "Version": f"trainkit {__version__}",
    }


@contextlib.contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    was = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was)


def save_picture(image: Image.Image, path: Path) -> None:
    """Write a PNG, its ``info["parameters"]`` within, under a temporary name and rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        image.save(partial, format="PNG", pnginfo=text_chunk(image.info[KEY]) if KEY in image.info else None)
