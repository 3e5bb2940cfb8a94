"""Weights in parts: fully sharded data parallelism, as accelerate's configuration files ask for it.

Every process keeps a part of each weight, of its gradient, of the optimizer's state and of the averages; a
block's weights are put together while it computes (ZeRO, Rajbhandari et al. 2020, arXiv:1910.02054; torch's
``fully_shard``). accelerate's file decides; the sharding itself is done here, before the optimizer is made,
so that the same code runs on GPUs and, for the tests, on CPU processes, where accelerate shards nothing.

Weights travel and are added up in float32 also where the networks compute in bfloat16, so that a sharded run
computes what an unsharded one does.

A weight is then a DTensor, of which each process holds its rows. Sums over all weights go over ``local``
parts; what is written goes through ``whole``; what is read through ``part_of``.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed import all_reduce
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from trainkit.errors import LaunchError

_Module = TypeVar("_Module", bound=nn.Module)

LAYERS = ("BasicTransformerBlock", "ResnetBlock2D", "CLIPEncoderLayer")
"""Kinds of blocks whose weights are put together one block at a time, unless the file names others."""


@dataclass(frozen=True, slots=True)
class Sharding:
    """How weights are split."""

    layers: tuple[str, ...] = LAYERS
    """Class names of the blocks that are put together one at a time."""
    free_early: bool = True
    """Whether a block's whole weights are dropped after its forward pass and fetched again for its backward
    pass (ZeRO-3); else they stay until then (as ZeRO-2: more memory, a third less traffic)."""
    copies: int = 1
    """How many groups of processes hold a whole model between them: 2 on two machines keeps the traffic of
    weights inside each machine. The number of processes must be a multiple of it."""


def take_sharding(environment: MutableMapping[str, str]) -> Sharding | None:
    """What accelerate's launcher asks for in the environment; None where it asks for no sharding.

    It is taken out of ``environment``: accelerate would shard once more, and transformers would load empty
    weights on all processes but the first. Raises LaunchError for what trainkit does not do.
    """
    asked = environment.pop("ACCELERATE_USE_FSDP", "false").lower() == "true"
    in_groups = environment.pop("ACCELERATE_USE_PARALLELISM_CONFIG", "false").lower() == "true"
    if not asked:
        return None
    if (version := environment.get("FSDP_VERSION", "1")) != "2":
        raise LaunchError(
            f"accelerate's configuration asks for FSDP version {version}, which trainkit does not run; set "
            "fsdp_version: 2 in its fsdp_config (examples/accelerate/fsdp.yaml)"
        )
    for name, key in (
        ("FSDP_OFFLOAD_PARAMS", "fsdp_offload_params"),
        ("FSDP_ACTIVATION_CHECKPOINTING", "fsdp_activation_checkpointing"),
    ):
        if environment.get(name, "false").lower() == "true":
            instead = (
                "set model.gradient_checkpointing = true in the run file instead"
                if "CHECKPOINTING" in name
                else "more processes or model.gradient_checkpointing = true save memory as well"
            )
            raise LaunchError(f"{key}: true in accelerate's configuration is not supported; {instead}")
    layers = tuple(name.strip() for name in environment.get("FSDP_TRANSFORMER_CLS_TO_WRAP", "").split(","))
    early = environment.get("FSDP_RESHARD_AFTER_FORWARD", "true").lower()
    return Sharding(
        layers=tuple(filter(None, layers)) if layers not in ((), ("",), ("None",)) else LAYERS,
        free_early=early not in ("false", "shard_grad_op"),
        copies=int(environment.get("PARALLELISM_CONFIG_DP_REPLICATE_SIZE", "1")) if in_groups else 1,
    )


def shard(denoiser: nn.Module, how: Sharding, device: torch.device, world: int) -> None:
    """Split a denoiser's weights over all processes, in place; all hold the same whole ones before.

    Raises LaunchError when no block has one of the named classes, or the processes cannot be split into as
    many copies.
    """
    blocks = [module for module in denoiser.modules() if type(module).__name__ in how.layers]
    if not blocks:
        raise LaunchError(
            f"fsdp_transformer_layer_cls_to_wrap names {', '.join(how.layers)}; this model has no such "
            f"blocks. Those of Stable Diffusion are {', '.join(LAYERS)}"
        )
    if world % how.copies:
        raise LaunchError(
            f"parallelism_config_dp_replicate_size is {how.copies}, must divide the number of processes, "
            f"which is {world}"
        )
    shape = (world,) if how.copies == 1 else (how.copies, world // how.copies)
    names = ("shards",) if how.copies == 1 else ("copies", "shards")
    mesh = init_device_mesh(device.type, shape, mesh_dim_names=names)
    for block in reversed(blocks):  # Inner blocks stand behind the outer ones that hold them.
        fully_shard(block, mesh=mesh, reshard_after_forward=how.free_early)
    fully_shard(denoiser, mesh=mesh)


def is_sharded(module: nn.Module) -> bool:
    """Whether ``shard`` has split its weights."""
    return isinstance(module, FSDPModule)


def local(tensor: Tensor) -> Tensor:
    """The part that this process holds, perhaps of no rows: not a copy. A tensor that is not split is its own
    part."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """All of a weight, gradient or state, put together from its parts; every process must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def put_all_together(tensors: Mapping[str, Tensor], *, keep: bool) -> dict[str, Tensor]:
    """All of them whole: sharded ones in main memory, or, where a process does not ``keep`` them, none.

    Every process must ask for the same.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        together = whole(tensor)
        if keep:
            found[name] = tensor if together is tensor else together.cpu()
    return found


def split_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """An optimizer's state dictionary of whole tensors, split as the weights are that they belong to."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    split = {
        number: {
            key: part_of(value, weights[number])
            if isinstance(value, Tensor) and value.shape == weights[number].shape
            else value
            for key, value in entries.items()
        }
        for number, entries in state["state"].items()
    }
    return state | {"state": split}


def part_of(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor split as ``like`` is, each process giving the same; itself where that is not split."""
    if not isinstance(like, DTensor):
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def put_together(part: Tensor, like: Tensor) -> Tensor:
    """The whole tensor of which every process gives its ``part``, split as ``like`` is; the part itself where
    that is not split."""
    if not isinstance(like, DTensor):
        return part
    split = DTensor.from_local(
        part.to(like.device), like.device_mesh, like.placements, shape=like.shape, stride=like.stride()
    )
    return split.full_tensor()


def summed(values: Tensor, over: Iterable[Tensor]) -> Tensor:
    """Add up ``values``, sums over the local parts of some tensors, over the processes that share these; in
    place."""
    split = next((tensor for tensor in over if isinstance(tensor, DTensor)), None)
    if split is not None:
        for dim, placement in enumerate(split.placements):
            if isinstance(placement, Shard):
                all_reduce(values, group=split.device_mesh.get_group(dim))
    return values


def copy_hollow(module: _Module) -> _Module:
    """A copy without the weights' memory, to be filled by ``load_state_dict(..., assign=True)``."""
    empty = {
        id(parameter): nn.Parameter(parameter.detach().to("meta"), requires_grad=False)
        for parameter in module.parameters()
    }
    return copy.deepcopy(module, dict(empty))
