"""The objective: weights against pinned tables, timesteps, target and input perturbation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.trainkit.tables import EPSILON_WEIGHTS, MEAN_WEIGHTS, STEPS, WEIGHTS
from trainkit.feed import Batch
from trainkit.loss import ObjectiveConfig, draw_timesteps, loss_weights, per_sample_loss
from trainkit.schedule import ScheduleConfig, make_schedule
from trainkit.step import Stepper

SD15 = make_schedule(ScheduleConfig())
AT = torch.tensor(STEPS)


def objective(
    source: str = "rescaled", weighting: str = "soft_min_snr", gamma: float = 3, **more: Any
) -> ObjectiveConfig:
    settings = {"snr_source": source, "weighting": weighting, "gamma": gamma, "weight_floor": 0.0, **more}
    return ObjectiveConfig.model_validate(settings)


@pytest.mark.parametrize("key", WEIGHTS, ids=str)
def test_v_weights_are_those_of_the_tables(key: tuple[str, str, float]) -> None:
    weights = loss_weights(objective(*key), SD15)
    assert weights.dtype == torch.float64
    expected = torch.tensor(WEIGHTS[key], dtype=torch.float64)
    torch.testing.assert_close(weights[AT], expected, rtol=1e-7, atol=0)
    assert weights.mean().item() == pytest.approx(MEAN_WEIGHTS[key], rel=1e-7)
    # What a step uses: float32.
    torch.testing.assert_close(weights[AT].float(), expected.float(), rtol=5e-4, atol=0)


@pytest.mark.parametrize("key", EPSILON_WEIGHTS, ids=str)
def test_epsilon_weights_are_those_of_the_table(key: tuple[str, str, float]) -> None:
    weights = loss_weights(objective(*key, prediction="epsilon"), SD15)
    expected = torch.tensor(EPSILON_WEIGHTS[key], dtype=torch.float64)
    torch.testing.assert_close(weights[AT], expected, rtol=1e-7, atol=0)


objectives = st.builds(
    objective,
    st.sampled_from(["rescaled", "original"]),
    st.sampled_from(["none", "min_snr", "soft_min_snr"]),
    st.floats(0.1, 50),
    prediction=st.sampled_from(["v_prediction", "epsilon"]),
    weight_floor=st.floats(0, 1),
)


@given(objectives)
def test_every_weighting_is_finite_up_to_the_terminal_step(config: ObjectiveConfig) -> None:
    weights = loss_weights(config, SD15)
    assert torch.isfinite(weights).all()
    assert (weights >= 0).all()
    assert (weights <= 1).all()
    if config.weighting != "none":
        assert (weights >= config.weight_floor).all()
    t = torch.tensor([0, 500, 999])
    prediction = torch.randn(3, 4, 2, 2, requires_grad=True)
    target = SD15.velocity(torch.ones(3, 4, 2, 2), torch.ones(3, 4, 2, 2), t)
    loss = per_sample_loss(prediction, target, weights[t])
    (gradient,) = torch.autograd.grad(loss.sum(), prediction)
    assert loss.shape == (3,)
    assert torch.isfinite(loss).all()
    assert torch.isfinite(gradient).all()


@given(st.floats(0.5, 20), st.sampled_from(["rescaled", "original"]))
def test_soft_weight_is_between_half_of_the_hard_one_and_all_of_it(gamma: float, source: str) -> None:
    hard = loss_weights(objective(source, "min_snr", gamma), SD15)
    soft = loss_weights(objective(source, "soft_min_snr", gamma), SD15)
    assert (soft <= hard * (1 + 1e-12)).all()
    assert (soft >= hard / 2 * (1 - 1e-12)).all()


def test_a_floor_makes_the_terminal_step_count() -> None:
    weights = loss_weights(objective(weight_floor=0.05), SD15)
    assert weights[999] == 0.05
    assert weights[500].item() == pytest.approx(0.217948521)


@given(st.integers(0, 2**32), st.integers(0, 10**6), st.integers(1, 300), st.integers(2, 2000))
def test_a_group_of_timesteps_covers_all_strata(seed: int, step: int, group: int, steps: int) -> None:
    t = draw_timesteps(seed, step, group, steps)
    assert t.shape == (group,)
    assert t.dtype == torch.int64
    assert t.min() >= 0
    assert t.max() < steps
    # Sorted, neighbours are one stratum apart, give or take the rounding down.
    gaps = t.sort().values.diff()
    assert (gaps >= steps // group).all()
    assert (gaps <= -(-steps // group)).all()
    assert torch.equal(t, draw_timesteps(seed, step, group, steps))


@pytest.mark.statistics
def test_each_timestep_by_itself_is_uniform() -> None:
    # 8000 draws of the first sample of a group over ten bins: chi-square with 9 degrees of freedom is over
    # 27.9
    # once in 1000 seeds. The seed is fixed, so the test always says the same.
    first = torch.stack([draw_timesteps(7, step, 16, 1000)[0] for step in range(8000)])
    counts = torch.bincount(first // 100, minlength=10).double()
    assert ((counts - 800).square() / 800).sum().item() < 27.9


@pytest.mark.statistics
def test_neighbours_in_a_group_do_not_follow_each_other() -> None:
    # Dealt in random order: the correlation of a group's first two samples is -1/15 in the mean over 16
    # strata,
    # and over 4000 groups its standard error is 0.016; 0.1 off happens about once in 10^9 seeds.
    pairs = torch.stack([draw_timesteps(3, step, 16, 1000)[:2] for step in range(4000)]).double()
    assert torch.corrcoef(pairs.T)[0, 1].item() == pytest.approx(-1 / 15, abs=0.1)


MEAN = torch.arange(2 * 4 * 2 * 2, dtype=torch.float32).reshape(2, 4, 2, 2) / 32
"""The mean of two samples' latents."""


