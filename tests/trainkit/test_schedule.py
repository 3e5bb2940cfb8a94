"""The noise schedule: identities as laws, pinned tables, diffusers as a second opinion."""

from __future__ import annotations

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr as rescale_of_diffusers
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.trainkit.tables import BETAS, RESCALED, SIGMAS, STEPS
from trainkit.loss import ObjectiveConfig
from trainkit.models import scheduler_for
from trainkit.schedule import NoiseSchedule, ScheduleConfig, make_schedule, rescale_zero_terminal_snr

SD15 = make_schedule(ScheduleConfig())
AT = torch.tensor(STEPS)


def noise_pair(seed: int, *shape: int) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=rng), torch.randn(shape, generator=rng)


schedules = st.builds(
    lambda steps, start, end, kind, zero: make_schedule(
        ScheduleConfig(
            num_timesteps=steps, beta_start=start, beta_end=end, beta_schedule=kind, zero_terminal_snr=zero
        )
    ),
    st.integers(2, 1500),
    st.floats(1e-5, 0.005),
    st.floats(0.006, 0.05),
    st.sampled_from(["scaled_linear", "linear"]),
    st.booleans(),
)


@given(schedules)
def test_every_schedule_keeps_variance_and_gets_noisier(schedule: NoiseSchedule) -> None:
    total = schedule.alpha**2 + schedule.sigma**2
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-12)
    assert (schedule.alpha.diff() < 0).all()
    assert (schedule.sigma.diff() >= 0).all()  # Close to 1, float64 has no number between two neighbours.
    assert torch.isfinite(schedule.snr).all()


@given(schedules, st.data(), st.integers(0, 2**32))
def test_v_turns_back_into_picture_and_noise(schedule: NoiseSchedule, data: st.DataObject, seed: int) -> None:
    steps = st.integers(0, schedule.num_timesteps - 1)
    t = torch.tensor([data.draw(steps), schedule.num_timesteps - 1])
    x0, eps = noise_pair(seed, 2, 4, 3, 5)
    x_t, v = schedule.add_noise(x0, eps, t), schedule.velocity(x0, eps, t)
    torch.testing.assert_close(schedule.x0_from_velocity(x_t, v, t), x0, rtol=0, atol=1e-5)
    torch.testing.assert_close(schedule.eps_from_velocity(x_t, v, t), eps, rtol=0, atol=1e-5)


@given(st.integers(0, 998), st.integers(0, 2**32))
def test_error_in_v_is_error_in_x0_times_snr_plus_one(t: int, seed: int) -> None:
    # In float64 by hand, so that the law itself is exact: |v - v'|^2 = (S + 1) |x0 - x0'|^2.
    x_t, v = (n.double() for n in noise_pair(seed, 50))
    other = v + 0.1
    alpha, sigma = SD15.alpha[t], SD15.sigma[t]
    error_x0 = ((alpha * x_t - sigma * v) - (alpha * x_t - sigma * other)).square().sum()
    torch.testing.assert_close((v - other).square().sum(), (SD15.snr[t] + 1) * error_x0)


@given(st.integers(0, 998), st.integers(0, 2**32))
def test_error_in_v_is_error_in_epsilon_times_snr_plus_one_over_snr(t: int, seed: int) -> None:
    # |v - v'|^2 = (S + 1) / S |eps - eps'|^2, in float64 by hand.
    x_t, v = (n.double() for n in noise_pair(seed, 50))
    other = v + 0.1
    alpha, sigma, S = SD15.alpha[t], SD15.sigma[t], SD15.snr[t]
    error_eps = ((sigma * x_t + alpha * v) - (sigma * x_t + alpha * other)).square().sum()
    torch.testing.assert_close(S * (v - other).square().sum(), (S + 1) * error_eps)


@given(st.integers(0, 998), st.integers(0, 2**32))
def test_v_network_is_the_preconditioned_one_of_k_diffusion(t: int, seed: int) -> None:
    # D(x; s) = c_skip x + c_out F(c_in x) with sigma_data = 1 and the sign turned: c_skip = 1 / (s^2 + 1),
    # c_out = -s / sqrt(s^2 + 1), c_in = 1 / sqrt(s^2 + 1), where s = sigma / alpha and x = x_t / alpha.
    x_t, v = (n.double() for n in noise_pair(seed, 50))
    s = 1 / SD15.snr[t].sqrt()
    x = x_t / SD15.alpha[t]
    torch.testing.assert_close(x / (s**2 + 1).sqrt(), x_t)
    theirs = x / (s**2 + 1) - s / (s**2 + 1).sqrt() * v
    torch.testing.assert_close(theirs, SD15.alpha[t] * x_t - SD15.sigma[t] * v)
    ours = SD15.x0_from_velocity(x_t[None].float(), v[None].float(), torch.tensor([t]))[0]
    torch.testing.assert_close(ours, theirs.float(), rtol=1e-5, atol=1e-5)


def test_last_step_is_pure_noise_exactly() -> None:
    x0, eps = noise_pair(0, 3, 4, 2, 2)
    last = torch.full((3,), 999)
    assert torch.equal(SD15.add_noise(x0, eps, last), eps)
    assert torch.equal(SD15.velocity(x0, eps, last), -x0)
    assert SD15.alpha[-1] == 0
    assert SD15.sigma[-1] == 1
    assert SD15.snr[-1] == 0


def test_rescaling_keeps_the_first_step() -> None:
    plain = make_schedule(ScheduleConfig(zero_terminal_snr=False))
    torch.testing.assert_close(SD15.alpha[0], plain.alpha[0], rtol=1e-12, atol=0)
    assert torch.equal(plain.snr, plain.snr_original)
    assert torch.equal(SD15.snr_original, plain.snr)


