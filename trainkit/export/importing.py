"""Reading a single file: everything about it but its weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from transformers import CLIPTextConfig, CLIPTextModel

from trainkit.errors import ModelError
from trainkit.export.architecture import (
    Shapes,
    part_shapes,
    split_parts,
    text_config,
    unet_config,
    vae_config,
)
from trainkit.export.layout import Part
from trainkit.export.prediction import Objective, find_objective, own_metadata
from trainkit.export.vocabulary import clip_tokenizer
from trainkit.models import load_tokenizer
from trainkit.schedule import ScheduleConfig
from trainkit.text import TextConfig

_PICKLES = (".ckpt", ".pt", ".pth", ".bin")


@dataclass(frozen=True)
class SingleFile:
    """A single file, read but for its weights."""

    path: Path
    names: dict[Part, dict[str, str]]
    """For every part its names in the file -> diffusers' names."""
    networks: dict[Part, Any]
    """The networks, without memory for their weights."""
    tokenizer: Any
    objective: Objective
    schedule: ScheduleConfig
    text: TextConfig | None
    """How captions are encoded; None when the file does not say."""
    notes: tuple[str, ...]
    """What the user should read."""


def read_single_file(
    path: Path,
    *,
    prediction: str | None = None,
    zero_terminal_snr: bool | None = None,
    tokenizer: Path | None = None,
    like: Path | None = None,
) -> SingleFile:
    """Find out what a single file holds.

    ``prediction`` ("v" or "epsilon") and ``zero_terminal_snr`` overrule what it says of itself. ``tokenizer``
    is a folder whose tokenizer is used in place of CLIP's own; ``like`` a model folder of the same
    architecture, whose configurations and tokenizer are used. Raises ModelError when the file is no Stable
    Diffusion 1.x model, not whole, or nobody says what it predicts.
    """
    metadata, shapes = _header(path)
    try:
        names, left_over = split_parts(shapes)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    with safe_open(path, framework="pt") as file:
        objective = find_objective(
            path, metadata, set(shapes), file.get_tensor, prediction, zero_terminal_snr
        )
    own = own_metadata(metadata)
    networks = {}
    for part in names:
        wanted = part_shapes(part, names[part], shapes)
        networks[part] = _network(path, part, _config(path, part, own, like, wanted))
        _compare(path, part, networks[part], wanted)
    words = _tokenizer(tokenizer or like)
    if (rows := networks["text_encoder"].config.vocab_size) != len(words):
        raise ModelError(
            f"{path}: the text encoder knows {rows} tokens, the tokenizer {len(words)}; give the model's own "
            "with --tokenizer FOLDER"
        )
    notes = list(objective.notes)
    if left_over:
        more = f" and {len(left_over) - 5} more" if len(left_over) > 5 else ""
        notes.append(f"left out, no part of the model has them: {', '.join(left_over[:5])}{more}")
    text = _text(own, metadata)
    if text is not None:
        notes.append(f"clip skip {text.clip_skip}: says its metadata")
    return SingleFile(path, names, networks, words, objective, _schedule(own, objective), text, tuple(notes))


def _header(path: Path) -> tuple[dict[str, str], Shapes]:
    if path.suffix in _PICKLES:
        raise ModelError(
            f"{path} is a pickle, which runs whatever code it holds when it is opened, and is never read; "
            "get the .safetensors file of the same model, or have it converted on a machine that has nothing "
            "to lose"
        )
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            return dict(file.metadata() or {}), shapes
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be read as safetensors: {error}") from error


def _config(path: Path, part: Part, own: dict[str, Any], like: Path | None, shapes: Shapes) -> dict[str, Any]:
    """A network's configuration: of the given folder, of the file's own metadata, or by its shapes."""
    if like is not None:
        try:
            found: dict[str, Any] = json.loads((like / part / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ModelError(f"--like: {like / part / 'config.json'} cannot be read: {error}") from error
        return found
    if isinstance(known := own.get(part), dict):
        return known
    try:
        match part:
            case "unet":
                return unet_config(shapes)
            case "vae":
                return vae_config(shapes)
            case "text_encoder":
                return text_config(shapes)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def _network(path: Path, part: Part, config: dict[str, Any]) -> Any:
    """The network of a configuration, on no device. Raises ModelError when there is no such network."""
    config = {key: value for key, value in config.items() if key != "_name_or_path"}
    try:
        with torch.device("meta"):
            match part:
                case "unet":
                    return UNet2DConditionModel.from_config(config)
                case "vae":
                    return AutoencoderKL.from_config(config)
                case "text_encoder":
                    return CLIPTextModel(CLIPTextConfig.from_dict(config))
    except Exception as error:  # Whatever the libraries raise for values that do not fit together.
        raise ModelError(
            f"{path}: there is no {part} with its shapes ({error}); if the model is of another size than "
            "Stable Diffusion 1's, give a folder with the right configurations: --like FOLDER"
        ) from error


def _compare(path: Path, part: Part, network: Any, shapes: Shapes) -> None:
    """Raise ModelError unless the file holds exactly the network's weights."""
    needed = {
        name.removeprefix("text_model."): tuple(tensor.shape) for name, tensor in network.state_dict().items()
    }
    if missing := sorted(needed.keys() - shapes.keys()):
        raise ModelError(
            f"{path} lacks {len(missing)} weights of the {part}, the first is {missing[0]!r}; the file "
            "is not whole"
        )
    if unknown := sorted(shapes.keys() - needed.keys()):
        raise ModelError(f"{path}: the {part} has no place for {unknown[0]!r}; it is of another architecture")
    for name, shape in needed.items():
        if shapes[name] != shape:
            raise ModelError(
                f"{path}: {name!r} of the {part} has shape {list(shapes[name])}, its configuration says "
                f"{list(shape)}"
            )


def _tokenizer(folder: Path | None) -> Any:
    if folder is None:
        return clip_tokenizer()
    return load_tokenizer(folder if (folder / "tokenizer").is_dir() else folder.parent)


def _schedule(own: dict[str, Any], objective: Objective) -> ScheduleConfig:
    try:
        schedule = ScheduleConfig.model_validate(own.get("schedule", {}))
    except ValidationError:
        schedule = ScheduleConfig()
    return schedule.model_copy(update={"zero_terminal_snr": objective.zero_terminal_snr})


def _text(own: dict[str, Any], metadata: dict[str, str]) -> TextConfig | None:
    """How captions are encoded, as far as the file says."""
    said = metadata.get("modelspec.encoder_layer") or metadata.get("ss_clip_skip") or ""
    try:
        if "text" in own:
            return TextConfig.model_validate(own["text"])
        return TextConfig(clip_skip=int(said)) if said.isdecimal() else None
    except ValidationError:
        return None
