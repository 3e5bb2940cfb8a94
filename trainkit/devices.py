"""The devices of a run, through accelerate."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, ProjectConfiguration
from torch import nn
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]
from torch.distributed.fsdp import FSDPModule

from trainkit.errors import LaunchError
from trainkit.sharding import is_sharded

_TORCHRUN = "torchrun --nproc_per_node {n} -m trainkit train run.toml"

_EXCHANGE = timedelta(hours=24)
"""How long an exchange between processes may take. Longer than anything a process may do alone meanwhile,
such as filling a cache: whether one hangs is for the watchdog to judge, which knows what each of them does.
"""


def make_accelerator(mixed_precision: str, out: Path, *, tf32: bool) -> Accelerator:
    """The accelerator of this process; ``tf32`` holds for the whole process.

    Raises LaunchError when several processes would not know of each other.
    """
    refuse_false_launch(os.environ)
    cpu = not torch.cuda.is_available()
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
    if mixed_precision == "auto":
        mixed_precision = "bf16" if not cpu and torch.cuda.is_bf16_supported() else "no"
    _meet_again(os.environ, "gloo" if cpu else "nccl")
    accelerator = Accelerator(
        cpu=cpu,
        mixed_precision=mixed_precision,
        project_config=ProjectConfiguration(project_dir=str(out), logging_dir=str(out)),
        kwargs_handlers=[InitProcessGroupKwargs(timeout=_EXCHANGE)],
    )
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes != world:
        raise LaunchError(
            f"{world} processes were started, but each of them works alone ({accelerator.num_processes} "
            "known to "
            f"accelerate): they would train {world} models into one folder. Start them with: "
            f"{_TORCHRUN.format(n=world)}"
        )
    return accelerator


def end(accelerator: Accelerator) -> None:
    """Close the trackers and leave the other processes; the accelerator is not used again."""
    if torch.distributed.is_initialized():
        _LEFT.append(torch.distributed.group.WORLD)
    accelerator.end_training()


_LEFT: list[Any] = []
"""Groups of processes that were left. One whose last owner is a DistributedDataParallel is taken down with
Python's lock held, and waits for a thread that wants it: one process in several hung when all was done."""


def _meet_again(environment: Mapping[str, str], backend: str) -> None:
    """Let the processes that torchrun has started again meet where those before them did not.

    torchrun's agent keeps its store over restarts, and the addresses of the dead in it: the new processes
    would call those, or wait for each other for ever (pytorch issue 135712). One machine counts its restarts;
    several do not count alike, and are refused (``refuse_false_launch``).
    """
    attempt = environment.get("TORCHELASTIC_RESTART_COUNT", "0")
    if attempt == "0" or not _shares_store(environment) or torch.distributed.is_initialized():
        return
    rank, world = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    store = TCPStore(environment["MASTER_ADDR"], int(environment["MASTER_PORT"]), world, is_master=False)
    torch.distributed.init_process_group(
        backend,
        store=PrefixStore(f"attempt {attempt}", store),
        rank=rank,
        world_size=world,
        timeout=_EXCHANGE,
    )


def _shares_store(environment: Mapping[str, str]) -> bool:
    """Whether the processes meet in the store of torchrun's agent, which outlives them."""
    return environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def refuse_false_launch(environment: Mapping[str, str]) -> None:
    """Refuse to be the only process where several were asked for, and what trainkit does not run.

    ``accelerate launch --cpu --num_processes 2`` (and a MULTI_CPU configuration file) starts one process and
    says nothing. It leaves its traces: the address of a main process, and no rank.
    """
    by_accelerate = "ACCELERATE_MIXED_PRECISION" in environment and "MASTER_ADDR" in environment
    ranked = any(
        name in environment
        for name in ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")
    )
    if by_accelerate and not ranked:
        raise LaunchError(
            "accelerate launch was asked for several processes and started only this one (it does so for CPU "
            f"processes). Start them with: {_TORCHRUN.format(n=2)}"
        )
    several_machines = int(environment.get("GROUP_WORLD_SIZE", "1")) > 1
    restarts = int(environment.get("TORCHELASTIC_MAX_RESTARTS", "0"))
    if several_machines and restarts and _shares_store(environment):
        raise LaunchError(
            f"torchrun --max-restarts {restarts} on several machines keeps the addresses of ended processes, "
            "and those started again could wait for them for ever (pytorch issue 135712). Put "
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 into the environment of torchrun on every machine, or set "
            "--max-restarts 0"
        )
    for name, what in (("DEEPSPEED", "DeepSpeed"), ("MEGATRON_LM", "Megatron-LM")):
        if environment.get(f"ACCELERATE_USE_{name}", "false").lower() == "true":
            raise LaunchError(
                f"accelerate's configuration asks for {what}, whose engine would take the backward pass, the "
                "optimizer and its state away from the loop, and with them the exact resume. Use FSDP, which "
                "splits the same things: examples/accelerate/fsdp.yaml is ZeRO-3, "
                "examples/accelerate/fsdp_zero2.yaml is ZeRO-2"
            )


def wrapped(
    accelerator: Accelerator, denoiser: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[nn.Module, Any]:
    """The denoiser and the optimizer as accelerate runs them, for the gradients that there are now.

    Sharded weights exchange their gradients themselves; DistributedDataParallel must not do it again.
    """
    accelerator.unwrap_model(denoiser, keep_fp32_wrapper=False)  # Of an earlier wrapping's autocast.
    accelerator.free_memory()
    # accelerate marks a model that it has prepared, and leaves out the autocast when it is prepared again.
    denoiser.__dict__.pop("_is_accelerate_prepared", None)
    model: nn.Module = accelerator.prepare_model(denoiser, evaluation_mode=is_sharded(denoiser))
    return model, accelerator.prepare_optimizer(optimizer)


def synchronised(model: nn.Module, last: bool) -> contextlib.AbstractContextManager[None]:
    """Exchange gradients between devices only with the last micro-batch of a step."""
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(last)
        return contextlib.nullcontext()
    later: contextlib.AbstractContextManager[None] | None = None
    if not last and isinstance(model, nn.parallel.DistributedDataParallel):
        later = model.no_sync()
    return later or contextlib.nullcontext()
