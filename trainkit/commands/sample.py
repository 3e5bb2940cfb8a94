"""``trainkit sample``: pictures from a model folder or a finished run, sampled as the model was trained."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from trainkit.errors import ModelError, TrainkitError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from trainkit.models import Model

    M = TypeVar("M", bound=BaseModel)

SAMPLERS = ("ddim", "euler", "dpmpp_2m")
"""As in trainkit.samplers, which is not imported for a word of help."""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("sample", help="pictures from a model folder or a finished run")
    parser.add_argument(
        "model", type=Path, metavar="MODEL", help="a run's folder, a diffusers folder, or demo-base"
    )
    parser.add_argument("prompts", nargs="*", metavar="PROMPT", help="one picture each; taken literally")
    parser.add_argument("--prompts", dest="file", type=Path, metavar="FILE", help="more, one a line (UTF-8)")
    parser.add_argument(
        "-o", "--out", type=Path, default=Path("samples"), help="folder for the pictures (default samples)"
    )
    parser.add_argument("--size", metavar="WxH", help="in pixels, such as 512x768 (default: the model's own)")
    parser.add_argument("--sampler", default="ddim", metavar="NAME", help=f"{', '.join(SAMPLERS)}")
    parser.add_argument("--steps", type=int, default=25, metavar="N", help="sampling steps (default 25)")
    parser.add_argument("--guidance", type=float, default=7.5, metavar="W", help="default 7.5; 1 is none")
    parser.add_argument(
        "--guidance-rescale", type=float, default=0.7, metavar="PHI", help="0 to 1 (default 0.7)"
    )
    parser.add_argument("--negative", default="", metavar="TEXT", help="negative prompt")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the first; the next has N + 1")
    parser.add_argument(
        "--clip-skip", type=int, metavar="N", help="default: what the model was trained with, else 1"
    )
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="weights over the model's, such as RUN/ema/0.100.safetensors",
    )
    parser.add_argument("--batch", type=int, default=8, metavar="N", help="pictures at a time (default 8)")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from trainkit.demo import DEMO_BASE, base_folder

    folder = base_folder() if options.model == Path(DEMO_BASE) else _model_folder(options.model)
    name = options.model.resolve().name if folder.name != "base" else DEMO_BASE
    prompts = _prompts(options)
    size = _size(options.size) if options.size else None
    if options.batch < 1:
        raise TrainkitError(f"--batch is {options.batch}, must be at least 1")
    sheet = _sample(options, folder, name, prompts, size)
    print(f"{len(prompts)} {'picture' if len(prompts) == 1 else 'pictures'} and the sheet {sheet}")
    return 0


def _sample(
    options: argparse.Namespace, folder: Path, name: str, prompts: list[str], size: tuple[int, int] | None
) -> Path:
    """Sample every prompt into ``options.out``; returns the path of the sheet."""
    import sys

    from trainkit.grid import picture_grid
    from trainkit.models import ModelConfig, load_model
    from trainkit.sample import PreviewConfig, Request, sample_pictures, save_picture
    from trainkit.text import TextConfig, Tokens
    from trainkit.trained_as import read_objective

    schedule, objective, text = read_objective(folder)
    if options.clip_skip is not None:
        text = _checked(TextConfig, {**text.model_dump(), "clip_skip": options.clip_skip})
    named = ("sampler", "steps", "guidance", "guidance_rescale", "negative", "seed")
    config = _checked(PreviewConfig, {key: getattr(options, key) for key in named})
    if config.steps > schedule.num_timesteps:
        raise TrainkitError(f"--steps is {config.steps}, must be 1 to {schedule.num_timesteps}")
    model = load_model(ModelConfig(base=folder, train_text_encoder=False), text)
    if options.weights:
        name = _overlay(model, options.weights, name)
    _to_device(model)
    requests = [Request(prompt, number) for number, prompt in enumerate(prompts)]
    tokens = Tokens(model.tokenizer, text.max_tokens, text.backtrack)
    pictures = sample_pictures(
        model,
        tokens,
        config,
        schedule,
        objective,
        requests,
        size or _own_size(model),
        batch=options.batch,
        model_name=name,
        progress=sys.stderr.isatty(),
    )
    for request, picture in zip(requests, pictures, strict=True):
        slug = re.sub(r"[^\w]+", "-", request.prompt.lower()).strip("-")[:60] or "empty"
        save_picture(picture, options.out / f"{request.number:03d}-{slug}.png")
    sheet: Path = options.out / "sheet.png"
    save_picture(picture_grid(pictures, prompts), sheet)
    return sheet


def _model_folder(given: Path) -> Path:
    """The diffusers folder of a run's folder or of itself. Raises ModelError when there is none."""
    from trainkit.model_folder import check_model_folder

    if (given / "run.json").is_file() and not (given / "unet").is_dir():
        if not (given / "model").is_dir():
            raise ModelError(
                f"the run in {given} has not written its model yet; train it to the end, or look at its "
                "previews"
            )
        given = given / "model"
    if problems := check_model_folder(given):
        raise ModelError("the model cannot be used:\n" + "\n".join(f"  {p}" for p in problems))
    return given


def _prompts(options: argparse.Namespace) -> list[str]:
    """The prompts of the command line, then those of the file; empty lines of a file are left out."""
    prompts: list[str] = list(options.prompts)
    if options.file is not None:
        try:
            lines = options.file.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise TrainkitError(f"--prompts {options.file}: is not UTF-8 text ({error})") from error
        prompts += [line.strip() for line in lines if line.strip()]
    if not prompts:
        where = f"{options.file} holds no prompt; write" if options.file else "no prompt: give"
        raise TrainkitError(f'{where} at least one; "" is the empty prompt on the command line')
    for text in [*prompts, options.negative]:
        if not text.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in text):
            raise TrainkitError(f"prompt {text!r} is not valid Unicode; write it in UTF-8")
    return prompts


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if not match or any(int(side) == 0 or int(side) % 8 for side in match.groups()):
        raise TrainkitError(f"--size is {text!r}, must be WIDTHxHEIGHT in multiples of 8, such as 512x768")
    return int(match[1]), int(match[2])


def _own_size(model: Model) -> tuple[int, int]:
    """The square that the UNet's configuration names."""
    unet: Any = model.denoiser.unet
    side = int(unet.config.sample_size) * 2 ** (len(model.vae.config.block_out_channels) - 1)
    return side, side


def _overlay(model: Model, weights: Path, name: str) -> str:
    """Put a weights file over the model and say what stayed; returns the name of what is sampled now."""
    from trainkit.weights_file import overlay_weights

    overlay = overlay_weights(model.denoiser, weights)
    if overlay.kept:
        print(
            f"{weights} holds {overlay.replaced} tensors; {len(overlay.kept)} stay the model's, the first is "
            f"{overlay.kept[0]}"
        )
    return f"{name} {weights.stem}"


def _to_device(model: Model) -> None:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.denoiser.to(device)
    model.vae.to(device)


def _checked(kind: type[M], values: dict[str, Any]) -> M:
    """A configuration from command-line values, its errors named by option."""
    from pydantic import ValidationError

    try:
        return kind.model_validate(values)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            option = str(problem["loc"][0]).replace("_", "-")
            allowed = problem["msg"].replace("Input should be ", "must be ")
            lines.append(f"--{option} is {problem['input']!r}: {allowed}")
        raise TrainkitError("; ".join(lines)) from None
