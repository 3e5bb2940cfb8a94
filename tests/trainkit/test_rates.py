"""Learning rates: pure functions of the samples seen."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trainkit.optim import OptimConfig, learning_rate
from trainkit.rates import Clock, Moment, PartConfig, RateStep, Shape, rate_factor

shapes = st.sampled_from(["linear", "constant", "cosine"])


def factor(shape: Shape, warmup: int, seen: int, total: int, *steps: RateStep, start: int = 0) -> float:
    return rate_factor(shape, warmup, steps, Clock(seen, start, total, 10))


@given(shapes, st.integers(0, 10**6), st.integers(0, 10**9), st.integers(1, 10**8))
def test_a_rate_is_a_share_of_its_base(shape: Shape, warmup: int, seen: int, total: int) -> None:
    assert 0 <= factor(shape, warmup, seen, total) <= 1


@given(shapes, st.integers(0, 10**6), st.integers(1, 10**6), st.lists(st.integers(0, 10**6), min_size=2))
def test_rates_only_fall_after_the_warm_up(shape: Shape, warmup: int, total: int, at: list[int]) -> None:
    factors = [factor(shape, warmup, warmup + n, total) for n in sorted(at)]
    assert all(later <= earlier for earlier, later in itertools.pairwise(factors))
    if shape != "constant":
        assert factor(shape, warmup, total, total) == pytest.approx(0, abs=1e-12)
    elif warmup <= total:
        assert factor(shape, warmup, total, total) == 1


@given(shapes, st.integers(1, 1000), st.integers(0, 1000))
def test_warming_up_is_a_straight_line_times_the_schedule(shape: Shape, warmup: int, seen: int) -> None:
    expected = min(1, seen / warmup) * factor(shape, 0, seen, 5000)
    assert factor(shape, warmup, seen, 5000) == pytest.approx(expected)


@given(shapes, st.integers(0, 1000), st.integers(1, 10**6))
def test_a_schedule_that_begins_later_is_the_same_moved(shape: Shape, seen: int, start: int) -> None:
    assert factor(shape, 100, start + seen, 1000, start=start) == factor(shape, 100, seen, 1000)


@given(shapes, st.lists(st.tuples(st.integers(0, 1000), st.floats(0, 2)), max_size=5), st.integers(0, 1000))
def test_the_last_step_that_was_reached_counts(
    shape: Shape, steps: list[tuple[int, float]], seen: int
) -> None:
    ordered = sorted(dict(steps).items())
    made = [RateStep(samples=at, factor=by) for at, by in ordered]
    last = ([1.0] + [by for at, by in ordered if at <= seen])[-1]
    assert factor(shape, 0, seen, 1000, *made) == pytest.approx(last * factor(shape, 0, seen, 1000))


def test_examples_of_each_schedule() -> None:
    def at(shape: Shape) -> list[float]:
        return [round(factor(shape, 0, n, 100), 6) for n in (0, 25, 50, 100)]

    assert at("linear") == [1, 0.75, 0.5, 0]
    assert at("cosine") == [1, 0.853553, 0.5, 0]
    assert at("constant") == [1, 1, 1, 1]


def test_the_text_encoder_of_the_recipe_falls_to_a_tenth_after_epoch_ten() -> None:
    config = OptimConfig.model_validate({"text_encoder": {"steps": [{"epochs": 10, "factor": 0.1}]}})
    pictures, epochs = 3_300_000, 16

    def rate(part: str, epoch: float) -> float:
        clock = Clock(round(epoch * pictures), 0, epochs * pictures, pictures)
        return learning_rate(config, "unet" if part == "unet" else "text_encoder", clock)

    assert rate("text_encoder", 0) == 1e-6
    assert rate("text_encoder", 9.999) == pytest.approx(1e-6 * (1 - 9.999 / 16))
    assert rate("text_encoder", 10) == pytest.approx(1e-7 * 6 / 16)
    assert rate("unet", 10) == pytest.approx(4e-6 * 6 / 16)


def test_a_part_has_a_schedule_of_its_own() -> None:
    config = OptimConfig.model_validate({"text_encoder": {"schedule": "constant", "warmup_samples": 10}})
    clock = Clock(50, 0, 100, 10)
    assert learning_rate(config, "unet", clock) == pytest.approx(2e-6)
    assert learning_rate(config, "text_encoder", clock) == 1e-6
    assert math.isclose(learning_rate(config, "text_encoder", Clock(5, 0, 100, 10)), 5e-7)


def test_a_moment_is_in_epochs_or_in_samples() -> None:
    assert Moment(epochs=2.5).at(100) == 250
    assert Moment(samples=7).at(100) == 7
    for wrong in ({}, {"epochs": 1, "samples": 1}):
        with pytest.raises(ValidationError, match="give either epochs or samples"):
            Moment.model_validate(wrong)
    with pytest.raises(ValidationError, match=r"steps must ascend, got samples \[5, 5\]"):
        PartConfig(steps=(RateStep(samples=5, factor=1), RateStep(samples=5, factor=0.5)))
