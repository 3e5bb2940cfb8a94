"""The gradient's norm, part by part: where a run learns, and where it goes wrong first."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainkit.sharding import local, summed


def grad_norms(denoiser: nn.Module) -> dict[str, float]:
    """L2 norm of the gradients of every group that has any, as "grad_norm/<group>".

    Groups (names of ``Denoiser.state_dict()``):

    - unet.time: the time embedding
    - unet.down, unet.mid, unet.up: the blocks with the convolution before and after them, without
    - unet.text: the cross-attention (attn2), through which captions come in
    - text_encoder.embeddings: token and position embeddings
    - text_encoder.lower, text_encoder.upper: the two halves of its layers; the last norm is upper

    Every parameter is in one group, so the squares sum to that of the whole norm. Call it after the backward
    pass and before clipping. It waits for the device once, whatever the number of parameters. Where weights
    are sharded every process must call it, and all get the same norms.
    """
    layers = _num_layers(denoiser)
    names, gradients = [], []
    for name, parameter in denoiser.named_parameters():
        if parameter.grad is not None:
            names.append(group_of(name, layers))
            gradients.append(parameter.grad)
    if not gradients:
        return {}
    groups = sorted(set(names))
    parts = [local(gradient) for gradient in gradients]
    norms = torch.stack(torch._foreach_norm(parts, 2, dtype=torch.float32))
    index = torch.tensor([groups.index(name) for name in names], device=norms.device)
    squares: Tensor = torch.zeros(len(groups), device=norms.device).index_add_(0, index, norms.square())
    summed(squares, gradients)
    return {f"grad_norm/{group}": norm for group, norm in zip(groups, squares.sqrt().tolist(), strict=True)}


def clip_gradients(denoiser: nn.Module, norm: float, most: float) -> None:
    """Scale all gradients so that their norm, which is known to be ``norm``, is at most ``most``.

    torch's own clip_grad_norm_ computes the norm once more: 1.2 % of a step on a CPU
    (tests/benchmarks/bench_loop.py).
    """
    if norm > most:
        gradients = [local(p.grad) for p in denoiser.parameters() if p.grad is not None]
        factor = most / (torch.tensor(norm) + 1e-6)
        torch._foreach_mul_(gradients, factor.clamp(max=1.0).to(gradients[0].device))


def group_of(name: str, layers: int) -> str:
    """The group of a parameter's name; ``layers`` is the number of layers of the text encoder."""
    parts = name.split(".")
    if parts[0] == "text_encoder":
        if "embeddings" in parts:
            return "text_encoder.embeddings"
        layer = int(parts[parts.index("layers") + 1]) if "layers" in parts else layers
        return "text_encoder.lower" if layer < layers // 2 else "text_encoder.upper"
    if "time_embedding" in parts:
        return "unet.time"
    if "attn2" in parts:
        return "unet.text"
    if "mid_block" in parts:
        return "unet.mid"
    return "unet.down" if {"conv_in", "down_blocks"} & set(parts) else "unet.up"


def _num_layers(denoiser: nn.Module) -> int:
    """Layers of the text encoder that are trained with: those that clip skip has left."""
    numbers = [
        int(parts[parts.index("layers") + 1])
        for name, _ in denoiser.named_parameters()
        if (parts := name.split("."))[0] == "text_encoder" and "layers" in parts
    ]
    return max(numbers, default=-1) + 1
