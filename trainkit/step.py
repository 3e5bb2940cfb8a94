"""One micro-batch to one loss: the single place where picture, text, noise and network meet."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from trainkit import latents
from trainkit.draws import derived_seed, generator
from trainkit.feed import Batch
from trainkit.loss import Losses, ObjectiveConfig, per_sample_error, target_of
from trainkit.schedule import NoiseSchedule
from trainkit.timesteps import draw_timesteps, timestep_probabilities


@dataclass(frozen=True)
class Stepper:
    """What every step of a phase needs and none changes."""

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
    vae_draw: latents.VaeDraw = "sample"
    first_step: int = 0
    """Optimizer steps of the run before this phase."""
    first_sample: int = 0
    """Samples of the run before this phase."""

    @cached_property
    def probabilities(self) -> Tensor:
        """How often each timestep is drawn, [T]."""
        return timestep_probabilities(self.objective.timesteps, self.schedule)

    def loss(self, denoiser: nn.Module, batch: Batch) -> Losses:
        """The losses of this device's samples."""
        x0 = self._drawn(batch)
        shape = x0.shape[1:]
        eps = self._noise("noise", batch.samples, shape)

        t_B = self._timesteps(batch.samples)
        # The extra noise goes into the input only; the target is made of the clean noise.
        x_t = self.schedule.add_noise(x0, self._perturbed(eps, batch.samples), t_B)
        target = target_of(self.objective, self.schedule, x0, eps, t_B)

        # Cached texts are float16 on their way to the device, and float32 there as if they had been encoded.
        ids_or_context = batch.ids if batch.context is None else batch.context
        text = self._sent(ids_or_context)
        text = text.float() if text.is_floating_point() else text
        prediction = denoiser(x_t, self._sent(t_B), text)
        mask = None if batch.mask is None else self._sent(batch.mask)
        error_B = per_sample_error(prediction, target, mask)
        weight_B = self._sent((self.weights[t_B] * batch.weight).float())
        return Losses((error_B * weight_B).sum(), error_B.detach(), _counted(batch), t_B)

    def _drawn(self, batch: Batch) -> Tensor:
        """The latents that are trained, scaled: a sample of the VAE's distribution, or its mean."""
        moments = batch.latents if batch.latents is not None else self._encode_live(batch.pixels)
        if self.vae_draw == "mode":
            return self._sent(moments[0]) * self.scaling_factor
        mean, std = (self._sent(m) for m in moments)
        eps = self._noise("vae", batch.samples, mean.shape[1:])
        return latents.sample((mean, std), eps, self.scaling_factor)

    def _encode_live(self, pixels: Tensor | None) -> latents.Moments:
        assert pixels is not None, "a batch holds latents or pixels"
        return latents.encode(self.vae, self._sent(pixels))

    def _sent(self, tensor: Tensor) -> Tensor:
        """On the device. A plain copy would first wait for all that the device still has to do, while it
        could be given more; what the loader hands over lies in pinned memory, from which no copy waits."""
        return tensor.to(self.device, non_blocking=True)

    def _noise(self, purpose: str, samples: list[int], shape: torch.Size) -> Tensor:
        """One draw of normal noise for each sample, [B, *shape], each from the stream of its purpose and
        sample, whatever else is in the batch."""
        noise = torch.empty(len(samples), *shape, pin_memory=self.device.type == "cuda")
        rng = torch.Generator()
        for row, sample in zip(noise, samples, strict=True):
            torch.randn(shape, generator=rng.manual_seed(derived_seed(self.seed, purpose, sample)), out=row)
        return self._sent(noise)

    def _perturbed(self, eps: Tensor, samples: list[int]) -> Tensor:
        """The noise with the input perturbation added."""
        gamma = self.objective.ip_noise_gamma
        if gamma == 0:
            return eps
        xi = self._noise("input perturbation", samples, eps.shape[1:])
        if not self.objective.ip_noise_random_strength:
            return eps + gamma * xi
        streams = (generator(self.seed, "input perturbation strength", sample) for sample in samples)
        strength = gamma * torch.stack([torch.rand((), generator=rng) for rng in streams])
        return eps + strength.view(-1, *(1,) * (eps.dim() - 1)).to(eps.device) * xi

    def _timesteps(self, samples: list[int]) -> Tensor:
        """Each sample's timestep; all samples of one optimizer step share one stratified draw."""
        done = (samples[0] - self.first_sample) // self.group
        t = draw_timesteps(
            self.objective.timesteps, self.probabilities, self.seed, self.first_step + done, self.group
        )
        first = self.first_sample + done * self.group
        return t[torch.tensor([sample - first for sample in samples])]


def _counted(batch: Batch) -> Tensor:
    """[B]: 0 for samples that say nothing about the model, 1 for all others."""
    counted = batch.weight > 0
    if batch.mask is not None:
        counted = counted & (batch.mask.flatten(1).sum(dim=1) > 0).to(counted.device)
    return counted.float()
