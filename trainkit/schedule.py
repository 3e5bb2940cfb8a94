"""The noise schedule: signal and noise shares of every timestep, and the conversions between x0, epsilon and
v.

Notation of Salimans & Ho (2022), arXiv:2202.00512:

    x_t = alpha_t x_0 + sigma_t eps        v_t = alpha_t eps - sigma_t x_0        alpha_t^2 + sigma_t^2 = 1
    x_0 = alpha_t x_t - sigma_t v_t        eps = sigma_t x_t + alpha_t v_t     SNR S_t = alpha_t^2 / sigma_t^2

t = 0 .. T-1 as in diffusers. Everything is computed in float64 and kept as pairs (alpha_t, sigma_t): with
zero terminal SNR alpha_{T-1} is exactly 0, so sigma/alpha, log S and 1/S do not exist there and are never
formed. diffusers' own ``add_noise`` and ``get_velocity`` cast the products of alphas to the latents' data
type before the square root; in bfloat16 that adds no noise at all at t = 0 and 1. Here the float32
coefficients multiply instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor


class ScheduleConfig(BaseModel):
    """The noise schedule of the model. The defaults are Stable Diffusion 1.5's, with zero terminal SNR."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    num_timesteps: int = Field(default=1000, ge=2, le=100_000)
    """T, the number of training timesteps."""
    beta_start: float = Field(default=0.00085, gt=0, lt=1)
    """beta_0 before any rescaling."""
    beta_end: float = Field(default=0.012, gt=0, lt=1)
    """beta_{T-1} before any rescaling."""
    beta_schedule: Literal["scaled_linear", "linear"] = "scaled_linear"
    """"scaled_linear": the square roots of beta are equidistant (all Stable Diffusion models); "linear": beta
    itself."""
    zero_terminal_snr: bool = True
    """Rescale so that the last timestep is pure noise (Lin et al. 2023, arXiv:2305.08891, Algorithm 1)."""


@dataclass(frozen=True, slots=True)
class NoiseSchedule:
    """Tables over timesteps, each of shape [T], float64, on the CPU."""

    alpha: Tensor
    """sqrt(alphas_cumprod); with zero terminal SNR the last entry is exactly 0."""
    sigma: Tensor
    """sqrt(1 - alphas_cumprod)."""
    snr: Tensor
    """alpha^2 / sigma^2 of this schedule; exactly 0 at the end with zero terminal SNR."""
    snr_original: Tensor
    """SNR before the rescale; the same table when nothing was rescaled."""

    @property
    def num_timesteps(self) -> int:
        """T."""
        return len(self.alpha)

    def coefficients(self, t_B: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha_t, sigma_t) in float32, shaped [B, 1, ...] to multiply a tensor with as many dimensions as
        ``like``."""
        shape = (-1, *(1,) * (like.dim() - 1))
        alpha, sigma = self.alpha.float(), self.sigma.float()
        t = t_B.cpu()
        # Not waiting for what the device still has to do.
        return (
            alpha[t].view(shape).to(like.device, non_blocking=True),
            sigma[t].view(shape).to(like.device, non_blocking=True),
        )

    def add_noise(self, x0: Tensor, eps: Tensor, t_B: Tensor) -> Tensor:
        """x_t = alpha_t x_0 + sigma_t eps, in float32 whatever the inputs are."""
        alpha_t, sigma_t = self.coefficients(t_B, x0)
        return alpha_t * x0.float() + sigma_t * eps.float()

    def velocity(self, x0: Tensor, eps: Tensor, t_B: Tensor) -> Tensor:
        """v_t = alpha_t eps - sigma_t x_0, in float32."""
        alpha_t, sigma_t = self.coefficients(t_B, x0)
        return alpha_t * eps.float() - sigma_t * x0.float()

    def x0_from_velocity(self, x_t: Tensor, v: Tensor, t_B: Tensor) -> Tensor:
        """x_0 = alpha_t x_t - sigma_t v; finite at every timestep."""
        alpha_t, sigma_t = self.coefficients(t_B, x_t)
        return alpha_t * x_t.float() - sigma_t * v.float()

    def eps_from_velocity(self, x_t: Tensor, v: Tensor, t_B: Tensor) -> Tensor:
        """eps = sigma_t x_t + alpha_t v; finite at every timestep."""
        alpha_t, sigma_t = self.coefficients(t_B, x_t)
        return sigma_t * x_t.float() + alpha_t * v.float()


def make_schedule(config: ScheduleConfig) -> NoiseSchedule:
    """The tables for a configuration."""
    T = config.num_timesteps
    if config.beta_schedule == "scaled_linear":
        betas = torch.linspace(config.beta_start**0.5, config.beta_end**0.5, T, dtype=torch.float64) ** 2
    else:
        betas = torch.linspace(config.beta_start, config.beta_end, T, dtype=torch.float64)
    original = torch.cumprod(1.0 - betas, dim=0)
    alphas_cumprod = rescale_zero_terminal_snr(original) if config.zero_terminal_snr else original
    return NoiseSchedule(
        alpha=alphas_cumprod.sqrt(),
        sigma=(1.0 - alphas_cumprod).sqrt(),
        snr=alphas_cumprod / (1.0 - alphas_cumprod),
        snr_original=original / (1.0 - original),
    )


def rescale_zero_terminal_snr(alphas_cumprod: Tensor) -> Tensor:
    """Shift and scale sqrt(alphas_cumprod) so that the last is 0 and the first stays (Lin et al. 2023,
    Algorithm 1)."""
    s = alphas_cumprod.sqrt()
    rescaled = (s - s[-1]) * (s[0] / (s[0] - s[-1]))
    return rescaled**2
