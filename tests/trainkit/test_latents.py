"""Latents as the VAE gives them."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL

from trainkit.latents import sample, vae_fingerprint


def test_a_draw_has_the_distribution_that_was_kept() -> None:
    mean, std = torch.full((4, 2, 2), 3.0), torch.full((4, 2, 2), 0.5)
    eps = torch.randn(4, 2, 2)
    torch.testing.assert_close(sample((mean, std), eps, 0.2), (3 + 0.5 * eps) * 0.2)


def test_fingerprint_tells_weights_apart(tiny_model: Path) -> None:
    vae, other = (AutoencoderKL.from_pretrained(tiny_model / "vae") for _ in range(2))
    assert vae_fingerprint(other) == vae_fingerprint(vae)
    with torch.no_grad():
        other.decoder.conv_out.bias[0] += 1e-3
    assert vae_fingerprint(other) != vae_fingerprint(vae)
