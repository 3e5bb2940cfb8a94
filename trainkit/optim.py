"""Optimizer and learning rates. A learning rate is a pure function of the samples seen."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from trainkit.errors import TrainkitError
from trainkit.models import Denoiser

_Average = Annotated[float, Field(ge=0, lt=1)]


class OptimConfig(BaseModel):
    """How the weights move. The defaults are the hyperfusion recipe's."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    optimizer: Literal["adamw8bit", "adamw"] = "adamw8bit"
    """"adamw8bit" is bitsandbytes' (both moments in 8 bits, three quarters of the state saved); "adamw" is
    torch's."""
    lr: float = Field(default=4e-6, ge=0)
    """Learning rate of the UNet."""
    lr_text_encoder: float = Field(default=1e-6, ge=0)
    """Learning rate of the text encoder."""
    schedule: Literal["linear", "constant", "cosine"] = "linear"
    """"linear" falls to 0 at the end of the run, "cosine" likewise in half a cosine, "constant" stays."""
    warmup_samples: int = Field(default=0, ge=0)
    """The rates rise linearly from 0 over this many samples."""
    betas: tuple[_Average, _Average] = (0.9, 0.999)
    """Adam's averaging factors of the gradient and of its square."""
    eps: float = Field(default=1e-8, gt=0)
    """Adam's epsilon."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled weight decay."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """The gradient's norm over all weights is cut to this."""


def lr_factor(config: OptimConfig, samples_seen: int, total_samples: int) -> float:
    """What both learning rates are multiplied by after ``samples_seen`` of ``total_samples``; in [0, 1]."""
    done = min(1.0, samples_seen / total_samples)
    warm = min(1.0, samples_seen / config.warmup_samples) if config.warmup_samples else 1.0
    match config.schedule:
        case "constant":
            return warm
        case "linear":
            return warm * (1.0 - done)
        case "cosine":
            return warm * (0.5 + 0.5 * math.cos(math.pi * done))


def require_package(config: OptimConfig) -> None:
    """Raise TrainkitError when the optimizer's package cannot be imported."""
    if config.optimizer != "adamw8bit":
        return
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise TrainkitError(
            'optim.optimizer is "adamw8bit", which needs the package bitsandbytes, and it cannot be imported '
            f"({error}). Install it with: pip install bitsandbytes\n"
            'or set optim.optimizer = "adamw" in the run file.'
        ) from error


def make_optimizer(config: OptimConfig, denoiser: Denoiser) -> torch.optim.Optimizer:
    """The optimizer over the group "unet" and, when it is trained, the group "text_encoder".

    Raises TrainkitError when bitsandbytes is asked for and missing; it never takes another optimizer instead.
    """
    parts: list[tuple[str, nn.Module, float]] = [("unet", denoiser.unet, config.lr)]
    if denoiser.train_text:
        parts.append(("text_encoder", denoiser.text_encoder, config.lr_text_encoder))
    groups = [
        {"name": name, "base_lr": lr, "lr": lr, "params": list(part.parameters())} for name, part, lr in parts
    ]
    settings: dict[str, Any] = {"betas": config.betas, "eps": config.eps, "weight_decay": config.weight_decay}
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, **settings)
    require_package(config)
    import bitsandbytes

    # Rarely updated rows of an embedding suffer from 8-bit state; its authors keep embeddings in 32 bits.
    manager = bitsandbytes.optim.GlobalOptimManager.get_instance()
    for module in denoiser.modules():
        if isinstance(module, nn.Embedding):
            manager.register_module_override(module, "weight", {"optim_bits": 32})
    optimizer: torch.optim.Optimizer = bitsandbytes.optim.AdamW8bit(groups, **settings)
    return optimizer


def set_learning_rates(optimizer: torch.optim.Optimizer, factor: float) -> dict[str, float]:
    """Give every group its base rate times ``factor``; returns the rates by group name."""
    rates = {}
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
        rates[group["name"]] = group["lr"]
    return rates