class Recorder(nn.Module):
    """Stands in for the networks: remembers its input, answers with zeros, so the loss shows the target."""

    def __init__(self) -> None:
        super().__init__()
        self.x_t = torch.zeros(0)
        self.t = torch.zeros(0)

    def forward(self, x_t: Tensor, t_B: Tensor, ids: Tensor) -> Tensor:
        self.x_t, self.t = x_t, t_B
        return torch.zeros_like(x_t, requires_grad=True)


def one_step(
    config: ObjectiveConfig, first: int = 0, weight: float = 1.0, std: float = 0.1
) -> tuple[Recorder, Tensor]:
    """One micro-batch of two samples through a Stepper: (what the network saw, the loss)."""
    batch = Batch(
        number=0,
        latents=(MEAN, torch.full_like(MEAN, std)),
        pixels=None,
        ids=torch.zeros(2, 1, 77, dtype=torch.long),
        samples=[first, first + 1],
        weight=torch.tensor([1.0, weight]),
        texts=["", ""],
        records=["a", "b"],
        problems=[],
    )
    stepper = Stepper(SD15, config, loss_weights(config, SD15), None, 0.5, 0, 8, torch.device("cpu"))
    recorder = Recorder()
    return recorder, stepper.loss(recorder, batch)


@given(st.floats(0.01, 1), st.integers(0, 100))
def test_input_perturbation_changes_the_input_and_not_the_target(gamma: float, number: int) -> None:
    plain, plain_loss = one_step(objective(weighting="none", ip_noise_gamma=0.0), first=2 * number)
    perturbed, loss = one_step(objective(weighting="none", ip_noise_gamma=gamma), first=2 * number)
    assert torch.equal(plain.t, perturbed.t)
    # The prediction is zero, so the loss is the mean square of the target: the same to the last bit.
    assert torch.equal(loss, plain_loss)
    xi = (perturbed.x_t - plain.x_t) / (gamma * SD15.coefficients(plain.t, plain.x_t)[1])
    assert 0.3 < xi.std().item() < 2
    other, _ = one_step(objective(weighting="none", ip_noise_gamma=0.0), first=2 * number + 200)
    assert not torch.allclose(other.x_t, plain.x_t)


def test_a_sample_of_weight_zero_does_not_count() -> None:
    config = objective(weighting="none")
    _, both = one_step(config)
    _, first = one_step(config, weight=0.0)
    assert 0 < first.item() < both.item()


@given(st.integers(0, 10**6))
def test_the_samples_of_a_step_share_its_strata(step: int) -> None:
    # Eight samples a step, in four micro-batches of two.
    seen = [one_step(objective(), first=8 * step + 2 * micro)[0].t for micro in range(4)]
    assert torch.equal(torch.cat(seen), draw_timesteps(0, step, 8, 1000))


def noise_seen(first: int) -> Tensor:
    """The noise that samples ``first`` and ``first + 1`` got, worked out from the network's input; [2, 4, 2,
    2]."""
    seen, _ = one_step(objective(ip_noise_gamma=0.0), first=first, std=0.0)
    alpha, sigma = SD15.coefficients(seen.t, seen.x_t)
    return (seen.x_t - alpha * MEAN * 0.5) / sigma


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=4, unique=True))
def test_every_sample_has_noise_of_its_own(steps: list[int]) -> None:
    noises = [noise for step in steps for noise in noise_seen(2 * step)]
    for i, one in enumerate(noises):
        # Sixteen normal numbers each: two of them as close as this by chance are never seen.
        assert all((one - other).abs().max() > 0.05 for other in noises[:i])
    torch.testing.assert_close(noise_seen(2 * steps[0])[1], noises[1])


def test_the_latent_itself_is_a_draw() -> None:
    sharp, _ = one_step(objective(ip_noise_gamma=0.0), std=0.0)
    blurred, _ = one_step(objective(ip_noise_gamma=0.0), std=0.1)
    again, _ = one_step(objective(ip_noise_gamma=0.0), std=0.1)
    assert not torch.equal(sharp.x_t, blurred.x_t)
    assert torch.equal(blurred.x_t, again.x_t)
