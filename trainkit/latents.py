"""Latents of pictures: the VAE's answer, and draws from it.

The VAE's answer is a distribution; in training its sample is drawn anew in every step, or its mean alone is
taken. Mirroring a latent is not the latent of the mirrored picture.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import torch
from torch import Tensor

Moments = tuple[Tensor, Tensor]
"""Mean and standard deviation, unscaled."""

VaeDraw = Literal["sample", "mode"]
"""What is taken of the VAE's distribution: a new sample in every step, or its mean (which is its mode)."""


def encode(vae: Any, pixels: Tensor) -> Moments:
    """Mean and standard deviation [B, 4, h, w] of pictures [B, 3, H, W]; no gradients."""
    with torch.no_grad():
        posterior = vae.encode(pixels.to(vae.dtype)).latent_dist
    return posterior.mean.float(), posterior.std.float()


def sample(moments: Moments, eps: Tensor, scaling_factor: float) -> Tensor:
    """A draw from the VAE's distribution, scaled to about unit variance."""
    mean, std = moments
    return (mean + std * eps) * scaling_factor


def vae_fingerprint(vae: Any) -> str:
    """A hash of the VAE's weights."""
    digest = hashlib.blake2b(digest_size=8)
    for name, weight in sorted(vae.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().cpu().contiguous().float().numpy().tobytes())
    return digest.hexdigest()
