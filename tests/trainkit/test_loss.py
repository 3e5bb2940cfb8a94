"""The objective: weights against pinned tables and by their laws, masks, losses by tenths of timesteps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.trainkit.tables import (
    EPSILON_WEIGHTS,
    FLOORS,
    INVERSE,
    MEAN_WEIGHTS,
    OLD_DIFFUSERS,
    OLD_DIFFUSERS_SHARES,
    SHARES,
    STEPS,
    WEIGHTS,
)
from trainkit.errors import TrainkitError
from trainkit.loss import (
    ObjectiveConfig,
    decile_entries,
    decile_sums,
    loss_weights,
    per_sample_error,
    target_of,
)
from trainkit.schedule import ScheduleConfig, make_schedule

SD15 = make_schedule(ScheduleConfig())
PLAIN = make_schedule(ScheduleConfig(zero_terminal_snr=False))
SINGLE = replace(
    SD15, **{name: getattr(SD15, name).float() for name in ("alpha", "sigma", "snr", "snr_original")}
)
"""The same tables in float32, so that the formulas themselves run in float32."""
AT = torch.tensor(STEPS)


def objective(
    source: str = "rescaled", weighting: str = "soft_min_snr", gamma: float = 3, **more: Any
) -> ObjectiveConfig:
    chosen = {"snr_source": source, "weighting": weighting, "gamma": gamma, "weight_floor": 0.0, **more}
    return ObjectiveConfig.model_validate(chosen)


@pytest.mark.parametrize("key", WEIGHTS, ids=str)
def test_v_weights_are_those_of_the_tables(key: tuple[str, str, float]) -> None:
    weights = loss_weights(objective(*key), SD15)
    assert weights.dtype == torch.float64
    expected = torch.tensor(WEIGHTS[key], dtype=torch.float64)
    torch.testing.assert_close(weights[AT], expected, rtol=1e-7, atol=0)
    assert weights.mean().item() == pytest.approx(MEAN_WEIGHTS[key], rel=1e-7)
    single = loss_weights(objective(*key), SINGLE)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single[AT], expected.float(), rtol=5e-4, atol=0)


@pytest.mark.parametrize("key", EPSILON_WEIGHTS, ids=str)
def test_epsilon_weights_are_those_of_the_table(key: tuple[str, str, float]) -> None:
    expected = torch.tensor(EPSILON_WEIGHTS[key], dtype=torch.float64)
    config = objective(*key, prediction="epsilon")
    torch.testing.assert_close(loss_weights(config, SD15)[AT], expected, rtol=1e-7, atol=0)
    torch.testing.assert_close(loss_weights(config, SINGLE)[AT], expected.float(), rtol=5e-4, atol=0)
    # A model that really predicts epsilon has a schedule that was never rescaled: the same weights.
    assert torch.equal(
        loss_weights(config.model_copy(update={"snr_source": "rescaled"}), PLAIN), loss_weights(config, SD15)
    )


def test_debiased_v_weights_are_those_of_the_table() -> None:
    expected = torch.tensor(INVERSE, dtype=torch.float64)
    config = objective(weighting="debiased")
    torch.testing.assert_close(loss_weights(config, SD15)[AT], expected, rtol=1e-7, atol=0)
    torch.testing.assert_close(loss_weights(config, SINGLE)[AT], expected.float(), rtol=5e-4, atol=0)


def test_old_form_of_diffusers_from_our_snr() -> None:
    for schedule, rtol in ((SD15, 1e-7), (SINGLE, 5e-4)):
        weights = (schedule.snr + 1).clamp(max=3) / (schedule.snr + 1)
        expected = torch.tensor(OLD_DIFFUSERS, dtype=weights.dtype)
        torch.testing.assert_close(weights[AT], expected, rtol=rtol, atol=0)
    shares, mean = shares_of((SD15.snr + 1).clamp(max=3) / (SD15.snr + 1))
    assert shares == pytest.approx(OLD_DIFFUSERS_SHARES, abs=0.005)
    assert mean == pytest.approx(0.867, abs=0.0005)


def shares_of(weights: Tensor) -> tuple[list[float], float]:
    """(per cent of the weight in each hundred timesteps, mean weight)."""
    return (100 * weights.view(10, 100).sum(dim=1) / weights.sum()).tolist(), weights.mean().item()


@pytest.mark.parametrize("key", SHARES, ids=str)
def test_shares_of_the_weight_are_those_of_the_table(key: tuple[str, str, float]) -> None:
    shares, mean = shares_of(loss_weights(objective(*key), SD15))
    assert shares == pytest.approx(SHARES[key], abs=0.005)
    assert mean == pytest.approx(MEAN_WEIGHTS.get(key, 1.0), rel=1e-7)


@pytest.mark.parametrize("floor", FLOORS)
def test_shares_with_a_floor_are_those_of_the_table(floor: float) -> None:
    shares, mean = shares_of(loss_weights(objective(weighting="min_snr", weight_floor=floor), SD15))
    last, expected_mean = FLOORS[floor]
    assert shares[9] == pytest.approx(last, abs=0.005)
    assert mean == pytest.approx(expected_mean, abs=0.0005)


def test_a_patch_of_the_last_step_alone_is_weaker_than_a_floor() -> None:
    # What the paper's authors do: weight 1 where the SNR is 0. It is 0.40 % of all weight, at one timestep.
    weights = loss_weights(objective(weighting="min_snr"), SD15)
    weights[SD15.snr == 0] = 1.0
    assert 100 * weights[-1].item() / weights.sum().item() == pytest.approx(0.40, abs=0.005)
    assert weights.mean().item() == pytest.approx(0.248, abs=0.0005)


MODES = [
    (prediction, weighting, source, zero)
    for prediction in ("v_prediction", "epsilon")
    for weighting in ("none", "min_snr", "soft_min_snr", "debiased")
    for source in ("rescaled", "original")
    for zero in (True, False)
    # The one mode that has no finite weight; see below.
    if (prediction, weighting, source, zero) != ("epsilon", "debiased", "rescaled", True)
]


@pytest.mark.parametrize(("prediction", "weighting", "source", "zero"), MODES)
@settings(max_examples=10)
@given(gamma=st.floats(0.1, 50), floor=st.just(0.0) | st.floats(1e-6, 1), seed=st.integers(0, 2**32))
def test_every_mode_is_finite_with_finite_gradients_up_to_the_terminal_step(
    prediction: str, weighting: str, source: str, zero: bool, gamma: float, floor: float, seed: int
) -> None:
    schedule = SD15 if zero else PLAIN
    config = objective(source, weighting, gamma, prediction=prediction, weight_floor=floor)
    v = config.prediction == "v_prediction"
    weights = loss_weights(config, schedule)
    assert torch.isfinite(weights).all()
    assert (weights >= 0).all()
    # Debiased epsilon weights are sigma / alpha, up to 14.6; all others are at most 1.
    assert (weights <= (1 if v or config.weighting != "debiased" else 14.7)).all()
    if config.weighting != "none":
        assert (weights >= config.weight_floor).all()
    t = torch.tensor([0, 500, 998, 999])
    rng = torch.Generator().manual_seed(seed)
    output, x0, eps = (torch.randn(4, 4, 2, 2, generator=rng) for _ in range(3))
    output.requires_grad_()
    target = target_of(config, schedule, x0, eps, t)
    loss = per_sample_error(output, target) * weights[t].float()
    (gradient,) = torch.autograd.grad(loss.sum(), output)
    assert loss.shape == (4,)
    assert torch.isfinite(loss).all()
    assert torch.isfinite(gradient).all()
    # The terminal step learns if and only if it has a weight.
    assert bool((gradient[3] != 0).any()) == bool(weights[999] > 0)


def test_debiased_epsilon_at_zero_snr_is_refused() -> None:
    config = objective(weighting="debiased", prediction="epsilon")
    with pytest.raises(TrainkitError, match=r"set schedule\.zero_terminal_snr = false or"):
        loss_weights(config, SD15)


@given(st.floats(0.5, 20), st.sampled_from(["rescaled", "original"]))
def test_soft_weight_is_between_half_of_the_hard_one_and_all_of_it(gamma: float, source: str) -> None:
    hard = loss_weights(objective(source, "min_snr", gamma), SD15)
    soft = loss_weights(objective(source, "soft_min_snr", gamma), SD15)
    assert (soft <= hard * (1 + 1e-12)).all()
    assert (soft >= hard / 2 * (1 - 1e-12)).all()


@given(st.floats(0.1, 50), st.sampled_from(["min_snr", "soft_min_snr"]))
def test_v_and_epsilon_weights_are_one_weight_on_x0(gamma: float, weighting: str) -> None:
    # |v - v'|^2 = (S + 1) |x0 - x0'|^2 and |eps - eps'|^2 = S |x0 - x0'|^2.
    v = loss_weights(objective("original", weighting, gamma), SD15)
    eps = loss_weights(objective("original", weighting, gamma, prediction="epsilon"), SD15)
    S = SD15.snr_original
    torch.testing.assert_close(v * (S + 1), eps * S, rtol=1e-12, atol=0)


def test_debiased_is_two_conventions() -> None:
    S = SD15.snr_original
    v = loss_weights(objective("original", "debiased"), SD15)
    eps = loss_weights(objective("original", "debiased", prediction="epsilon"), SD15)
    torch.testing.assert_close(v * (S + 1), torch.ones_like(S), rtol=1e-12, atol=0)  # x0-weight 1.
    torch.testing.assert_close(eps * S, S.sqrt(), rtol=1e-12, atol=0)  # x0-weight sqrt(S).


@given(st.floats(0.5, 20))
def test_soft_min_snr_is_the_weight_of_k_diffusion(gamma: float) -> None:
    # Its weight (s d)^2 / (s^2 + d^2)^2 stands before the loss on the preconditioned output, whose scale is
    # c_out = s d / sqrt(s^2 + d^2); through x0 it is 1 / (s^2 + d^2), with d = sigma_data = gamma^(-1/2).
    S = SD15.snr[:-1]
    s2, d2 = 1 / S, 1 / gamma
    theirs = (s2 * d2 / (s2 + d2) ** 2) / (s2 * d2 / (s2 + d2))
    torch.testing.assert_close(theirs, 1 / (s2 + d2), rtol=1e-12, atol=0)
    ours = loss_weights(objective(gamma=gamma), SD15)[:-1] * (S + 1)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=0)


@given(st.floats(0.5, 20))
def test_soft_weight_is_largest_where_the_snr_is_the_root_of_gamma(gamma: float) -> None:
    weights = loss_weights(objective(gamma=gamma), SD15)
    peak = gamma / (1 + gamma**0.5) ** 2
    assert weights.max().item() <= peak * (1 + 1e-12)
    nearest = int((SD15.snr - gamma**0.5).abs().argmin())
    assert abs(int(weights.argmax()) - nearest) <= 1


def test_crossings_of_the_hard_weight() -> None:
    for gamma, last in ((3, 192), (5, 138)):
        assert int((SD15.snr >= gamma).sum()) - 1 == last
    # Below gamma the hard weight is alphas_cumprod, whatever gamma is.
    torch.testing.assert_close(
        loss_weights(objective(weighting="min_snr"), SD15)[193:], SD15.alpha[193:] ** 2, rtol=1e-12, atol=0
    )


def test_a_floor_makes_the_terminal_step_count() -> None:
    weights = loss_weights(objective(weight_floor=0.05), SD15)
    assert weights[999] == 0.05
    assert weights[500].item() == pytest.approx(0.217948521)


sizes = st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 6), st.integers(1, 6))


def pair(seed: int, size: tuple[int, int, int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """(prediction, target, mask in [0, 1]) of random numbers."""
    rng = torch.Generator().manual_seed(seed)
    mask = torch.rand(size[0], 1, *size[2:], generator=rng)
    return torch.randn(size, generator=rng), torch.randn(size, generator=rng), mask


@given(st.integers(0, 2**32), sizes, st.floats(1e-3, 1))
def test_a_mask_of_one_value_is_no_mask(seed: int, size: tuple[int, int, int, int], value: float) -> None:
    prediction, target, mask = pair(seed, size)
    even = torch.full_like(mask, value)
    expected = per_sample_error(prediction, target)
    torch.testing.assert_close(per_sample_error(prediction, target, even), expected)
    assert expected.shape == (size[0],)


@given(st.integers(0, 2**32), sizes)
def test_what_a_mask_leaves_out_does_not_matter(seed: int, size: tuple[int, int, int, int]) -> None:
    prediction, target, mask = pair(seed, size)
    mask = (mask > 0.5).float()
    spoiled = prediction + 1000 * (1 - mask)
    torch.testing.assert_close(
        per_sample_error(spoiled, target, mask), per_sample_error(prediction, target, mask)
    )


def test_half_a_mask_gives_the_mean_of_its_half() -> None:
    prediction, target, mask = pair(1, (2, 4, 6, 6))
    mask = torch.zeros_like(mask)
    mask[..., :3] = 1
    expected = per_sample_error(prediction[..., :3], target[..., :3])
    torch.testing.assert_close(per_sample_error(prediction, target, mask), expected)


def test_a_mask_of_nothing_counts_nothing_and_has_finite_gradients() -> None:
    prediction, target, mask = pair(2, (2, 4, 3, 3))
    mask[0] = 0
    prediction.requires_grad_()
    error = per_sample_error(prediction, target, mask)
    (gradient,) = torch.autograd.grad(error.sum(), prediction)
    assert error[0] == 0
    assert error[1] > 0
    assert torch.equal(gradient[0], torch.zeros_like(gradient[0]))
    assert torch.isfinite(gradient).all()


batches = st.lists(
    st.tuples(st.integers(0, 999), st.floats(0, 10), st.sampled_from([0.0, 0.5, 1.0])),
    min_size=1,
    max_size=40,
)


def columns(rows: list[tuple[int, float, float]]) -> tuple[Tensor, Tensor, Tensor]:
    t, loss, weight = zip(*rows, strict=True)
    return torch.tensor(t), torch.tensor(loss), torch.tensor(weight)


@given(batches, st.data())
def test_sums_by_tenths_add_up_over_micro_batches(
    rows: list[tuple[int, float, float]], data: st.DataObject
) -> None:
    whole = decile_sums(*columns(rows), 1000)
    cut = data.draw(st.integers(1, len(rows)))
    parts = [part for part in (rows[:cut], rows[cut:]) if part]
    torch.testing.assert_close(sum(decile_sums(*columns(part), 1000) for part in parts), whole)
    assert whole[1].sum() == sum(weight > 0 for _, _, weight in rows)
    for decile in range(10):
        inside = [loss for t, loss, weight in rows if t // 100 == decile and weight > 0]
        assert whole[0, decile].item() == pytest.approx(sum(inside), rel=1e-5, abs=1e-6)
    entries = decile_entries(whole, ObjectiveConfig(), 1000)
    assert set(entries) == {f"v_loss_t{t // 100 * 100:03d}" for t, _, weight in rows if weight > 0}


def test_what_does_not_count_may_even_be_nan() -> None:
    sums = decile_sums(
        torch.tensor([0, 5]), torch.tensor([float("nan"), 2.0]), torch.tensor([0.0, 1.0]), 1000
    )
    assert sums[:, 0].tolist() == [2.0, 1.0]


@given(st.integers(2, 1500))
def test_entries_are_named_by_the_first_timestep_of_their_tenth(steps: int) -> None:
    t = torch.arange(steps)
    entries = decile_entries(decile_sums(t, t.float(), None, steps), objective(prediction="epsilon"), steps)
    firsts = [int(name.removeprefix("eps_loss_t")) for name in entries]
    assert firsts == sorted(firsts)
    assert firsts[0] == 0
    # Timesteps stand for their own losses here: the mean of a tenth lies between its first and the next's.
    for (first, mean), after in zip(
        zip(firsts, entries.values(), strict=True), [*firsts[1:], steps], strict=True
    ):
        assert first <= mean <= after - 1
