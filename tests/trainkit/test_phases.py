"""The phases of a run: one clock over all of them, each with its own buckets, batch and settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainkit.tiny import run_data
from trainkit.config import RunConfig, phase_runs
from trainkit.errors import ConfigError, TrainkitError
from trainkit.phases import Phase, make_phases, phase_at, require_trained
from trainkit.run_file import load_run, make_run

SIZES = np.array([(64, 64)] * 13 + [(96, 64)] * 8, dtype=np.int32)


def phased(tmp_path: Path, *phases: dict[str, Any], **changes: Any) -> RunConfig:
    data = run_data(tmp_path, tmp_path, tmp_path / "out", samples=None, phases=list(phases), **changes)
    return make_run(data, tmp_path, "test")


lengths = st.one_of(
    st.fixed_dictionaries({"samples": st.integers(1, 200)}),
    st.fixed_dictionaries({"epochs": st.integers(1, 4)}),
)
changes = st.fixed_dictionaries(
    {}, optional={"batch": st.integers(1, 4), "accumulate": st.integers(1, 2), "data": st.just({})}
)
some_phases = st.lists(st.builds(lambda a, b: a | b, lengths, changes), min_size=1, max_size=4)


@given(some_phases, st.integers(1, 2))
def test_phases_follow_each_other_without_gap(phases: list[dict[str, Any]], devices: int) -> None:
    run = phased(Path("nowhere"), *phases, batch=2, accumulate=2)
    made = make_phases(run, SIZES, devices)
    assert [p.first_sample for p in made] == [0, *(p.end for p in made[:-1])]
    assert [p.first_step for p in made] == [sum(p.steps for p in made[:n]) for n in range(len(made))]
    seen: set[tuple[int, int]] = set()
    numbers: list[int] = []
    for asked, phase in zip(phases, made, strict=True):
        assert phase.group == asked.get("batch", 2) * asked.get("accumulate", 2) * devices
        if "samples" in asked:
            assert 0 <= phase.end - phase.first_sample - asked["samples"] < phase.group
        draws = [
            draw for number in range(phase.steps * phase.run.accumulate) for draw in phase.plan[number].draws
        ]
        numbers += [draw.sample for draw in draws]
        # No picture has the same epoch, and so the same caption, in two phases.
        fresh = {(draw.picture, draw.epoch) for draw in draws}
        assert not fresh & seen
        seen |= fresh
        if "epochs" in asked:
            # All but less than a step, and less than a batch per bucket, of what the epochs hold.
            lost = asked["epochs"] * len(SIZES) - len(draws)
            assert 0 <= lost < phase.group + len(phase.plan.members) * phase.plan.batch
    assert numbers == list(range(made[-1].end))


@given(some_phases, st.data())
def test_the_phase_of_a_checkpoint_is_the_one_that_made_it(
    phases: list[dict[str, Any]], data: st.DataObject
) -> None:
    made = make_phases(phased(Path("nowhere"), *phases, batch=2, accumulate=2), SIZES, 1)
    phase = data.draw(st.sampled_from(made))
    step = data.draw(st.integers(1, phase.steps))
    assert phase_at(made, phase.first_sample + step * phase.group) is phase
    assert phase_at(made, 0) is made[0]


def test_a_phase_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    run = phased(
        tmp_path,
        {"epochs": 2, "name": "small", "objective": {"weighting": "none"}},
        {
            "samples": 16,
            "batch": 1,
            "data": {"buckets": {"resolution": 96, "max_side": 128}, "recipe": "mine.toml"},
            "optim": {"optimizer": "adopt", "lr": 1e-5},
            "captions": {"empty_caption.p": 0.2},
        },
        captions={"flip.p": 0.1},
        optim={"optimizer": "adamw", "betas": [0.8, 0.9], "lr": 1e-3, "weight_decay": 0.5},
    )
    one, two = phase_runs(run)
    assert (one.epochs, one.samples, one.phases) == (2, None, ())
    assert one.model_dump(exclude={"epochs", "objective"}) == run.model_dump(
        exclude={"epochs", "objective"}
    ) | {"phases": ()}
    assert one.objective == run.objective.model_copy(update={"weighting": "none"})
    assert (two.batch, two.accumulate) == (1, run.accumulate)
    # The rest of a table stays: min_side of the buckets, weight decay of the optimizer.
    assert (two.data.buckets.resolution, two.data.buckets.max_side) == (96, 128)
    assert two.data.buckets.min_side == run.data.buckets.min_side == 32
    assert two.data.recipe == str(tmp_path / "mine.toml")
    assert (two.optim.lr, two.optim.weight_decay) == (1e-5, 0.5)
    # Another optimizer does not inherit averaging factors that were meant for AdamW.
    assert (two.optim.optimizer, two.optim.betas) == ("adopt", None)
    assert two.captions == {"flip.p": 0.1, "empty_caption.p": 0.2}
    names = [phase.name for phase in make_phases(run, SIZES, 1)]
    assert names == ["small", "phase 2"]


@pytest.mark.parametrize(
    ("phase", "problem"),
    [
        ({}, "phases.0: give either epochs or samples, and not both"),
        ({"samples": 8, "seed": 1}, "phases.0.seed: no such setting; known here:"),
        ({"samples": 8, "batsh": 1}, "phases.0.batsh: no such setting; did you mean 'batch'?"),
        ({"samples": 8, "data": {"path": "x"}}, "phases.0: data.path cannot change from phase to phase;"),
        (
            {"samples": 8, "objective": {"prediction": "epsilon"}},
            "phases.0: objective.prediction cannot change from phase to phase;",
        ),
        ({"samples": 8, "optim": {"lrr": 1}}, "phases.0.optim.lrr: no such setting; did you mean 'lr'?"),
        ({"samples": 8, "optim": {"lr": -1}}, "phases.0.optim.lr: is -1, must be greater than or equal to 0"),
        (
            {"samples": 8, "data": {"buckets": {"resolution": 70}}},
            "phases.0.data.buckets: resolution is 70, must be a multiple of step",
        ),
    ],
)
def test_what_is_wrong_with_a_phase_is_told_with_its_place(
    tmp_path: Path, phase: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        phased(tmp_path, phase)
    assert caught.value.problems[0].startswith(problem)


def test_phases_take_the_place_of_a_length(tmp_path: Path) -> None:
    for length in ({"samples": 8}, {"epochs": 1}):
        data = run_data(tmp_path, tmp_path, tmp_path / "out", phases=[{"samples": 8}], samples=None) | length
        with pytest.raises(ConfigError, match="give one of epochs, samples and phases"):
            make_run(data, tmp_path, "test")


def test_a_phase_too_short_for_a_step_is_told(tmp_path: Path) -> None:
    with pytest.raises(TrainkitError, match="21 pictures x 1 epochs do not fill one optimizer step of 8 x 4"):
        make_phases(phased(tmp_path, {"epochs": 1}, batch=8, accumulate=4), SIZES, 1)


def test_settings_of_a_phase_on_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(
        'out = "out"\nmodel.base = "base"\ndata.path = "pictures"\n'
        "[[phases]]\nsamples = 8\n[[phases]]\nsamples = 9\n"
    )
    run = load_run(
        path, ["phases.1.batch=3", 'phases.0.captions."empty_caption.p"=0.05', "optim.unet.steps=[]"]
    )
    assert (run.phases[0].batch, run.phases[1].batch) == (None, 3)
    assert run.phases[0].captions == {"empty_caption.p": 0.05}
    for override, fault in (
        ("phases.2.batch=3", "'2' is no place in a list of 2, from 0"),
        ("phases.1=3", "1 is an entry of a list; set one of its keys"),
        ("out.x=3", "out is a value, not a table"),
        ("a b=3", "a b=3"),
    ):
        with pytest.raises(ConfigError) as caught:
            load_run(path, [override])
        assert fault in caught.value.problems[0]


def test_rates_run_over_the_run_or_over_each_phase(tmp_path: Path) -> None:
    def clocks(span: str) -> list[tuple[int, int]]:
        phases: tuple[Phase, ...] = make_phases(
            phased(tmp_path, {"samples": 64}, {"samples": 32}, optim={"optimizer": "adamw", "span": span}),
            SIZES,
            1,
        )
        return [(c.start, c.length) for p in phases for c in [p.clock(p.first_sample, phases[-1].end)]]

    assert clocks("run") == [(0, 96), (0, 96)]
    assert clocks("phase") == [(0, 64), (64, 32)]


def test_a_moment_at_which_nothing_is_trained_is_found_before_the_run(tmp_path: Path) -> None:
    def found(**parts: Any) -> None:
        optim = {"optimizer": "adamw"} | parts
        run = phased(tmp_path, {"samples": 24}, {"samples": 24}, batch=2, accumulate=2, optim=optim)
        require_trained(make_phases(run, SIZES, 1), {"unet": {}, "text_encoder": {}})

    found(unet={"freeze_after": {"samples": 30}}, text_encoder={"freeze_until": {"samples": 30}})
    with pytest.raises(TrainkitError, match="after 16 samples every part is frozen"):
        found(unet={"freeze_after": {"samples": 8}}, text_encoder={"freeze_after": {"samples": 16}})
    with pytest.raises(TrainkitError, match="after 28 samples every part is frozen"):
        found(unet={"freeze_after": {"samples": 25}}, text_encoder={"freeze_until": {"samples": 30}})
