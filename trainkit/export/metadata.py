"""What a single file says about itself in its header.

Two families of keys, all of them text: the modelspec standard
(https://github.com/Stability-AI/ModelSpec, version 1.0.1) and ``ss_*``, the summary of a training that the
best-known trainer writes for its adapters and that model browsers show. Only what is known is written. A
third key, ``trainkit.model``, holds the networks' configurations, which cannot all be read from the weights'
shapes (numbers of heads and groups), so that ``trainkit import`` gives back the very same folder.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trainkit import __version__
from trainkit.export.recipe import find_recipe
from trainkit.export.source import Source, phases

MODEL_KEY = "trainkit.model"
"""Under this name the metadata holds the configurations of the networks, the scheduler and the captions."""


@dataclass(frozen=True, slots=True)
class About:
    """What only its maker can say about a model. Empty text is left out."""

    title: str = ""
    """The file's name without its ending, if empty."""
    author: str = ""
    license: str = ""
    """A licence's short name, as the hub lists them ("creativeml-openrail-m"), a link, or its text."""
    trigger: str = ""
    """Words that a prompt needs."""
    description: str = ""
    tags: tuple[str, ...] = ()
    """Words under which the model is to be found."""
    tag_frequency: bool = True
    """False leaves out which tags the data set holds and how often, and its folders' names."""


def make_metadata(source: Source, about: About, name: str, dtype: str) -> dict[str, str]:
    """The metadata of a single file called ``name`` (without its ending); the hash comes with the weights."""
    return {
        "format": "pt",
        **_modelspec(source, about, name),
        **(_summary(source, about, name) if source.run else {}),
        MODEL_KEY: json.dumps(_configurations(source), separators=(",", ":")),
        "trainkit.version": __version__,
        "trainkit.dtype": dtype,
    }


def usage_hint(source: Source) -> str:
    """One sentence of what a sampler must be told; empty for a model that needs nothing."""
    hints = []
    if source.objective.prediction == "v_prediction":
        hints.append("v-prediction")
    if source.schedule.zero_terminal_snr:
        hints += ["zero terminal SNR", "trailing (or SGM uniform) timesteps", "CFG rescale 0.7"]
    if source.text.clip_skip > 1:
        hints.append(f"clip skip {source.text.clip_skip}")
    return ", ".join(hints)


def made_at(source: Source) -> datetime:
    """When the model was written, to the second; the same for every export of it."""
    written = (source.folder / "model_index.json").stat().st_mtime
    return datetime.fromtimestamp(int(written), UTC)


def _modelspec(source: Source, about: About, name: str) -> dict[str, str]:
    side = source.resolution
    known = {
        "sai_model_spec": "1.0.1",
        "architecture": "stable-diffusion-v1",
        "implementation": "https://github.com/Stability-AI/generative-models",
        "title": about.title or name,
        "resolution": f"{side}x{side}",
        "description": about.description,
        "author": about.author,
        "date": made_at(source).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "license": about.license,
        "usage_hint": usage_hint(source),
        "tags": ", ".join(about.tags),
        "trigger_phrase": about.trigger,
        "prediction_type": "v" if source.objective.prediction == "v_prediction" else "epsilon",
        "encoder_layer": str(source.text.clip_skip),
    }
    return {f"modelspec.{key}": value for key, value in known.items() if value}


def _summary(source: Source, about: About, name: str) -> dict[str, str]:
    """The run in the words of ``ss_*``; values as Python writes them, as the tools that read them expect."""
    last = source.phase
    every = phases(source.run)
    known: dict[str, Any] = {
        "ss_output_name": name,
        "ss_base_model_version": "sd_v1",
        "ss_v2": False,
        "ss_v_parameterization": source.objective.prediction == "v_prediction",
        "ss_zero_terminal_snr": source.schedule.zero_terminal_snr,
        "ss_clip_skip": source.text.clip_skip,
        "ss_max_token_length": source.text.max_tokens,
        "ss_resolution": f"({source.resolution}, {source.resolution})",
        "ss_sd_model_name": _name(last.get("model", {}).get("base")),
        "ss_seed": source.run.get("seed"),
        "ss_gradient_checkpointing": last.get("model", {}).get("gradient_checkpointing"),
        "ss_batch_size_per_device": last.get("batch"),
        "ss_gradient_accumulation_steps": last.get("accumulate"),
        "ss_num_train_images": source.data.get("pictures"),
        "ss_steps": source.last.get("step"),
        "ss_epoch": source.last["epoch"] + 1 if "epoch" in source.last else None,
        "ss_num_epochs": sum(phase.get("epochs") or 0 for phase in every) or None,
        **_optimization(every),
        **_captions(last),
    }
    if about.tag_frequency and (folders := source.data.get("folders")):
        counts = {folder: found["tags"] for folder, found in folders.items()}
        known["ss_tag_frequency"] = json.dumps(counts, ensure_ascii=False)
    if sizes := source.data.get("resolutions"):
        buckets = {
            number: {"resolution": [int(side) for side in size.split("x")], "count": count}
            for number, (size, count) in enumerate(sizes.items())
        }
        known["ss_bucket_info"] = json.dumps({"buckets": buckets})
        known["ss_enable_bucket"] = True
    return {key: str(value) for key, value in known.items() if value is not None}


def _optimization(every: list[dict[str, Any]]) -> dict[str, Any]:
    """Optimizer and rates of the first phase, where a run of several begins; the weighting of the last."""
    optim, objective = every[0].get("optim", {}), every[-1].get("objective", {})
    weighting = objective.get("weighting")
    return {
        "ss_optimizer": optim.get("optimizer"),
        "ss_learning_rate": optim.get("lr"),
        "ss_unet_lr": optim.get("lr"),
        "ss_text_encoder_lr": optim.get("lr_text_encoder")
        if every[0].get("model", {}).get("train_text_encoder", True)
        else None,
        "ss_lr_scheduler": optim.get("schedule"),
        "ss_max_grad_norm": optim.get("max_grad_norm"),
        "ss_ip_noise_gamma": objective.get("ip_noise_gamma"),
        "ss_min_snr_gamma": objective.get("gamma") if weighting == "min_snr" else None,
        "ss_debiased_estimation": weighting == "debiased" if weighting else None,
    }


def _captions(run: dict[str, Any]) -> dict[str, Any]:
    """Dropout rates where the recipe has them as plain numbers for every caption."""
    found: dict[str, Any] = {}
    for step in find_recipe(run).get("steps", []):
        match step:
            case {"kind": "empty_caption", "p": float() | int() as p}:
                found["ss_caption_dropout_rate"] = p
            case {"kind": "drop_tags", "rate": float() | int() as rate, "only": None, "categories": None}:
                found["ss_caption_tag_dropout_rate"] = rate
    return found


def _configurations(source: Source) -> dict[str, Any]:
    configs: dict[str, Any] = {
        part: {key: value for key, value in config.items() if key != "_name_or_path"}
        for part, config in source.configs.items()
    }
    return {
        **configs,
        "schedule": source.schedule.model_dump(mode="json"),
        "prediction": source.objective.prediction,
        "text": source.text.model_dump(mode="json"),
    }


def _name(path: Any) -> str | None:
    """Only the last part: the rest is nobody else's business."""
    return Path(str(path)).name if path else None
