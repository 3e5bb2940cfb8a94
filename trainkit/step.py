"""One micro-batch to one loss: the single place where picture, text, noise and network meet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trainkit import latents
from trainkit.draws import generator
from trainkit.feed import Batch
from trainkit.loss import ObjectiveConfig, draw_timesteps, per_sample_loss, target_of
from trainkit.schedule import NoiseSchedule


@dataclass(frozen=True)
class Stepper:
    """What every step needs and none changes."""

    schedule: NoiseSchedule
    objective: ObjectiveConfig
    weights: Tensor
    """Loss weight of every timestep, [T]."""
    vae: Any
    scaling_factor: float
    seed: int
    group: int
    """Samples of one optimizer step over all devices; timesteps are stratified over them."""
    device: torch.device

    def loss(self, denoiser: nn.Module, batch: Batch) -> Tensor:
        """The sum over this device's samples of their weighted losses; a scalar to backpropagate."""
        moments = batch.latents if batch.latents is not None else self._encode_live(batch.pixels)
        noise = [self._noise(sample, moments[0].shape[1:]) for sample in batch.samples]
        eps_vae, eps, xi = (torch.stack(column).to(self.device) for column in zip(*noise, strict=True))
        mean, std = (m.to(self.device) for m in moments)
        x0 = latents.sample((mean, std), eps_vae, self.scaling_factor)

        t_B = self._timesteps(batch.samples)
        # The extra noise goes into the input only; the target is made of the clean noise.
        x_t = self.schedule.add_noise(x0, eps + self.objective.ip_noise_gamma * xi, t_B)
        target = target_of(self.objective, self.schedule, x0, eps, t_B)

        prediction = denoiser(x_t, t_B.to(self.device), batch.ids.to(self.device))
        weight = self.weights[t_B] * batch.weight
        return per_sample_loss(prediction, target, weight).sum()

    def _encode_live(self, pixels: Tensor | None) -> latents.Moments:
        assert pixels is not None, "a batch holds latents or pixels"
        return latents.encode(self.vae, pixels.to(self.device))

    def _noise(self, sample: int, shape: torch.Size) -> tuple[Tensor, Tensor, Tensor]:
        """Three independent draws for one sample: for the VAE, for the diffusion, for the input
        perturbation."""
        return (
            torch.randn(shape, generator=generator(self.seed, "vae", sample)),
            torch.randn(shape, generator=generator(self.seed, "noise", sample)),
            torch.randn(shape, generator=generator(self.seed, "input perturbation", sample)),
        )

    def _timesteps(self, samples: list[int]) -> Tensor:
        """Each sample's timestep; all samples of one optimizer step share one stratified draw."""
        step = samples[0] // self.group
        t = draw_timesteps(self.seed, step, self.group, self.schedule.num_timesteps)
        return t[torch.tensor([sample - step * self.group for sample in samples])]
