"""A model onto its device, its weights whole or in parts."""

from __future__ import annotations

import json

import torch
from accelerate import Accelerator

from trainkit.config import RunConfig
from trainkit.errors import LaunchError
from trainkit.models import Denoiser, Model
from trainkit.sharding import Sharding, copy_hollow, shard


def split_weights(
    run: RunConfig,
    runs: tuple[RunConfig, ...],
    model: Model,
    accelerator: Accelerator,
    sharding: Sharding | None,
) -> Denoiser | None:
    """Move the denoiser to its device and shard its weights where that is asked for; the denoiser without
    memory then, to make whole copies from.

    Raises LaunchError for settings that cannot be used with sharded weights.
    """
    model.denoiser.to(accelerator.device)
    if sharding is None or not torch.distributed.is_initialized():
        return None
    for setting, plain in (("compile", "no"), ("channels_last", False)):
        if (value := getattr(run.model, setting)) != plain:
            raise LaunchError(
                f"model.{setting} = {json.dumps(value)} is not supported with sharded weights (FSDP); set it "
                f"to {json.dumps(plain)}, or use a configuration of accelerate without FSDP"
            )
    for own in runs:
        if "8bit" in own.optim.optimizer:
            raise LaunchError(
                f'optim.optimizer = "{own.optim.optimizer}" keeps its state in blocks that cannot be sharded '
                'with the weights (FSDP); use "adamw", whose state is sharded, or a configuration of '
                "accelerate without FSDP"
            )
    hollow = copy_hollow(model.denoiser)
    shard(model.denoiser, sharding, accelerator.device, accelerator.num_processes)
    return hollow
