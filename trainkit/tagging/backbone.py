"""The network under the head: one of transformers' vision models, with its weights or from its settings.

Weights are safetensors, never pickled ones; code of a repository is never run. pictures: float32
[B, 3, S, S], normalised; features: [B, D].
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from trainkit.draws import derived_seed
from trainkit.errors import ModelError
from trainkit.tagging.preprocess import IMAGENET_MEAN, IMAGENET_STD, Fit, Preprocessing

Pool: TypeAlias = Literal["pooler", "mean", "cls", "cls+mean"]
"""What of a network's output the head sees. pooler: what the model itself makes of it; mean: of all patches;
cls: the token in front of them; cls+mean: both, as linear probes of DINOv2 do."""

_OWN_POOLER = ("convnext", "convnextv2", "resnet", "regnet", "swin", "swinv2", "siglip", "siglip2", "clip")
"""Models whose pooler is trained with them. That of a ViT is made anew for most checkpoints."""


class BackboneConfig(BaseModel):
    """Which network."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    base: str | None = None
    """A pretrained one: its folder (relative to the run file) or its name on the hub, such as
    "facebook/dinov2-small"; ViT, ConvNeXt, DINOv2, the vision side of SigLIP and CLIP, Swin ... Or give
    ``kind``."""
    revision: str | None = None
    """Branch, tag or commit of a name on the hub."""
    kind: str | None = None
    """One with random weights, by transformers' name of its kind: "vit", "convnext", "resnet" ... It needs
    many pictures, or an easy task."""
    settings: dict[str, Any] = {}
    """Of ``kind``, as transformers' configuration class has them, such as hidden_sizes and depths."""
    size: int | None = Field(default=None, ge=8, le=4096)
    """Width and height in pixels of the pictures it sees; by default as the model was trained, 224 where
    nothing says."""
    fit: Fit = "pad"
    """How a picture becomes square: "pad" (whole, white beside it), "squash" (its sides scaled by
    themselves), "crop" (its middle)."""
    pool: Pool | None = None
    """What of its output is looked at; by default what suits the kind: "pooler", or "cls+mean"."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.base is None) == (self.kind is None):
            raise ValueError('give either base (pretrained) or kind (random weights, such as "convnext")')
        if self.settings and self.kind is None:
            raise ValueError("settings belong to kind; those of a pretrained model are in its folder")
        return self


class Backbone(nn.Module):
    """Pictures to features, [B, 3, S, S] to [B, D]."""

    def __init__(self, model: nn.Module, pool: Pool, size: int) -> None:
        super().__init__()
        self.model, self.pool, self._size = model, pool, size
        config: Any = model.config
        self.config = config
        trained_at = getattr(config, "image_size", size)
        # Models that learn a place for each patch must spread them out for another size of picture.
        spread = trained_at not in (size, [size, size], (size, size)) and _can_spread(model)
        self._arguments = {"interpolate_pos_encoding": True} if spread else {}
        model.eval()
        with torch.no_grad():
            try:
                self.num_features = int(self(torch.zeros(1, 3, size, size)).shape[1])
            except (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
                raise ModelError(
                    f"backbone: a {config.model_type} cannot look at pictures of {size} px: "
                    f"{' '.join(str(error).split())[:300]}; give another backbone.size"
                ) from error

    def forward(self, pictures_BCHW: Tensor) -> Tensor:
        """Features, [B, D]."""
        out = self.model(pictures_BCHW, **self._arguments)
        if self.pool == "pooler":
            return torch.flatten(out["pooler_output"], 1)
        last = out["last_hidden_state"]
        if last.ndim == 4:
            return torch.flatten(last.mean(dim=(2, 3)), 1)
        # DINOv2 with registers has tokens between the first and the patches.
        first = _tokens_in_front(self.config)
        if self.pool == "mean" or first == 0:
            return torch.flatten(last[:, first:].mean(dim=1), 1)
        cls = last[:, 0]
        return cls if self.pool == "cls" else torch.cat([cls, last[:, first:].mean(dim=1)], dim=1)


@dataclass(frozen=True)
class Made:
    """A backbone as it comes from its settings."""

    backbone: Backbone
    preprocessing: Preprocessing


def make_backbone(config: BackboneConfig, seed: int) -> Made:
    """The network of a run. Raises ModelError when it cannot be had."""
    from transformers import AutoConfig, AutoModel

    from trainkit.hub import find_model

    if config.kind is None:
        assert config.base is not None
        folder = find_model(config.base, revision=config.revision).folder
        model = _pretrained(folder)
        told = _processor(folder)
    else:
        try:
            settings = AutoConfig.for_model(config.kind, **config.settings)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(derived_seed(seed, "backbone"))
                model = AutoModel.from_config(settings)
        except Exception as error:  # Whatever the class of settings makes of the user's.
            raise ModelError(
                f"backbone: no {config.kind!r} can be made of these settings: "
                f"{' '.join(str(error).split())[:300]}"
            ) from error
        told = {}
    size = config.size or _size(told) or _size({"size": getattr(model.config, "image_size", None)}) or 224
    mean, std = (_three(told.get(name)) for name in ("image_mean", "image_std"))
    preprocessing = Preprocessing(size, mean or IMAGENET_MEAN, std or IMAGENET_STD, config.fit)
    return Made(Backbone(model, config.pool or _pool_of(model), size), preprocessing)


def read_backbone(folder: Path, pool: Pool, size: int) -> Backbone:
    """A backbone of its folder's ``config.json``, its weights still random. Raises ModelError."""
    from transformers import AutoConfig, AutoModel

    try:
        settings = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        with torch.random.fork_rng(devices=[]):
            model = AutoModel.from_config(settings, trust_remote_code=False)
    except Exception as error:
        raise ModelError(f"{folder}: no network can be made of it: {_line(error)}") from error
    return Backbone(model, pool, size)


