"""The samplers: diffusers' schedulers, made to fit the objective that the model was trained with.

All of them walk trailing timesteps (Lin et al. 2023, arXiv:2305.08891, table 2): the first is always T - 1,
the one of pure noise under zero terminal SNR, and the last step ends in the picture. Where SNR is exactly 0,
sigma / alpha does not exist; Euler and DPM++ 2M take 2**-24 for the last alphas_cumprod instead, so that
Euler begins at 4096 times the noise and the network still sees pure noise, to 3e-8.

The timesteps are counted here and not by the schedulers, which differ from the formula twice (diffusers
0.42): floating point gives them one step too many at 62 step counts, the smallest 61, and that step runs at t
= -1; and DDIM goes down by T // n everywhere, though the timesteps lie T / n apart, so that noise is left
over when n does not divide T (figures: scripts/sampler_accuracy.py).
"""

from __future__ import annotations

import warnings
from fractions import Fraction
from typing import Any, Literal

import torch
from diffusers import DPMSolverMultistepScheduler, EulerDiscreteScheduler
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor

from trainkit.loss import ObjectiveConfig
from trainkit.models import scheduler_for
from trainkit.schedule import ScheduleConfig

SamplerName = Literal["ddim", "euler", "dpmpp_2m"]


class TrailingDDIM(DDIMScheduler):
    """DDIM without added noise (eta = 0) that goes from each timestep to the next one, however far that
    is."""

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor, *args: Any, **kwargs: Any) -> Any:
        """From ``sample`` at ``timestep`` to the timestep that follows it, or to the picture at the end."""
        later = self.timesteps[self.timesteps < timestep]
        gap = int(timestep) - (int(later[0]) if len(later) else -1)
        # diffusers steps down by T // num_inference_steps: with this fraction that is exactly the gap.
        self.num_inference_steps: Any = Fraction(self.config["num_train_timesteps"], gap)
        return super().step(model_output, int(timestep), sample, *args, **kwargs)


def trailing_timesteps(num_timesteps: int, steps: int) -> list[int]:
    """round(T, T - T/n, T - 2 T/n, ...) - 1, falling, exactly ``steps`` of them, the first T - 1.

    Raises ValueError when there are fewer timesteps than steps.
    """
    if not 1 <= steps <= num_timesteps:
        raise ValueError(f"steps is {steps}, must be 1 to {num_timesteps}, the model's timesteps")
    return [round(Fraction(num_timesteps * (steps - i), steps)) - 1 for i in range(steps)]


def make_sampler(
    name: SamplerName, schedule: ScheduleConfig, objective: ObjectiveConfig, steps: int, device: Any = "cpu"
) -> Any:
    """A scheduler with its timesteps set, for one batch.

    It wants noise times its ``init_noise_sigma``, ``scale_model_input`` before the network and ``step`` after
    it.
    """
    timesteps = trailing_timesteps(schedule.num_timesteps, steps)
    if name == "ddim":
        ddim = TrailingDDIM.from_config(scheduler_for(schedule, objective).config)
        ddim.timesteps = torch.tensor(timesteps, device=device)
        return ddim
    kinds: dict[str, Any] = {"euler": EulerDiscreteScheduler, "dpmpp_2m": DPMSolverMultistepScheduler}
    sampler = kinds[name](
        num_train_timesteps=schedule.num_timesteps,
        beta_start=schedule.beta_start,
        beta_end=schedule.beta_end,
        beta_schedule=schedule.beta_schedule,
        prediction_type=objective.prediction,
        rescale_betas_zero_snr=schedule.zero_terminal_snr,
        timestep_spacing="trailing",
    )
    with warnings.catch_warnings():
        # diffusers makes numpy arrays of tensors in a way that NumPy 2 deprecates.
        warnings.filterwarnings("ignore", "__array__ implementation doesn't accept", DeprecationWarning)
        sampler.set_timesteps(timesteps=timesteps, device=device)
    return sampler


def rescaled_guidance(cond: Tensor, uncond: Tensor, guidance: float, phi: float) -> Tensor:
    """Classifier-free guidance whose spread is brought back to the conditional prediction's.

    Both predictions [B, ...]; Lin et al. (2023), section 3.4, equations 14 to 16 with w = ``guidance``:

        x_cfg = uncond + w (cond - uncond)      x = phi x_cfg std(cond) / std(x_cfg) + (1 - phi) x_cfg

    The standard deviation is each sample's own, over all other dimensions. A prediction without any spread
    is left as it is.
    """
    cfg = uncond + guidance * (cond - uncond)
    dims = tuple(range(1, cond.dim()))
    spread = cfg.std(dim=dims, keepdim=True)
    ratio = torch.where(spread > 0, cond.std(dim=dims, keepdim=True) / spread, 1.0)
    return cfg * (phi * ratio + (1 - phi))
