"""One micro-batch to its losses: noise streams, input perturbation, weights and masks, phases."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from trainkit.draws import generator
from trainkit.feed import Batch
from trainkit.loss import Losses, ObjectiveConfig, loss_weights
from trainkit.schedule import ScheduleConfig, make_schedule
from trainkit.step import Stepper
from trainkit.timesteps import TimestepConfig, draw_timesteps, timestep_probabilities

SD15 = make_schedule(ScheduleConfig())
MEAN = torch.arange(2 * 4 * 2 * 2, dtype=torch.float32).reshape(2, 4, 2, 2) / 32
"""The mean of two samples' latents."""


def objective(**settings: Any) -> ObjectiveConfig:
    return ObjectiveConfig.model_validate({"weighting": "none", "ip_noise_gamma": 0.0} | settings)


class Recorder(nn.Module):
    """A network of one number that is its whole answer, 0 at first; it remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = nn.Parameter(torch.zeros(()))
        self.x_t = torch.zeros(0)
        self.t = torch.zeros(0)

    def forward(self, x_t: Tensor, t_B: Tensor, ids: Tensor) -> Tensor:
        self.x_t, self.t = x_t, t_B
        return self.answer.expand_as(x_t)


def batch_of(samples: list[int], mean: Tensor, std: float = 0.1, **changes: Any) -> Batch:
    batch = Batch(
        number=0,
        latents=(mean, torch.full_like(mean, std)),
        pixels=None,
        ids=torch.zeros(len(samples), 1, 77, dtype=torch.long),
        samples=samples,
        weight=torch.ones(len(samples)),
        texts=[""] * len(samples),
        records=[str(sample) for sample in samples],
        problems=[],
    )
    return replace(batch, **changes)


def stepper_for(config: ObjectiveConfig, **changes: Any) -> Stepper:
    stepper = Stepper(SD15, config, loss_weights(config, SD15), None, 0.5, 0, 8, torch.device("cpu"))
    return replace(stepper, **changes)


def one_step(
    config: ObjectiveConfig, first: int = 0, std: float = 0.1, **changes: Any
) -> tuple[Recorder, Losses]:
    """One micro-batch of two samples through a Stepper: (what the network saw, the losses)."""
    recorder = Recorder()
    batch = batch_of([first, first + 1], MEAN, std, **changes)
    return recorder, stepper_for(config).loss(recorder, batch)


@given(st.floats(0.01, 1), st.booleans(), st.sampled_from(["v_prediction", "epsilon"]), st.integers(0, 100))
def test_input_perturbation_changes_the_input_and_not_the_target(
    gamma: float, random: bool, prediction: str, number: int
) -> None:
    plain, without = one_step(objective(prediction=prediction), first=2 * number)
    config = objective(prediction=prediction, ip_noise_gamma=gamma, ip_noise_random_strength=random)
    perturbed, losses = one_step(config, first=2 * number)
    assert torch.equal(plain.t, perturbed.t)
    assert not torch.equal(plain.x_t, perturbed.x_t)
    # The answer is zero, so the loss is the mean square of the target: the same to the last bit.
    assert torch.equal(losses.unweighted_B, without.unweighted_B)
    assert torch.equal(losses.total, without.total)


@given(st.floats(0.01, 1), st.integers(0, 10**6))
def test_input_perturbation_has_a_stream_of_its_own(gamma: float, number: int) -> None:
    plain, _ = one_step(objective(), first=2 * number)
    perturbed, _ = one_step(objective(ip_noise_gamma=gamma), first=2 * number)
    sigma = SD15.coefficients(plain.t, plain.x_t)[1]
    xi = (perturbed.x_t - plain.x_t) / (gamma * sigma)
    expected = [
        torch.randn(4, 2, 2, generator=generator(0, "input perturbation", 2 * number + i)) for i in range(2)
    ]
    # x_t is a float32 of order 1: its rounding over gamma sigma, which is at least 0.01 * 0.029.
    slack = 4e-6 / (gamma * sigma.min().item())
    torch.testing.assert_close(xi, torch.stack(expected), rtol=0, atol=max(1e-4, slack))


@pytest.mark.statistics
def test_random_strength_is_uniform_and_every_sample_has_its_own() -> None:
    # Kolmogorov-Smirnov over 2048 samples: a distance over 1.95 / sqrt(2048) = 0.043 comes once in 1000
    # seeds.
    config = objective(ip_noise_gamma=0.5, ip_noise_random_strength=True)
    full = config.model_copy(update={"ip_noise_random_strength": False})
    samples = list(range(2048))
    mean = torch.zeros(2048, 4, 1, 1)
    seen = []
    for each in (objective(), full, config):
        recorder = Recorder()
        stepper_for(each, group=2048).loss(recorder, batch_of(samples, mean))
        seen.append(recorder.x_t)
    plain, whole, part = seen
    strength = ((part - plain).flatten(1).norm(dim=1) / (whole - plain).flatten(1).norm(dim=1)).sort().values
    assert 0 <= strength[0] < strength[-1] < 1.001
    expected = (torch.arange(2048) + 0.5) / 2048
    assert (strength - expected).abs().max().item() < 0.043


def test_what_the_network_sees_never_changes() -> None:
    # Published runs depend on it: the numbers are those of the first version.
    seen, losses = one_step(ObjectiveConfig(), first=2)
    assert seen.t.tolist() == [989, 614]
    assert seen.x_t[0, 0].flatten().tolist() == pytest.approx(
        [-0.98164403, 2.18551016, 1.40872908, 0.66566664], rel=1e-5
    )
    assert losses.total.item() == pytest.approx(0.0402154252, rel=1e-5)


def test_losses_are_the_weighted_and_the_plain_ones() -> None:
    config = objective(weighting="soft_min_snr")
    weight = torch.tensor([1.0, 0.25])
    recorder, losses = one_step(config, weight=weight)
    assert losses.unweighted_B.shape == losses.counted_B.shape == losses.t_B.shape == (2,)
    assert not losses.unweighted_B.requires_grad
    expected = losses.unweighted_B.double() * loss_weights(config, SD15)[losses.t_B] * weight
    assert losses.total.item() == pytest.approx(expected.sum().item(), rel=1e-5)
    assert torch.isfinite(torch.autograd.grad(losses.total, recorder.answer)[0])
    sums = losses.deciles(1000)
    assert sums[1].sum() == 2
    assert sums[0].sum().item() == pytest.approx(losses.unweighted_B.sum().item())


def test_a_sample_of_weight_zero_does_not_count() -> None:
    _, both = one_step(objective())
    _, first = one_step(objective(), weight=torch.tensor([1.0, 0.0]))
    assert 0 < first.total.item() < both.total.item()
    assert first.counted_B.tolist() == [1, 0]


def test_a_mask_of_ones_changes_nothing_and_an_empty_one_does_not_count() -> None:
    _, plain = one_step(objective())
    _, ones = one_step(objective(), mask=torch.ones(2, 1, 2, 2))
    torch.testing.assert_close(ones.total, plain.total)
    empty = torch.ones(2, 1, 2, 2)
    empty[1] = 0
    recorder, half = one_step(objective(), mask=empty)
    assert half.counted_B.tolist() == [1, 0]
    torch.testing.assert_close(half.total, plain.unweighted_B[0])
    assert torch.isfinite(torch.autograd.grad(half.total, recorder.answer)[0])


def test_a_mask_chooses_the_pixels_that_count() -> None:
    mask = torch.zeros(2, 1, 2, 2)
    mask[:, :, 0, 0] = 1
    recorder, losses = one_step(objective(), mask=mask, std=0.0)
    # The answer is zero: the loss is the mean square of the target's corner, worked out from the input.
    alpha, sigma = SD15.coefficients(recorder.t, recorder.x_t)
    x0 = MEAN * 0.5
    eps = (recorder.x_t - alpha * x0) / sigma
    expected = (alpha * eps - sigma * x0)[:, :, 0, 0].square().mean(dim=1)
    torch.testing.assert_close(losses.unweighted_B, expected, rtol=1e-4, atol=1e-5)


timesteps = st.sampled_from(
    [
        TimestepConfig(),
        TimestepConfig(stratified=False),
        TimestepConfig(distribution="laplace"),
        TimestepConfig(distribution="logit_normal"),
    ]
)


@given(st.integers(0, 10**6), timesteps)
def test_the_samples_of_a_step_share_its_strata(step: int, config: TimestepConfig) -> None:
    # Eight samples a step, in four micro-batches of two.
    seen = [one_step(objective(timesteps=config), first=8 * step + 2 * micro)[1].t_B for micro in range(4)]
    p = timestep_probabilities(config, SD15)
    assert torch.equal(torch.cat(seen), draw_timesteps(config, p, 0, step, 8))


@given(st.integers(0, 10**5), st.integers(0, 10**5), st.integers(0, 50), st.integers(1, 8))
def test_a_phase_counts_its_steps_on_from_those_before_it(
    first_step: int, first_sample: int, done: int, pairs: int
) -> None:
    group = 2 * pairs
    stepper = stepper_for(objective(), group=group, first_step=first_step, first_sample=first_sample)
    seen = []
    for micro in range(pairs):
        sample = first_sample + done * group + 2 * micro
        seen.append(stepper.loss(Recorder(), batch_of([sample, sample + 1], MEAN)).t_B)
    p = timestep_probabilities(TimestepConfig(), SD15)
    assert torch.equal(torch.cat(seen), draw_timesteps(TimestepConfig(), p, 0, first_step + done, group))


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_a_phase_of_the_same_group_draws_what_an_undivided_run_does(border: int, later: int) -> None:
    sample = 8 * (border + later) + 4
    batch = batch_of([sample, sample + 1], MEAN)
    undivided, divided = Recorder(), Recorder()
    stepper_for(objective()).loss(undivided, batch)
    stepper_for(objective(), first_step=border, first_sample=8 * border).loss(divided, batch)
    assert torch.equal(undivided.t, divided.t)
    assert torch.equal(undivided.x_t, divided.x_t)


def noise_seen(first: int) -> Tensor:
    """The noise that samples ``first`` and ``first + 1`` got, worked out from the network's input; [2, 4, 2,
    2]."""
    seen, _ = one_step(objective(), first=first, std=0.0)
    alpha, sigma = SD15.coefficients(seen.t, seen.x_t)
    return (seen.x_t - alpha * MEAN * 0.5) / sigma


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=4, unique=True))
def test_every_sample_has_noise_of_its_own(steps: list[int]) -> None:
    noises = [noise for step in steps for noise in noise_seen(2 * step)]
    for i, one in enumerate(noises):
        # Sixteen normal numbers each: two of them as close as this by chance are never seen.
        assert all((one - other).abs().max() > 0.05 for other in noises[:i])
    torch.testing.assert_close(noise_seen(2 * steps[0])[1], noises[1])


def test_a_sample_gets_the_same_whatever_else_is_in_its_batch() -> None:
    both, alone = Recorder(), Recorder()
    stepper = stepper_for(objective(ip_noise_gamma=0.1, ip_noise_random_strength=True))
    stepper.loss(both, batch_of([2, 3], MEAN))
    stepper.loss(alone, batch_of([3], MEAN[1:]))
    assert torch.equal(both.x_t[1:], alone.x_t)
    assert torch.equal(both.t[1:], alone.t)


def test_the_latent_itself_is_a_draw() -> None:
    sharp, _ = one_step(objective(), std=0.0)
    blurred, _ = one_step(objective(), std=0.1)
    again, _ = one_step(objective(), std=0.1)
    assert not torch.equal(sharp.x_t, blurred.x_t)
    assert torch.equal(blurred.x_t, again.x_t)
