"""Low-rank adapters: LoRA on linear layers, LoCon on convolutions as well, trained by the same loop.

A layer with weight W computes ``W x + (alpha / r) B A x`` with A of r rows, B of r columns and W frozen (Hu
et al. 2021, arXiv:2106.09685, section 4.1). peft puts the layers in; B starts at zero, so that a fresh
adapter changes nothing, and A is drawn here, from an address.

Names: an adapter's tensors are called ``<layer>.lora_A.default.weight`` and ``<layer>.lora_B.default.weight``
with the layer's name in a Denoiser, such as "unet.mid_block.attentions.0.proj_in"; so does
Denoiser.state_dict() call them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from trainkit.draws import derived_seed, generator
from trainkit.errors import CheckpointError, ModelError, TrainkitError
from trainkit.models import Denoiser

_SIDES: dict[str, Literal["A", "B"]] = {".lora_A.default.weight": "A", ".lora_B.default.weight": "B"}


class AdapterConfig(BaseModel):
    """What is adapted, and by how much room. Without this table the whole model is trained."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    rank: int = Field(default=16, ge=1)
    """r of linear layers and of 1x1 convolutions; the file grows with it."""
    alpha: float | None = Field(default=None, gt=0)
    """The update counts alpha / rank; None means rank, so that it counts 1."""
    conv_rank: int | None = Field(default=None, ge=1)
    """r of 3x3 convolutions. None leaves all of ``conv_targets`` alone (LoRA); a number adapts them as well
    (LoCon)."""
    conv_alpha: float | None = Field(default=None, gt=0)
    """As alpha, for 3x3 convolutions; None means conv_rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the inputs of A that is zeroed in training; the layer itself sees all of them."""
    targets: tuple[str, ...] = ("unet.*.attentions.*", "text_encoder.*.layers.*")
    """Patterns (*, ?, [abc]) of names of layers; linear layers and 1x1 convolutions that match are adapted.
    The default is every attention and feed-forward layer. Those of the text encoder count only where
    model.train_text_encoder is true."""
    conv_targets: tuple[str, ...] = ("unet.*.resnets.*", "unet.*.downsamplers.*", "unet.*.upsamplers.*")
    """Patterns of what conv_rank adapts besides: 3x3 convolutions, and the linear layers and 1x1 convolutions
    between them (those with ``rank``)."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.conv_alpha is not None and self.conv_rank is None:
            raise ValueError("conv_alpha needs conv_rank; without it no convolution is adapted")
        return self

    def room(self, down_shape: torch.Size) -> tuple[int, float]:
        """(rank, alpha) of an adapter by the shape of its A, or of the weight it adapts."""
        wide = len(down_shape) == 4 and down_shape[2:] != (1, 1)
        if wide and self.conv_rank is not None:
            return self.conv_rank, self.conv_alpha or float(self.conv_rank)
        return self.rank, self.alpha or float(self.rank)


def add_adapters(denoiser: Denoiser, config: AdapterConfig, seed: int) -> tuple[str, ...]:
    """Freeze the denoiser and put adapters into it, in place; returns the names of the adapted layers.

    A is uniform in +-1/sqrt(inputs), drawn by (seed, name of the layer): the same for the same seed, whatever
    else is adapted. Call it after load_model, so that layers which clip skip leaves out get none.

    Raises ModelError for a pattern that matches no layer, TrainkitError when peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise TrainkitError("adapters need peft; install it with: pip install peft") from error
    found = adapted_layers(denoiser, config)
    denoiser.requires_grad_(False)
    for part in ("unet", "text_encoder"):
        own = {name.removeprefix(f"{part}."): w for name, w in found.items() if name.startswith(f"{part}.")}
        if not own:
            continue
        room = {_exactly([name]): config.room(weight.shape) for name, weight in own.items()}
        settings = LoraConfig(
            target_modules=_exactly(own),
            rank_pattern={name: rank for name, (rank, _) in room.items()},
            alpha_pattern={name: alpha for name, (_, alpha) in room.items()},
            lora_dropout=config.dropout,
        )
        with torch.random.fork_rng():  # peft draws weights of its own, which are replaced below.
            inject_adapter_in_model(settings, denoiser.get_submodule(part))
    for name, parameter in denoiser.named_parameters():
        if is_adapter(name):
            layer, side = layer_of(name)
            _begin(parameter, generator(seed, f"adapter {layer}") if side == "A" else None)
    return tuple(found)


def adapted_layers(denoiser: Denoiser, config: AdapterConfig) -> dict[str, Tensor]:
    """Name and weight of every layer that the configuration adapts, in the denoiser's order.

    Raises ModelError for a pattern that matches no layer.
    """
    patterns = [*config.targets, *(config.conv_targets if config.conv_rank is not None else ())]
    unused = {p for p in patterns if denoiser.train_text or not p.startswith("text_encoder.")}
    found: dict[str, Tensor] = {}
    for name, layer in denoiser.named_modules():
        if not isinstance(layer, (nn.Linear, nn.Conv2d)):
            continue
        if name.startswith("text_encoder.") and not denoiser.train_text:
            continue
        matching = {pattern for pattern in patterns if fnmatchcase(name, pattern)}
        unused -= matching
        narrow = isinstance(layer, nn.Linear) or layer.kernel_size == (1, 1)
        if matching and (narrow or config.conv_rank is not None):
            found[name] = layer.weight
    if unused or not found:
        raise ModelError(
            f"adapter.targets: {', '.join(map(repr, sorted(unused or patterns)))} matches no layer of this "
            "model that could be adapted; layers are named like 'unet.mid_block.attentions.0.proj_in' and "
            "'text_encoder.encoder.layers.0.mlp.fc1'"
        )
    return found


