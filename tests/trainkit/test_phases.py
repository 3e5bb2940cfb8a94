"""The phases of a run: one clock over all of them, each with its own buckets, batch and settings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from tests.trainkit.tiny import run_data
from trainkit.config import RunConfig, phase_runs
from trainkit.draw import Draw
from trainkit.errors import CheckpointError, ConfigError, TrainkitError
from trainkit.phases import Phase, history, make_phases, phase_at, require_trained
from trainkit.run_file import load_run, make_run
from trainkit.stretches import Past, Stretch, read_history

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


def drawn(phases: Sequence[Phase]) -> list[Draw]:
    """All draws of a run."""
    return [
        draw
        for phase in phases
        for number in range(phase.steps * phase.accumulate)
        for draw in phase.plan[number].draws
    ]


def require_each_once(phases: Sequence[Phase]) -> None:
    """What is drawn and what is still owed are all pictures of all passes that have begun, once each."""
    last, draws = phases[-1], drawn(phases)
    owed = last.part.owed()
    seen = [(draw.picture, draw.epoch) for draw in draws]
    seen += zip(owed.visits.pictures.tolist(), owed.visits.epochs.tolist(), strict=True)
    assert sorted(seen) == [(p, e) for p in range(len(SIZES)) for e in range(owed.first_epoch)]
    assert [draw.sample for draw in draws] == list(range(last.end))


@given(some_phases, st.integers(1, 2))
def test_phases_follow_each_other_without_gap(phases: list[dict[str, Any]], devices: int) -> None:
    run = phased(Path("nowhere"), *phases, batch=2, accumulate=2)
    made = make_phases(run, SIZES, devices)
    assert [p.first_sample for p in made] == [0, *(p.end for p in made[:-1])]
    assert [p.first_step for p in made] == [sum(p.steps for p in made[:n]) for n in range(len(made))]
    assert [p.whole for p in made] == [(p.first_sample, p.end) for p in made]
    passes = 0.0
    for asked, phase in zip(phases, made, strict=True):
        assert phase.group == asked.get("batch", 2) * asked.get("accumulate", 2) * devices
        if "samples" in asked:
            assert 0 <= phase.end - phase.first_sample - asked["samples"] < phase.group
            passes = phase.end / len(SIZES)
        else:
            # Up to a step, and a batch for each bucket, the run is where its epochs say: what one phase could
            # not hold, the next does.
            passes += asked["epochs"]
            lost = passes * len(SIZES) - phase.end
            assert -1 < lost < phase.group + (len(phase.plan.members) + 1) * phase.plan.batch
    require_each_once(made)


changed_settings = st.lists(
    st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.floats(0, 1)), max_size=4
)


@given(some_phases, changed_settings)
def test_a_run_that_is_resumed_with_other_numbers_draws_each_picture_once(
    phases: list[dict[str, Any]], changes: list[tuple[int, int, int, float]]
) -> None:
    # Killed now and then, at any step, and resumed with another batch, accumulate and number of devices.
    kept = [{k: v for k, v in phase.items() if k not in ("batch", "accumulate")} for phase in phases]
    run = phased(Path("nowhere"), *kept, batch=2, accumulate=2)
    made, past, devices = make_phases(run, SIZES, 1), Past(), 1
    for batch, accumulate, devices, share in changes:
        # A step of the run that has not been seen yet.
        rest = [
            phase.first_sample + step * phase.group
            for phase in made
            for step in range(1, phase.steps + 1)
            if phase.first_sample + step * phase.group >= max(1, past.samples_seen)
        ]
        samples_seen = rest[int(share * (len(rest) - 1))]
        before = drawn(made)[:samples_seen]
        past = Past(history(made, samples_seen), samples_seen)
        run = phased(Path("nowhere"), *kept, batch=batch, accumulate=accumulate)
        try:
            made = make_phases(run, SIZES, devices, past=past)
        except CheckpointError:
            raise
        except TrainkitError:
            reject()  # What is left of the run fills no step.
        # What was trained stays as it was, what comes is dealt by today's numbers.
        assert drawn(made)[:samples_seen] == before
        assert history(made, samples_seen) == past.history
        for phase in made:
            if phase.first_sample > samples_seen:
                assert (phase.plan.batch, phase.accumulate) == (batch * devices, accumulate)
        # Started again with the same numbers, nothing changes.
        again = make_phases(run, SIZES, devices, past=Past(history(made, made[-1].end), made[-1].end))
        assert [p.part.stretch for p in again] == [p.part.stretch for p in made]
    # The parts of a phase are its own, and told with its whole length.
    for number in range(1, len(kept) + 1):
        parts = [phase for phase in made if phase.number == number]
        assert {part.whole for part in parts} == {(parts[0].first_sample, parts[-1].end)}
    require_each_once(made)


def test_the_buckets_of_a_new_phase_take_over_what_is_left(tmp_path: Path) -> None:
    wide = {"data": {"buckets": {"resolution": 96, "max_side": 128}}}
    run = phased(tmp_path, {"epochs": 1}, {"epochs": 2} | wide, {"samples": 17}, batch=4, accumulate=2)
    made = make_phases(run, SIZES, 1)
    assert made[0].placement.buckets != made[1].placement.buckets
    # 21 pictures: 16 in the first phase, and 63 - 16 = 47 are left of three passes: 5 steps of 8.
    assert [(p.first_sample, p.end) for p in made] == [(0, 16), (16, 56), (56, 80)]
    require_each_once(made)


def test_a_past_that_is_not_of_this_run_is_refused(tmp_path: Path) -> None:
    def refused(past: Past, words: str, *phases: dict[str, Any]) -> None:
        with pytest.raises(CheckpointError, match=words):
            make_phases(phased(tmp_path, *phases, batch=2, accumulate=2), SIZES, 1, past=past)

    two = [{"samples": 40}, {"samples": 40}]
    past = Past((Stretch(1, 0, 2, 2), Stretch(2, 40, 2, 2)), 48)
    make_phases(phased(tmp_path, *two, batch=2, accumulate=2), SIZES, 1, past=past)
    # A phase that was longer, one that is gone, one that the checkpoint has outrun.
    refused(past, "phase 2 from sample 40 .* says .* phase 2 from sample 44", {"samples": 44}, two[1])
    refused(past, "phase 2 from sample 40 .* says phase 1 from sample 0", {"samples": 88})
    refused(
        Past((Stretch(1, 0, 2, 2),), 44), "stands at 44 samples, but phase 1 goes .* 0 to 40", {"samples": 40}
    )
    # A phase that is added at the end, or is longer than it was, is no other past.
    make_phases(phased(tmp_path, *two, {"epochs": 1}, batch=2, accumulate=2), SIZES, 1, past=past)
    make_phases(phased(tmp_path, two[0], {"samples": 90}, batch=2, accumulate=2), SIZES, 1, past=past)


@pytest.mark.parametrize(
    "rows",
    [
        None,
        {},
        [],
        ["x"],
        [{"phase": 1, "first_sample": 0, "batch": 2}],
        [{"phase": 1, "first_sample": 0, "batch": 0, "accumulate": 1}],
        [{"phase": 1, "first_sample": 0, "batch": True, "accumulate": 1}],
        [{"phase": 1, "first_sample": -1, "batch": 2, "accumulate": 1}],
        [{"phase": 1, "first_sample": n, "batch": 2, "accumulate": 1} for n in (8, 8)],
    ],
)
def test_a_history_that_cannot_be_is_refused(rows: Any) -> None:
    with pytest.raises(ValueError, match="history"):
        read_history(rows)


def test_a_history_is_read_as_it_was_written() -> None:
    known = (Stretch(1, 0, 2, 2), Stretch(1, 8, 4, 1), Stretch(2, 40, 2, 2))
    assert read_history(json.loads(json.dumps([asdict(stretch) for stretch in known]))) == known


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
