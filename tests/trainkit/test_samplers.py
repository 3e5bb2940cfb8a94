"""Samplers held against answers that are known exactly: no network, the right prediction by formula."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trainkit.loss import ObjectiveConfig
from trainkit.models import scheduler_for
from trainkit.samplers import SamplerName, make_sampler, rescaled_guidance, trailing_timesteps
from trainkit.schedule import NoiseSchedule, ScheduleConfig, make_schedule

ALL: tuple[SamplerName, ...] = get_args(SamplerName)
MEAN, SPREAD = 0.7, 0.5
"""Pictures drawn from N(0.7, 0.5^2) in every latent pixel; x_T = z ends in 0.7 + 0.5 z in the limit."""
Denoise = Callable[[NoiseSchedule, ObjectiveConfig, Tensor, int], Tensor]


def of_a_normal(schedule: NoiseSchedule, objective: ObjectiveConfig, x: Tensor, t: int) -> Tensor:
    """The exact prediction for N(MEAN, SPREAD^2): x0 by the posterior mean."""
    a, s = float(schedule.alpha[t]), float(schedule.sigma[t])
    x0 = MEAN + a * SPREAD**2 / ((a * SPREAD) ** 2 + s**2) * (x.double() - a * MEAN)
    return prediction_of(objective, a, s, x, x0)


def of_one_picture(schedule: NoiseSchedule, objective: ObjectiveConfig, x: Tensor, t: int) -> Tensor:
    """The exact prediction when there is only one picture, that of ``the_picture``."""
    return prediction_of(objective, float(schedule.alpha[t]), float(schedule.sigma[t]), x, the_picture(x))


def the_picture(x: Tensor) -> Tensor:
    return torch.linspace(-2, 2, x.numel(), dtype=torch.float64).reshape(x.shape)


def prediction_of(objective: ObjectiveConfig, a: float, s: float, x: Tensor, x0: Tensor) -> Tensor:
    eps = (x.double() - a * x0) / s
    return (eps if objective.prediction == "epsilon" else a * eps - s * x0).float()


def noise() -> Tensor:
    return torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1))


def walk(
    name: SamplerName, steps: int, denoise: Denoise, config: ScheduleConfig, objective: ObjectiveConfig
) -> tuple[Tensor, list[tuple[int, Tensor]]]:
    """The picture, and what the network was shown at each step."""
    sampler: Any = make_sampler(name, config, objective, steps)
    schedule = make_schedule(config)
    x = noise() * sampler.init_noise_sigma
    seen = []
    for t in sampler.timesteps:
        shown = sampler.scale_model_input(x, t)
        seen.append((int(t), shown))
        x = sampler.step(denoise(schedule, objective, shown, int(t)), t, x).prev_sample
        assert torch.isfinite(x).all()
    return x, seen


ZERO_SNR = (ScheduleConfig(), ObjectiveConfig())
OBJECTIVES = [
    ZERO_SNR,
    (ScheduleConfig(beta_schedule="linear"), ObjectiveConfig()),
    (ScheduleConfig(zero_terminal_snr=False), ObjectiveConfig()),
    (ScheduleConfig(zero_terminal_snr=False), ObjectiveConfig(prediction="epsilon")),
    (ScheduleConfig(num_timesteps=700), ObjectiveConfig()),
]
NAMES = ["v, zero SNR", "linear betas", "v, plain", "epsilon", "700 timesteps"]


@given(st.integers(2, 1000).flatmap(lambda T: st.tuples(st.just(T), st.integers(1, T))))
def test_timesteps_trail(case: tuple[int, int]) -> None:
    T, n = case
    steps = trailing_timesteps(T, n)
    assert len(steps) == n
    assert steps[0] == T - 1
    assert steps[-1] >= 0
    assert all(a > b for a, b in itertools.pairwise(steps))
    assert max(abs(t + 1 - T * (n - i) / n) for i, t in enumerate(steps)) <= 0.5


def test_timesteps_of_lin_et_al_and_of_diffusers_where_those_are_right() -> None:
    assert trailing_timesteps(1000, 5) == [999, 799, 599, 399, 199]
    stock: Any = scheduler_for(*ZERO_SNR)
    for steps in (1, 7, 20, 25, 30, 50, 333, 1000):
        stock.set_timesteps(steps)
        assert trailing_timesteps(1000, steps) == stock.timesteps.tolist()
    for steps in (0, 1001):
        with pytest.raises(ValueError, match=f"steps is {steps}, must be 1 to 1000"):
            trailing_timesteps(1000, steps)


@pytest.mark.parametrize("name", ALL)
def test_the_first_step_sees_pure_noise_at_the_last_timestep(name: SamplerName) -> None:
    _, seen = walk(name, 4, of_a_normal, *ZERO_SNR)
    assert [t for t, _ in seen] == [999, 749, 499, 249]
    torch.testing.assert_close(seen[0][1], noise(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("config", "objective"), OBJECTIVES, ids=NAMES)
@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("steps", [1, 2, 25, 61, 300])
def test_the_only_picture_there_is_comes_out(
    name: SamplerName, steps: int, config: ScheduleConfig, objective: ObjectiveConfig
) -> None:
    found, _ = walk(name, steps, of_one_picture, config, objective)
    # DDIM as Stable Diffusion configures it ends at t = 0, where sigma_0 of the noise is left.
    schedule = make_schedule(config)
    eps = (noise().double() - float(schedule.alpha[-1]) * the_picture(found)) / float(schedule.sigma[-1])
    left = float(schedule.sigma[0] * eps.abs().max()) if name == "ddim" else 0.0
    assert (found - the_picture(found)).abs().max() <= left + 2e-3


@pytest.mark.parametrize("name", ALL)
def test_the_error_falls_with_the_number_of_steps_whatever_it_is(name: SamplerName) -> None:
    # 61: one timestep too many by floating point; 300 and 600: T / n is no whole number.
    errors = []
    for steps in (25, 61, 300, 600):
        found, _ = walk(name, steps, of_a_normal, *ZERO_SNR)
        errors.append(float((found - (MEAN + SPREAD * noise())).abs().max()))
        assert errors[-1] < 7 / steps + 0.005
        assert abs(float(found.std() / noise().std()) - SPREAD) < 2.5 / steps
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("steps", [20, 25, 50])
def test_ddim_is_diffusers_own_where_that_is_right(steps: int) -> None:
    stock: Any = scheduler_for(*ZERO_SNR)
    own: Any = make_sampler("ddim", *ZERO_SNR, steps)
    stock.set_timesteps(steps)
    assert own.timesteps.tolist() == stock.timesteps.tolist()
    x = y = noise()
    for t in stock.timesteps:
        x = stock.step(torch.tanh(x), int(t), x).prev_sample
        y = own.step(torch.tanh(y), t, y).prev_sample
    assert torch.equal(x, y)


def test_dpm_solver_needs_the_fewest_steps() -> None:
    def error(name: SamplerName) -> float:
        found, _ = walk(name, 25, of_a_normal, *ZERO_SNR)
        return float((found - (MEAN + SPREAD * noise())).abs().max())

    assert error("dpmpp_2m") < 0.8 * min(error("ddim"), error("euler"))


def plainly_rescaled(pos: np.ndarray[Any, Any], neg: np.ndarray[Any, Any], w: float, phi: float) -> Any:
    """Lin et al. (2023), section 3.4, sample by sample."""
    rows = []
    for p, n in zip(pos, neg, strict=True):
        cfg = n + w * (p - n)
        spread_pos = math.sqrt(((p - p.mean()) ** 2).sum() / (p.size - 1))
        spread_cfg = math.sqrt(((cfg - cfg.mean()) ** 2).sum() / (cfg.size - 1))
        rows.append(phi * (cfg * spread_pos / spread_cfg) + (1 - phi) * cfg)
    return np.stack(rows)


@given(st.floats(1, 20), st.floats(0, 1), st.integers(0, 2**31))
def test_guidance_is_rescaled_as_in_the_paper(w: float, phi: float, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    cond, uncond = (torch.randn(3, 4, 5, 6, generator=g, dtype=torch.float64) for _ in range(2))
    found = rescaled_guidance(cond, uncond, w, phi)
    expected = plainly_rescaled(cond.numpy(), uncond.numpy(), w, phi)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)  # Differences can be close to 0.


def test_guidance_at_its_ends() -> None:
    cond, uncond = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    torch.testing.assert_close(rescaled_guidance(cond, uncond, 7.5, 0), uncond + 7.5 * (cond - uncond))
    whole = rescaled_guidance(cond, uncond, 7.5, 1)
    torch.testing.assert_close(whole.std(dim=(1, 2, 3)), cond.std(dim=(1, 2, 3)))
    flat = torch.full((1, 4, 8, 8), 0.25)
    assert torch.equal(rescaled_guidance(flat, torch.zeros_like(flat), 2.0, 0.7), 2 * flat)