def is_adapter(name: str) -> bool:
    """Whether a parameter of a Denoiser, by its name, is an adapter's."""
    return name.endswith(tuple(_SIDES))


def layer_of(name: str) -> tuple[str, Literal["A", "B"]]:
    """The adapted layer and the side of it that an adapter's tensor belongs to.

    Raises ValueError for a name that is no adapter's.
    """
    for suffix, side in _SIDES.items():
        if name.endswith(suffix):
            return name.removesuffix(suffix), side
    raise ValueError(f"{name!r} is no tensor of an adapter")


def trainable_state(denoiser: nn.Module) -> dict[str, Tensor]:
    """The adapters' tensors by name: all that a checkpoint of such a run must hold. Not copies."""
    return {name: p.detach() for name, p in denoiser.named_parameters() if is_adapter(name)}


def load_trainable_state(denoiser: nn.Module, state: dict[str, Tensor]) -> None:
    """Put tensors of trainable_state into an adapted denoiser.

    Raises CheckpointError when names or shapes differ: then the adapter was made with other settings.
    """
    own = trainable_state(denoiser)
    wrong = sorted(n for n in own.keys() | state.keys() if _shape(own, n) != _shape(state, n))
    if wrong:
        raise CheckpointError(
            f"{len(wrong)} of the adapter's {len(own)} tensors do not fit, the first is {wrong[0]!r}: it has "
            f"shape {_shape(state, wrong[0])}, needed is {_shape(own, wrong[0])}. The adapter was made with "
            "other settings of [adapter], or for another model."
        )
    for name, tensor in state.items():
        own[name].copy_(tensor)


@contextlib.contextmanager
def merged(denoiser: nn.Module) -> Iterator[None]:
    """Inside, the denoiser is a plain one, its adapters added to the weights; outside, as it was, to the bit.

    For export, and for sampling at the speed of the base. On a denoiser without adapters it does nothing.
    """
    layers = [(name, layer, layer.base_layer.weight.data) for name, layer in _adapters(denoiser)]
    try:
        for name, layer, weight in layers:
            delta = scaled_product(_only(layer.lora_A), _only(layer.lora_B), layer.scaling["default"])
            layer.base_layer.weight.data = weight + delta.reshape(weight.shape).to(weight.dtype)
            denoiser.set_submodule(name, layer.base_layer)
        yield
    finally:
        for name, layer, weight in layers:
            layer.base_layer.weight.data = weight
            denoiser.set_submodule(name, layer)


def merged_state(denoiser: nn.Module) -> dict[str, Tensor]:
    """The denoiser's weights with the adapters added, under the names of a denoiser without any; copies.

    This is what a weights file holds.
    """
    with merged(denoiser):
        return {name: tensor.detach().clone() for name, tensor in denoiser.state_dict().items()}


def scaled_product(down: Tensor, up: Tensor, scale: float) -> Tensor:
    """scale * B A as a matrix [out, in * kernel height * kernel width]; convolutions' weights are flattened
    behind their first axis."""
    return scale * (up.flatten(1) @ down.flatten(1))


@contextlib.contextmanager
def addressed_dropout(config: AdapterConfig | None, seed: int, number: int, rank: int) -> Iterator[None]:
    """Draw an adapter's dropout inside from (seed, number of the micro-batch, rank of the device).

    nn.Dropout knows only torch's global generators; they are lent here, and left as they were. The masks are
    the same after a restart, but not under another number of devices.
    """
    if config is None or config.dropout == 0:
        yield
        return
    with torch.random.fork_rng():
        torch.manual_seed(derived_seed(seed, "adapter dropout", number, rank))
        yield


def _adapters(denoiser: nn.Module) -> list[tuple[str, Any]]:
    return [(name, m) for name, m in denoiser.named_modules() if hasattr(m, "lora_A")]


def _only(side: Any) -> Tensor:
    """The weight of the one adapter that a layer has."""
    weight: Tensor = side["default"].weight.detach()
    return weight


def _begin(parameter: nn.Parameter, draws: torch.Generator | None) -> None:
    """A uniform in +-1/sqrt(inputs), as LoRA's authors and every trainer begin it; B zero, without draws."""
    values = torch.zeros(parameter.shape)
    if draws is not None:
        bound = parameter[0].numel() ** -0.5
        values.uniform_(-bound, bound, generator=draws)
    parameter.data = values.to(parameter.device)


def _exactly(names: Any) -> str:
    """A regular expression for these names and no other; peft matches it against the whole name."""
    return "(?:" + "|".join(name.replace(".", r"\.") for name in names) + ")"


def _shape(state: dict[str, Tensor], name: str) -> tuple[int, ...] | None:
    return tuple(state[name].shape) if name in state else None