def _pretrained(folder: Path) -> nn.Module:
    """The vision model of a folder, in float32."""
    from transformers import AutoConfig, AutoModel

    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        settings = AutoConfig.from_pretrained(folder, **local)
        # Of models that read pictures and texts, the half that looks.
        settings = getattr(settings, "vision_config", settings)
        model, info = AutoModel.from_pretrained(
            folder,
            config=settings,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            **local,
        )
    except Exception as error:
        raise ModelError(
            f"{folder} cannot be read as a vision model with safetensors weights: {_line(error)}"
        ) from error
    missing = sorted(name for name in info["missing_keys"] if "pooler" not in name)
    if missing:
        raise ModelError(
            f"{folder} lacks weights of its own network, such as {missing[0]} ({len(missing)} in all); is it "
            "an adapter, or a model of another kind?"
        )
    found: nn.Module = model
    return found


def _processor(folder: Path) -> dict[str, Any]:
    """What ``preprocessor_config.json`` says; empty when there is none."""
    try:
        told = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _size(told: dict[str, Any]) -> int | None:
    """The side of the pictures that a model was trained with."""
    for name in ("crop_size", "size"):
        value = told.get(name)
        if name == "crop_size" and told.get("do_center_crop") is False:
            continue
        if isinstance(value, dict):
            value = value.get("height", value.get("shortest_edge"))
        if isinstance(value, list | tuple) and value:
            value = value[0]
        if isinstance(value, int) and not isinstance(value, bool) and 8 <= value <= 4096:
            return value
    return None


def _three(value: Any) -> tuple[float, float, float] | None:
    if isinstance(value, list) and len(value) == 3 and all(isinstance(v, int | float) for v in value):
        return float(value[0]), float(value[1]), float(value[2])
    return None


def _pool_of(model: Any) -> Pool:
    kind = str(model.config.model_type).removesuffix("_vision_model")
    return "pooler" if kind in _OWN_POOLER else "cls+mean"


def _tokens_in_front(config: Any) -> int:
    """Tokens before those of the patches."""
    if str(config.model_type).startswith(("siglip", "swin")):
        return 0
    return 1 + int(getattr(config, "num_register_tokens", 0) or 0)


def _can_spread(model: Any) -> bool:
    import inspect

    return "interpolate_pos_encoding" in inspect.signature(model.forward).parameters


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