@pytest.mark.parametrize("name", ["alpha", "sigma", "snr", "snr_original"])
def test_tables_in_float64(name: str) -> None:
    found: Tensor = getattr(SD15, name)
    assert found.dtype == torch.float64
    expected = torch.tensor(RESCALED[name], dtype=torch.float64)
    torch.testing.assert_close(found[AT], expected, rtol=1e-7, atol=0)


def test_tables_of_squares_in_float64() -> None:
    expected = torch.tensor(RESCALED["alphas_cumprod"], dtype=torch.float64)
    torch.testing.assert_close(SD15.alpha[AT] ** 2, expected, rtol=1e-7, atol=0)
    original = torch.tensor(RESCALED["alphas_cumprod_original"], dtype=torch.float64)
    snr = SD15.snr_original[AT]
    torch.testing.assert_close(snr / (1 + snr), original, rtol=1e-7, atol=0)


def test_betas_and_sigmas_in_float64() -> None:
    cumulative = SD15.alpha**2
    betas = 1 - cumulative / torch.cat([cumulative.new_ones(1), cumulative[:-1]])
    torch.testing.assert_close(betas[AT], torch.tensor(BETAS, dtype=torch.float64), rtol=1e-7, atol=0)
    for name, snr in (("rescaled", SD15.snr), ("original", SD15.snr_original)):
        expected = torch.tensor(SIGMAS[name], dtype=torch.float64)
        torch.testing.assert_close(snr[AT].rsqrt(), expected, rtol=1e-7, atol=0)
    torch.testing.assert_close(
        (SD15.sigma / SD15.alpha)[AT],
        torch.tensor(SIGMAS["rescaled"], dtype=torch.float64),
        rtol=1e-7,
        atol=0,
    )


def test_tables_worked_out_in_float32() -> None:
    # The same formulas in single precision, as peers compute them: within 5e-4, and the end exactly 0.
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    original = torch.cumprod(1 - betas, dim=0)
    cumulative = rescale_zero_terminal_snr(original)
    assert cumulative.dtype == torch.float32
    assert cumulative[-1] == 0
    found = {
        "alphas_cumprod_original": original,
        "snr_original": original / (1 - original),
        "alphas_cumprod": cumulative,
        "snr": cumulative / (1 - cumulative),
        "alpha": cumulative.sqrt(),
        "sigma": (1 - cumulative).sqrt(),
    }
    assert set(found) == set(RESCALED)
    for name, table in found.items():
        torch.testing.assert_close(table[AT], torch.tensor(RESCALED[name]), rtol=5e-4, atol=0)
    for name in ("original", "rescaled"):
        snr = found["snr" if name == "rescaled" else "snr_original"]
        torch.testing.assert_close(snr[AT].rsqrt(), torch.tensor(SIGMAS[name]), rtol=5e-4, atol=0)
    ratios = 1 - cumulative / torch.cat([cumulative.new_ones(1), cumulative[:-1]])
    torch.testing.assert_close(ratios[AT], torch.tensor(BETAS), rtol=5e-4, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_coefficients_are_float32_tables_whatever_the_latents_are(dtype: torch.dtype) -> None:
    alpha, sigma = SD15.coefficients(AT, torch.zeros(len(AT), 4, 2, 2, dtype=dtype))
    assert alpha.dtype == sigma.dtype == torch.float32
    assert alpha.shape == (len(AT), 1, 1, 1)
    torch.testing.assert_close(alpha.flatten(), torch.tensor(RESCALED["alpha"]), rtol=5e-4, atol=0)
    torch.testing.assert_close(sigma.flatten(), torch.tensor(RESCALED["sigma"]), rtol=5e-4, atol=0)
    assert alpha.flatten()[-1] == 0
    # Far closer than the tables' own tolerance: the only rounding is the last one.
    torch.testing.assert_close(alpha.flatten().double(), SD15.alpha[AT], rtol=6e-8, atol=0)


def test_bfloat16_latents_get_their_noise_at_the_first_steps() -> None:
    # diffusers' add_noise would add none here: alphas_cumprod rounds to 1 in bfloat16.
    x0, eps = (n.bfloat16() for n in noise_pair(1, 2, 4, 2, 2))
    t = torch.tensor([0, 1])
    for found, full in (
        (SD15.add_noise(x0, eps, t), SD15.add_noise(x0.float(), eps.float(), t)),
        (SD15.velocity(x0, eps, t), SD15.velocity(x0.float(), eps.float(), t)),
    ):
        assert found.dtype == torch.float32
        assert torch.equal(found, full)
    assert not torch.equal(SD15.add_noise(x0, eps, t), x0.float())


def test_rescale_agrees_with_diffusers() -> None:
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    theirs = torch.cumprod(1 - rescale_of_diffusers(betas), dim=0)
    torch.testing.assert_close(SD15.alpha**2, theirs, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("kind", ["scaled_linear", "linear"])
def test_sampler_has_the_trained_schedule(kind: str) -> None:
    config = ScheduleConfig.model_validate({"beta_schedule": kind})
    sampler = scheduler_for(config, ObjectiveConfig())
    ours = (make_schedule(config).alpha ** 2).float()
    torch.testing.assert_close(sampler.alphas_cumprod, ours, rtol=5e-4, atol=1e-6)
    assert sampler.alphas_cumprod[-1] == 0
    sampler.set_timesteps(5)
    assert sampler.timesteps.tolist() == [999, 799, 599, 399, 199]
