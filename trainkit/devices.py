"""The devices of a run, through accelerate."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration

from trainkit.errors import LaunchError

_TORCHRUN = "torchrun --nproc_per_node {n} -m trainkit train run.toml"


def make_accelerator(mixed_precision: str, out: Path, *, tensorboard: bool, tf32: bool) -> Accelerator:
    """The accelerator of this process; ``tf32`` holds for the whole process.

    Raises LaunchError when several processes would not know of each other.
    """
    refuse_false_launch(os.environ)
    cpu = not torch.cuda.is_available()
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
    if mixed_precision == "auto":
        mixed_precision = "bf16" if not cpu and torch.cuda.is_bf16_supported() else "no"
    accelerator = Accelerator(
        cpu=cpu,
        mixed_precision=mixed_precision,
        log_with="tensorboard" if tensorboard else None,
        project_config=ProjectConfiguration(project_dir=str(out), logging_dir=str(out)),
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


def refuse_false_launch(environment: Mapping[str, str]) -> None:
    """Refuse to be the only process where several were asked for.

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
