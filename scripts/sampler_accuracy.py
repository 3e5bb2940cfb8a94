"""How exact the samplers are: with a network that is right by formula, where do they end?

    python scripts/sampler_accuracy.py

Pictures are N(0.7, 0.5^2) in every latent pixel; the network's v is computed from that. For each number of
steps: the standard deviation that comes out, of diffusers' DDIM as it counts its steps itself, and of the
three samplers of trainkit. 0.5 is right; more steps must come closer.
"""

from __future__ import annotations

import warnings
from typing import Any, get_args

import torch
from torch import Tensor

from trainkit.loss import ObjectiveConfig
from trainkit.models import scheduler_for
from trainkit.samplers import SamplerName, make_sampler
from trainkit.schedule import NoiseSchedule, ScheduleConfig, make_schedule

MEAN, SPREAD = 0.7, 0.5


def exact_v(schedule: NoiseSchedule, x_t: Tensor, t: int) -> Tensor:
    """v of the posterior mean of x_0."""
    a, s = float(schedule.alpha[t]), float(schedule.sigma[t])
    x = x_t.double()
    x0 = MEAN + a * SPREAD**2 / ((a * SPREAD) ** 2 + s**2) * (x - a * MEAN)
    return (a * (x - a * x0) / s - s * x0).float()


def spread(sampler: Any) -> float:
    """Standard deviation of the result over that of the noise."""
    schedule = make_schedule(ScheduleConfig())
    noise = torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    x = noise * sampler.init_noise_sigma
    for t in sampler.timesteps:
        x = sampler.step(exact_v(schedule, sampler.scale_model_input(x, t), int(t)), t, x).prev_sample
    return float(x.std() / noise.std())


def main() -> None:
    """Print a table."""
    warnings.simplefilter("ignore")
    names: tuple[SamplerName, ...] = get_args(SamplerName)
    print("| steps | diffusers' DDIM | " + " | ".join(names) + " |")
    print("|---" * (2 + len(names)) + "|")
    for steps in (20, 25, 30, 61, 100, 300, 600):
        stock = scheduler_for(ScheduleConfig(), ObjectiveConfig())
        stock.set_timesteps(steps)
        samplers = [make_sampler(name, ScheduleConfig(), ObjectiveConfig(), steps) for name in names]
        print(f"| {steps} | " + " | ".join(f"{spread(sampler):.3f}" for sampler in [stock, *samplers]) + " |")
    too_many = []
    for steps in range(1, 1001):
        stock.set_timesteps(steps)
        if len(stock.timesteps) != steps:
            too_many.append(steps)
    print(f"diffusers counts one step too many at {len(too_many)} of 1000, the smallest {too_many[0]}")


if __name__ == "__main__":
    main()
