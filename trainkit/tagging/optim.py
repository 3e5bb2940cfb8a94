"""How weights move: AdamW, smaller steps for the backbone and for its lower layers, warm-up and cosine."""

from __future__ import annotations

import re
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from trainkit.rates import Clock, rate_factor
from trainkit.tagging.backbone import BackboneConfig

_NUMBERED = re.compile(r"(.*?\.\d+)\.")


class TaggerOptimConfig(BaseModel):
    """The optimizer and its rates."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    lr: float = Field(default=1e-3, gt=0)
    """Learning rate of the head, at its height."""
    backbone_factor: float | None = Field(default=None, ge=0)
    """The backbone's rate over the head's; by default 0.1 of a pretrained one, 1 of one with random
    weights."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Each layer (stage, of a ConvNeXt) of the backbone has so many times the rate of the one above it; 0.65
    to 0.8 suits a pretrained ViT (Clark et al. 2020)."""
    warmup: float = Field(default=0.05, ge=0, le=1)
    """Share of the run over which the rate rises; then it falls as a cosine."""
    weight_decay: float = Field(default=0.05, ge=0)
    """Of matrices and convolutions; never of biases and norms."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Of AdamW."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Longer gradients are shortened."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of features that the head does not see in a step."""
    average: float = Field(default=0.99, ge=0, lt=1)
    """Decay of the average of the weights over steps, which is judged and kept; 0 takes the weights
    themselves."""


def make_optimizer(
    config: TaggerOptimConfig, backbone: BackboneConfig, trained: nn.Module
) -> torch.optim.AdamW:
    """AdamW over all parameters of ``trained`` that need a gradient, with ``factor`` in each group."""
    factors = _factors(config, backbone, trained)
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in trained.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((factors[name], parameter.ndim > 1), []).append(parameter)
    listed: list[dict[str, Any]] = [
        {"params": parameters, "factor": factor, "weight_decay": config.weight_decay if decays else 0.0}
        for (factor, decays), parameters in groups.items()
    ]
    return torch.optim.AdamW(listed, lr=config.lr, betas=config.betas)


def set_rate(
    optimizer: torch.optim.Optimizer, config: TaggerOptimConfig, samples_seen: int, total: int, epoch: int
) -> float:
    """Set the rates of the step that begins after so many samples; returns the head's."""
    clock = Clock(samples_seen=samples_seen, start=0, length=total, epoch_samples=epoch)
    lr = config.lr * rate_factor("cosine", round(config.warmup * total), (), clock)
    for group in optimizer.param_groups:
        group["lr"] = lr * group["factor"]
    return lr


def _factors(config: TaggerOptimConfig, backbone: BackboneConfig, trained: nn.Module) -> dict[str, float]:
    """By a parameter's name, its rate over the head's."""
    factor = config.backbone_factor
    if factor is None:
        factor = 0.1 if backbone.kind is None else 1.0
    names = [name for name, _ in trained.named_parameters()]
    below = [name for name in names if name.startswith("backbone.")]
    # What has no number stands before the first layer (embeddings) or behind the last (norms).
    layers = list(dict.fromkeys(m.group(1) for name in below if (m := _NUMBERED.match(name))))
    depths: dict[str, int] = {}
    reached = 0
    for name in below:
        match = _NUMBERED.match(name)
        depths[name] = layers.index(match.group(1)) + 1 if match else (0 if reached == 0 else len(layers))
        reached = max(reached, depths[name])
    return {
        name: factor * config.layer_decay ** (len(layers) - depths[name]) if name in depths else 1.0
        for name in names
    }
