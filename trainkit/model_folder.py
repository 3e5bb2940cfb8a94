"""Whether a folder holds a model in diffusers' format, found out without loading its weights."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from safetensors import SafetensorError, safe_open

_NEEDED = {
    "unet": ("config.json",),
    "vae": ("config.json",),
    "text_encoder": ("config.json",),
    "tokenizer": ("tokenizer.json", "vocab.json"),
    "scheduler": ("scheduler_config.json",),
}
"""Part of a model folder -> configuration files of which one must be there."""

_NETWORKS = ("unet", "vae", "text_encoder")
"""The parts that hold weights."""

_LOADED = re.compile(r"(diffusion_pytorch_)?model(-\d{5}-of-\d{5})?\.safetensors")
"""Names of weight files that are loaded."""

_HEAD, _SAMPLE, _SAMPLES = 64 * 2**10, 4 * 2**10, 64
"""Bytes of a file's beginning and of one sample, and how many samples."""


def check_model_folder(folder: Path) -> list[str]:
    """What is wrong with a model folder, as lines; empty when every part is there. Reads no weights."""
    if not folder.is_dir():
        hint = "give a folder in diffusers' format"
        if folder.is_file():
            hint = (
                f"this is a single file; make a folder of it first: trainkit import {folder.name} -o FOLDER"
            )
        return [f"no model folder at {folder}: {hint}"]
    problems = []
    for part, configs in _NEEDED.items():
        if not (folder / part).is_dir():
            problems.append(f"{folder} lacks its {part}/ folder")
        elif not any((folder / part / name).is_file() for name in configs):
            problems.append(f"{folder / part} lacks {' or '.join(configs)}")
        elif part in _NETWORKS and not weight_files(folder / part):
            problems.append(f"{folder / part} holds no *.safetensors weights{_found_instead(folder / part)}")
    return problems or [*_cut_off(folder), *_mismatches(folder)]


def weight_files(part: Path) -> list[Path]:
    """The weight files that are loaded, in shards or in one; variants (fp16, non_ema) are not among them."""
    return sorted(p for p in part.glob("*.safetensors") if _LOADED.fullmatch(p.name))


def _found_instead(part: Path) -> str:
    if variants := sorted(part.glob("*.safetensors")):
        return f"; {variants[0].name} is a variant: save or rename it without the name of the variant"
    if list(part.glob("*.bin")):
        return "; only pickled .bin weights are there, which are never loaded: save them as safetensors"
    return ""


def _cut_off(folder: Path) -> list[str]:
    """Weight files that are not whole; opening one compares its header with the file's length."""
    problems = []
    for path in (path for part in _NETWORKS for path in weight_files(folder / part)):
        try:
            with safe_open(path, framework="pt"):
                pass
        except (OSError, SafetensorError) as error:
            problems.append(f"{path} cannot be read ({error}); fetch it again")
    return problems


def _mismatches(folder: Path) -> list[str]:
    """Parts that do not belong to one model, by their configurations."""
    try:
        unet, vae, text = (
            json.loads((folder / part / "config.json").read_text("utf-8")) for part in _NETWORKS
        )
        # What a file leaves out has the library's default.
        width, attended = text.get("hidden_size", 512), unet.get("cross_attention_dim", 1280)
        inputs, channels = unet.get("in_channels", 4), vae.get("latent_channels", 4)
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        return [f"{folder}: a config.json of {', '.join(_NETWORKS)} cannot be used ({error!r})"]
    problems = []
    if width != attended:
        problems.append(
            f"{folder}: the text encoder's width is {width}, but the UNet attends to {attended}; "
            "the parts belong to different models, or it is none of Stable Diffusion 1.x"
        )
    if inputs != channels:
        problems.append(
            f"{folder}: the UNet takes {inputs} channels, but latents have {channels}; "
            "inpainting and depth models cannot be trained"
        )
    return problems


def model_version(folder: Path) -> dict[str, str]:
    """What tells two base models apart, for each part, without reading all of their weights: a hash of the
    files' sizes, their first 64 KiB (the header, with the names) and 64 samples of 4 KiB from each."""
    return {
        part: _hash_of(files)
        for part in (*_NETWORKS, "tokenizer")
        if (files := weight_files(folder / part) or sorted((folder / part).glob("*.*")))
    }


def _hash_of(files: list[Path]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.name} {size} ".encode())
        with path.open("rb") as file:
            digest.update(file.read(_HEAD))
            for number in range(_SAMPLES if size > _HEAD else 0):
                file.seek(_HEAD + (size - _HEAD) * number // _SAMPLES)
                digest.update(file.read(_SAMPLE))
    return digest.hexdigest()
