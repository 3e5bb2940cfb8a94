"""The optimizer, and which weights it moves at which rate."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, Self, cast

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from torch import nn

from trainkit.errors import TrainkitError
from trainkit.rates import Clock, PartConfig, Shape, rate_factor

_Average = Annotated[float, Field(ge=0, lt=1)]

PartName = Literal["unet", "text_encoder"]
PARTS: tuple[PartName, ...] = ("unet", "text_encoder")

_KNOWN = {
    "adamw": "torch.optim.AdamW",
    "adamw8bit": "bitsandbytes.optim.AdamW8bit",
    "paged_adamw8bit": "bitsandbytes.optim.PagedAdamW8bit",
    "adopt": "pytorch_optimizer.ADOPT",
}
"""Optimizers by the names of this field, and where they come from."""

Parts = Mapping[PartName, Mapping[str, nn.Parameter]]
"""The weights that may be trained, by part and by name inside the part."""


class OptimConfig(BaseModel):
    """How the weights move. The defaults are the hyperfusion recipe's."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    optimizer: str = "adamw8bit"
    """"adamw8bit" is bitsandbytes' (both moments in 8 bits, three quarters of the state saved; embeddings
    stay in 32), "paged_adamw8bit" the same with state that moves to main memory when the GPU's is full,
    "adamw" is torch's, "adopt" is ADOPT (Taniguchi et al. 2024, arXiv:2411.02853) with decoupled weight
    decay, from pytorch_optimizer. Anything with a dot is the import path of a torch optimizer, such as
    "torch.optim.SGD"."""
    arguments: dict[str, Any] = {}
    """Further keyword arguments of the optimizer, such as { momentum = 0.9 }."""
    lr: float = Field(default=4e-6, ge=0, le=1e30)
    """Base learning rate of the UNet."""
    lr_text_encoder: float = Field(default=1e-6, ge=0, le=1e30)
    """Base learning rate of the text encoder."""
    schedule: Shape = "linear"
    """"linear" falls to 0 at the end of its span, "cosine" likewise in half a cosine, "constant" stays."""
    span: Literal["run", "phase"] = "run"
    """Over what the schedule and the warm-up run: the whole run, or every phase anew."""
    warmup_samples: int = Field(default=0, ge=0)
    """The rates rise linearly from 0 over this many samples."""
    betas: tuple[_Average, _Average] | None = None
    """Averaging factors of the gradient and of its square; None takes the optimizer's own: 0.9 and 0.999 of
    AdamW, 0.9 and 0.9999 of ADOPT."""
    eps: float | None = Field(default=None, gt=0)
    """None takes the optimizer's own: 1e-8 of AdamW, 1e-6 of ADOPT."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled weight decay."""
    fused: bool = False
    """torch's AdamW in one kernel per step; for "adamw" only."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """The gradient's norm over all weights is cut to this."""
    unet: PartConfig = PartConfig()
    """What is different for the UNet."""
    text_encoder: PartConfig = PartConfig()
    """What is different for the text encoder."""

    @field_validator("optimizer")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in _KNOWN and "." not in name:
            raise ValueError(
                f"is {name!r}, must be {', '.join(map(repr, _KNOWN))} or the import path of a torch "
                'optimizer, such as "torch.optim.SGD"'
            )
        return name

    @model_validator(mode="after")
    def _fused_is_there(self) -> Self:
        if self.fused and self.optimizer != "adamw":
            raise ValueError(f'fused is for optimizer = "adamw" only, not for {self.optimizer!r}')
        return self

    @field_validator("arguments")
    @classmethod
    def _not_said_elsewhere(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        if wrong := sorted({"lr", "weight_decay", "params"} & arguments.keys()):
            raise ValueError(f"{wrong[0]} is no argument here: set optim.lr, optim.weight_decay or layers")
        return arguments

    def part(self, name: PartName) -> PartConfig:
        """What is different for one part."""
        return self.unet if name == "unet" else self.text_encoder

    @property
    def identity(self) -> tuple[str, ...]:
        """What decides whether an optimizer's state can be kept: its kind, its arguments, its weights."""
        return (
            self.optimizer,
            repr(sorted(self.arguments.items())),
            repr(self.fused),
            *(repr(self.part(name).layers) for name in PARTS),
        )


def learning_rate(config: OptimConfig, name: PartName, clock: Clock) -> float:
    """The learning rate of one part: base x schedule x warm-up x step."""
    part = config.part(name)
    base = config.lr if name == "unet" else config.lr_text_encoder
    warmup = config.warmup_samples if part.warmup_samples is None else part.warmup_samples
    return base * rate_factor(part.schedule or config.schedule, warmup, part.steps, clock)


def trainable_parts(denoiser: nn.Module) -> Parts:
    """The weights of each part that may be trained, as the model was loaded: those that ask for gradients."""
    found: dict[PartName, dict[str, nn.Parameter]] = {}
    for name in PARTS:
        module = denoiser.get_submodule(name)
        weights = {key: p for key, p in module.named_parameters() if p.requires_grad}
        if weights:
            found[name] = weights
    return found


def chosen(config: OptimConfig, parts: Parts) -> dict[PartName, dict[str, nn.Parameter]]:
    """The weights that ``layers`` names. Raises TrainkitError for a part of which it names none."""
    found: dict[PartName, dict[str, nn.Parameter]] = {}
    for name, weights in parts.items():
        layers = config.part(name).layers
        found[name] = {
            key: p for key, p in weights.items() if any(fnmatchcase(key, pattern) for pattern in layers)
        }
        if not found[name]:
            some = ", ".join(list(weights)[:: max(1, len(weights) // 4)][:4])
            raise TrainkitError(
                f"optim.{name}.layers = {list(layers)} matches none of its {len(weights)} weights; "
                f"they are named like {some}"
            )
    return found


def trained_parts(
    config: OptimConfig, parts: Parts, samples_seen: int, epoch_samples: int
) -> frozenset[PartName]:
    """The parts that are trained in the step that begins after ``samples_seen``.

    Raises TrainkitError when that is none.
    """
    trained = frozenset(n for n in parts if not config.part(n).is_frozen(samples_seen, epoch_samples))
    if not trained:
        raise TrainkitError(
            f"after {samples_seen} samples every part is frozen, so nothing would be trained; change "
            "optim.unet or optim.text_encoder (freeze_until, freeze_after)"
        )
    return trained


def unfreeze(config: OptimConfig, parts: Parts, trained: frozenset[PartName]) -> None:
    """Let gradients into the chosen weights of the trained parts, and into no others."""
    for name, weights in chosen(config, parts).items():
        for parameter in parts[name].values():
            parameter.requires_grad_(False)
        for parameter in weights.values():
            parameter.requires_grad_(name in trained)


def begin(optimizer: torch.optim.Optimizer, trained: frozenset[PartName]) -> None:
    """Let an optimizer that counts its steps by group begin anew with a part that it has not moved yet.

    ADOPT's first step takes in the gradients' squares and moves nothing; a part that thaws later needs one
    too, or its first update would be a division by nothing.
    """
    for group in optimizer.param_groups:
        untouched = not any(parameter in optimizer.state for parameter in group["params"])
        if group["name"] in trained and untouched and "step" in group:
            group["step"] = 0


def make_optimizer(config: OptimConfig, denoiser: nn.Module, parts: Parts) -> torch.optim.Optimizer:
    """The optimizer over one group per part, named after it.

    Raises TrainkitError when the optimizer's package is missing or its arguments do not fit; it never takes
    another optimizer instead.
    """
    kind = find_optimizer(config)
    groups = [{"params": list(weights.values())} for weights in chosen(config, parts).values()]
    if config.optimizer.endswith("adamw8bit"):
        _keep_embeddings_in_32_bits(denoiser)
    try:
        optimizer: torch.optim.Optimizer = kind(groups, **_arguments(config))
    except (TypeError, ValueError, IndexError, AssertionError) as error:
        raise TrainkitError(
            f"optim.optimizer = {config.optimizer!r} does not take these settings: {error}; "
            "look at optim.arguments, betas, eps and weight_decay"
        ) from error
    apply_settings(optimizer, config, parts)
    return optimizer


def apply_settings(optimizer: torch.optim.Optimizer, config: OptimConfig, parts: Parts) -> None:
    """Give the groups of an optimizer the settings of a run or phase; its memory stays."""
    for group, name in zip(optimizer.param_groups, parts, strict=True):
        part = config.part(name)
        group["name"] = name
        group["weight_decay"] = config.weight_decay if part.weight_decay is None else part.weight_decay
        for key in ("betas", "eps"):
            group |= _own(optimizer, config, key) if key in group else {}


def _own(optimizer: torch.optim.Optimizer, config: OptimConfig, key: str) -> dict[str, Any]:
    """A setting as the configuration gives it; else the optimizer's own, whatever an earlier phase had.

    Nothing where the optimizer keeps such an entry and has no such setting.
    """
    given = config.arguments.get(key, getattr(config, key))
    own = inspect.signature(type(optimizer)).parameters.get(key)
    if given is None:
        return {} if own is None else {key: own.default}
    return {key: given}


def settings_of(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """The run's settings in each group, for putting them back after an older state was loaded."""
    # What the constructor takes is a setting; what else an optimizer keeps in a group is its memory.
    known = inspect.signature(type(optimizer)).parameters.keys() | {"name"}
    return [
        {key: value for key, value in group.items() if key in known and key != "params"}
        for group in optimizer.param_groups
    ]


def set_learning_rates(
    optimizer: torch.optim.Optimizer, config: OptimConfig, clock: Clock
) -> dict[str, float]:
    """Give every group its learning rate for the next step; returns the rates by part."""
    rates: dict[str, float] = {}
    for group in optimizer.param_groups:
        name = cast(PartName, group["name"])
        part = config.part(name)
        group["lr"] = learning_rate(config, name, clock)
        rates[name] = 0.0 if part.is_frozen(clock.samples_seen, clock.epoch_samples) else group["lr"]
    return rates


def find_optimizer(config: OptimConfig) -> Any:
    """The optimizer's class. Raises TrainkitError when it cannot be imported, with what to do.

    Imported only when asked for: pytorch_optimizer alone takes seconds.
    """
    path = _KNOWN.get(config.optimizer, config.optimizer)
    package, _, name = path.rpartition(".")
    try:
        kind = getattr(importlib.import_module(package), name)
    except (ImportError, AttributeError, ValueError) as error:
        top = path.partition(".")[0]
        raise TrainkitError(
            f'optim.optimizer is "{config.optimizer}", which needs the package {top}, and it cannot be '
            f"imported ({error}). Install it with: pip install {top}\n"
            'or set optim.optimizer = "adamw" in the run file.'
        ) from error
    if not (isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)):
        raise TrainkitError(f'optim.optimizer is "{config.optimizer}", and {path} is no torch optimizer')
    return kind


def _arguments(config: OptimConfig) -> dict[str, Any]:
    """Keyword arguments of the optimizer's constructor; the groups carry the rest."""
    given: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay}
    given |= {key: value for key in ("betas", "eps") if (value := getattr(config, key)) is not None}
    if config.optimizer == "adopt":
        # Its authors: "if AdamW was your default, set decouple = True".
        given |= {"weight_decouple": True, "clip_lambda": adopt_clip}
    if config.fused:
        given["fused"] = True
    return given | config.arguments


def adopt_clip(step: int) -> float:
    """The authors clip ADOPT's k-th real update to k^(1/4); pytorch_optimizer hands over k + 1, for it counts
    the first step, which moves nothing."""
    return float((step - 1) ** 0.25)


def _keep_embeddings_in_32_bits(denoiser: nn.Module) -> None:
    """Rarely updated rows of an embedding suffer from 8-bit state; bitsandbytes' authors keep them in 32."""
    import bitsandbytes

    manager = bitsandbytes.optim.GlobalOptimManager.get_instance()
    for module in denoiser.modules():
        if isinstance(module, nn.Embedding):
            manager.register_module_override(module, "weight", {"optim_bits": 32})
