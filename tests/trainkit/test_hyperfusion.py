"""examples/configs/hyperfusion.toml is the recipe: every line of it, and its arithmetic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.trainkit.tiny import ROOT
from trainkit.check_buckets import about_buckets
from trainkit.check_plot import draw_plan
from trainkit.config import RunConfig, caption_pipeline
from trainkit.optim import learning_rate
from trainkit.phases import Phase, make_phases
from trainkit.run_file import load_run

RUN = load_run(ROOT / "examples" / "configs" / "hyperfusion.toml")
DEVICES = 2


@pytest.fixture(scope="module")
def sizes() -> NDArray[np.int32]:
    """A thousandth of the pictures."""
    rng = np.random.default_rng(0)
    width = (768 * np.exp(rng.normal(0, 0.2, 3300))).astype(np.int32)
    return np.stack([width, 768 * 768 // width], axis=1).astype(np.int32)


@pytest.fixture(scope="module")
def phases(sizes: NDArray[np.int32]) -> tuple[Phase, ...]:
    """Over a thousandth of the pictures: the samples of a phase do not hang on their number."""
    return make_phases(RUN, sizes, DEVICES)


def test_190_000_steps_of_256(phases: tuple[Phase, ...]) -> None:
    assert [phase.group for phase in phases] == [256] * 3
    assert [phase.steps for phase in phases] == [118_750, 59_375, 11_875]
    assert sum(phase.steps for phase in phases) == 190_000
    assert phases[-1].end == 190_000 * 256 == 48_640_000
    # Ten, five and one of sixteen epochs of 11,875 steps.
    assert [phase.steps / 11_875 for phase in phases] == [10, 5, 1]


def test_every_line_of_the_recipe(phases: tuple[Phase, ...]) -> None:
    run: RunConfig = RUN
    assert run.objective.prediction == "v_prediction"
    assert run.schedule.zero_terminal_snr
    assert (run.objective.weighting, run.objective.gamma) == ("soft_min_snr", 3)
    assert run.objective.ip_noise_gamma == 0.02
    assert [p.run.optim.optimizer for p in phases] == ["adamw8bit", "adamw8bit", "adopt"]
    assert (run.batch, run.accumulate, DEVICES) == (8, 16, 2)
    assert [p.run.data.buckets.resolution for p in phases] == [768, 1024, 1024]
    assert {p.run.data.buckets.step for p in phases} == {32}
    assert phases[0].run.data.buckets.max_side == 1024
    assert (run.text.clip_skip, run.text.max_tokens) == (2, 525)
    assert caption_pipeline(run).rates() == {
        "empty_caption#0.p": 0.1,
        "choose_source#0.tags": 0.7,
        "choose_source#0.caption": 0.2,
        "choose_source#0.both": 0.1,
        "choose_source#0.tags_first": 0.5,
        "short prompt.p": 0.05,
        "short prompt/then.rate": 0.75,
        "short prompt/otherwise.rate": 0.15,
        "flip.p": 0.5,
    }
    assert caption_pipeline(run).text.max_tokens == 525


def test_the_text_encoder_falls_to_a_tenth_after_epoch_ten_and_both_fall_linearly(
    phases: tuple[Phase, ...],
) -> None:
    total = phases[-1].end

    def rates(phase: Phase, at: int) -> tuple[float, float]:
        clock, optim = phase.clock(at, total), phase.run.optim
        return learning_rate(optim, "unet", clock), learning_rate(optim, "text_encoder", clock)

    assert rates(phases[0], 0) == (4e-6, 1e-6)
    one, two = phases[:2]
    assert rates(one, one.end - 256)[1] == pytest.approx(1e-6 * 6 / 16, rel=1e-4)
    assert rates(two, one.end) == pytest.approx((4e-6 * 6 / 16, 1e-7 * 6 / 16))
    assert rates(phases[2], total - 256)[0] == pytest.approx(4e-6 / 190_000)


def test_the_plan_can_be_drawn(phases: tuple[Phase, ...], sizes: NDArray[np.int32], tmp_path: Path) -> None:
    abouts = [{"name": phase.name} | about_buckets(phase, sizes) for phase in phases]
    draw_plan(RUN, phases, abouts, tmp_path / "plan.svg")
    text = (tmp_path / "plan.svg").read_text(encoding="utf-8")
    assert text.startswith("<?xml")
