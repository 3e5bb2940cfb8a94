"""``trainkit sample``: pictures from a finished model folder, sampled as the model was trained."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, ValidationError

from trainkit.errors import ModelError, TrainkitError
from trainkit.grid import picture_grid
from trainkit.loss import ObjectiveConfig
from trainkit.model_folder import check_model_folder
from trainkit.models import ModelConfig, load_model
from trainkit.sample import PreviewConfig, Request, sample_pictures, save_picture
from trainkit.schedule import ScheduleConfig
from trainkit.text import TextConfig, Tokens

M = TypeVar("M", bound=BaseModel)


def read_objective(folder: Path) -> tuple[ScheduleConfig, ObjectiveConfig, TextConfig]:
    """How a model folder was trained, from its scheduler's configuration and trainkit.json.

    A folder that trainkit did not write has no trainkit.json; then captions are encoded with clip skip 1.
    """
    path = folder / "scheduler" / "scheduler_config.json"
    try:
        scheduler: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        schedule = ScheduleConfig(
            num_timesteps=scheduler.get("num_train_timesteps", 1000),
            beta_start=scheduler["beta_start"],
            beta_end=scheduler["beta_end"],
            beta_schedule=scheduler["beta_schedule"],
            zero_terminal_snr=scheduler.get("rescale_betas_zero_snr", False),
        )
        objective = ObjectiveConfig(prediction=scheduler.get("prediction_type", "epsilon"))
    except (OSError, ValueError, KeyError, ValidationError) as error:
        raise ModelError(f"{path} cannot be used: {error}") from error
    about = folder / "trainkit.json"
    text = TextConfig(clip_skip=1)
    if about.is_file():
        text = TextConfig.model_validate_json(about.read_text(encoding="utf-8"))
    return schedule, objective, text


def sample_to_folder(options: argparse.Namespace) -> Path:
    """Sample every prompt into ``options.out``; returns the path of the sheet."""
    problems = check_model_folder(options.model)
    if problems:
        raise ModelError("the model cannot be used:\n" + "\n".join(f"  {p}" for p in problems))
    schedule, objective, text = read_objective(options.model)
    if options.clip_skip is not None:
        text = _checked(TextConfig, **{**text.model_dump(), "clip_skip": options.clip_skip})
    config = _checked(
        PreviewConfig,
        steps=options.steps,
        guidance=options.guidance,
        guidance_rescale=options.guidance_rescale,
        negative=options.negative,
        seed=options.seed,
    )
    model = load_model(ModelConfig(base=options.model, train_text_encoder=False), text)
    model.denoiser.to("cuda" if torch.cuda.is_available() else "cpu")
    model.vae.to(next(model.denoiser.parameters()).device)
    unet: Any = model.denoiser.unet
    side = int(unet.config.sample_size) * 2 ** (len(model.vae.config.block_out_channels) - 1)
    size = _size(options.size) if options.size else (side, side)
    requests = [Request(prompt, number) for number, prompt in enumerate(options.prompts)]
    tokens = Tokens(model.tokenizer, text.max_tokens, text.backtrack)
    pictures = sample_pictures(model, tokens, config, schedule, objective, requests, size)
    for request, picture in zip(requests, pictures, strict=True):
        slug = re.sub(r"[^a-z0-9]+", "-", request.prompt.lower()).strip("-")[:60] or "empty"
        save_picture(picture, options.out / f"{request.number:03d}-{slug}.png")
    sheet: Path = options.out / "sheet.png"
    save_picture(picture_grid(pictures, options.prompts), sheet)
    return sheet


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match or any(int(side) == 0 or int(side) % 8 for side in match.groups()):
        raise TrainkitError(f"--size is {text!r}, must be WIDTHxHEIGHT in multiples of 8, such as 512x768")
    return int(match[1]), int(match[2])


def _checked(kind: type[M], **values: Any) -> M:
    """A configuration from command-line values, its errors named by option."""
    try:
        return kind(**values)
    except ValidationError as error:
        lines = [
            f"--{str(e['loc'][0]).replace('_', '-')} is {e['input']!r}: {e['msg']}" for e in error.errors()
        ]
        raise TrainkitError("; ".join(lines)) from None
