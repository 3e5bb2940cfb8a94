"""Run files: what is wrong is said all at once, with its path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.trainkit.tiny import run_data
from trainkit.config import RunConfig, caption_pipeline, write_resolved
from trainkit.errors import ConfigError
from trainkit.run_file import load_run, make_run
from trainkit.schedule import ScheduleConfig

MINIMAL = """
out = "out"
samples = 8
model.base = "base"
data.path = "pictures"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "run.toml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(folder: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_run(written(folder, text), list(overrides))
    return caught.value.problems


def test_the_defaults_are_the_recipe(tmp_path: Path) -> None:
    run = load_run(written(tmp_path, MINIMAL))
    assert (run.batch, run.accumulate) == (8, 16)
    assert (run.objective.weighting, run.objective.gamma, run.objective.ip_noise_gamma) == (
        "soft_min_snr",
        3,
        0.02,
    )
    assert (run.optim.optimizer, run.optim.lr, run.optim.lr_text_encoder) == ("adamw8bit", 4e-6, 1e-6)
    assert (run.text.max_tokens, run.text.clip_skip) == (525, 2)
    assert (run.data.buckets.resolution, run.data.buckets.step, run.data.recipe) == (768, 32, "hyperfusion")
    assert run.schedule == ScheduleConfig()
    assert run.schedule.zero_terminal_snr


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    text = MINIMAL + 'data.cache = "cache"\ndata.recipe = "recipes/mine.toml"\n'
    run = load_run(written(tmp_path, text))
    assert (run.out, run.model.base, run.data.path) == (
        tmp_path / "out",
        tmp_path / "base",
        tmp_path / "pictures",
    )
    assert (run.data.cache, run.data.recipe) == (tmp_path / "cache", str(tmp_path / "recipes/mine.toml"))
    inline = MINIMAL + '[data.recipe]\npreset = "hyperfusion"\nimplications = "edges.csv"\n'
    assert load_run(written(tmp_path, inline)).data.recipe == {
        "preset": "hyperfusion",
        "implications": str(tmp_path / "edges.csv"),
    }
    absolute = MINIMAL.replace('"base"', '"/models/base"')
    assert load_run(written(tmp_path, absolute)).model.base == Path("/models/base")


def test_paths_inside_an_inline_recipe_start_at_the_run_file(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(
        MINIMAL + '[data.recipe]\npreset = "hyperfusion"\nimportant = ["solo", {file = "important.txt"}]\n'
        'implications = {file = "edges.csv", tags = "tags.csv", aliases = "aliases.csv", min_posts = 5}\n'
    )
    recipe = load_run(path).data.recipe
    assert isinstance(recipe, dict)
    assert recipe["important"] == ["solo", {"file": str(tmp_path / "important.txt")}]
    assert recipe["implications"] == {
        "file": str(tmp_path / "edges.csv"),
        "tags": str(tmp_path / "tags.csv"),
        "aliases": str(tmp_path / "aliases.csv"),
        "min_posts": 5,
    }


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    text = """
batch = 0
samples = "many"
sead = 1
model.base = "base"
data.path = "pictures"
data.recipee = "hyperfusion"
data.max_bad_share = 1.5
data.buckets.stepp = 64
optim.lr = -1
optim.betas = [0.9, 1.5]
objective.weighting = "hard"
text.max_tokens = 100
preview.width = 100
"""
    found = problems(tmp_path, text)
    by_path = dict(p.split(": ", 1) for p in found)
    assert len(by_path) == len(found) == 12
    assert by_path["out"] == "is required"
    assert by_path["sead"] == "no such setting; did you mean 'seed'?"
    assert by_path["data.recipee"] == "no such setting; did you mean 'recipe'?"
    assert by_path["data.buckets.stepp"] == "no such setting; did you mean 'step'?"
    assert by_path["batch"] == "is 0, must be greater than or equal to 1"
    assert by_path["samples"].startswith("is 'many', must be a valid integer")
    assert by_path["data.max_bad_share"] == "is 1.5, must be less than or equal to 1"
    assert by_path["optim.lr"] == "is -1, must be greater than or equal to 0"
    assert by_path["optim.betas.1"] == "is 1.5, must be less than 1"
    assert (
        by_path["objective.weighting"] == "is 'hard', must be 'none', 'min_snr', 'soft_min_snr' or 'debiased'"
    )
    assert by_path["text.max_tokens"] == "is 100, must be a multiple of 75"
    assert by_path["preview.width"] == "is 100, must be a multiple of 8"


@pytest.mark.parametrize("change", ["samples = '{}'", "data.transparent_as = '{}'", "{} = 1", "data.{} = 1"])
def test_what_was_never_meant_as_a_setting_is_not_repeated_whole(tmp_path: Path, change: str) -> None:
    """A base64 picture in the wrong place filled the terminal, and what was wrong scrolled away."""
    found = problems(tmp_path, MINIMAL + change.format("x" * 100_000))
    assert found
    assert all(len(problem) < 3000 for problem in found)


def test_the_message_says_where_and_how_many(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_run(written(tmp_path, MINIMAL + "nothing_like_it = 1\nbatch = 0\n"))
    first, *rest = str(caught.value).splitlines()
    assert first == f"{tmp_path / 'run.toml'}: 2 problems"
    expected = "  nothing_like_it: no such setting; known here: accumulate, adapter,"
    assert any(line.startswith(expected) for line in rest)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("epochs = 3", "run: give one of epochs, samples and phases, and not more"),
        ("optim.lr = nan", "optim.lr: is nan, must be a finite number"),
        ("optim.lr = inf", "optim.lr: is inf, must be a finite number"),
        (
            "data.transparent_as = 'reddish'",
            "data.transparent_as: transparent_as is 'reddish', must be a CSS",
        ),
        ("data.buckets.resolution = 70", "data.buckets: resolution is 70, must be a multiple of step (32)"),
        ("objective.prediction = 'epsilon'", 'run: objective.prediction = "epsilon" cannot be used with'),
        ("data = 3", "data: "),
        ("data.recipe = 3", "data.recipe"),
    ],
)
def test_one_problem(tmp_path: Path, change: str, problem: str) -> None:
    kept = [line for line in MINIMAL.splitlines() if not change.startswith("data = ") or "data." not in line]
    (found, *_) = problems(tmp_path, "\n".join([*kept, change]))
    assert found.startswith(problem)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"(?s)nowhere\.toml: 1 problem.*cannot be read: No such file"):
        load_run(tmp_path / "nowhere.toml")
    (line,) = problems(tmp_path, "a = = 3")
    assert line.startswith("is not valid TOML: ")
    assert "line 1" in line
    (tmp_path / "run.toml").write_bytes(b'out = "\xe4"')
    with pytest.raises(ConfigError, match="is not valid TOML"):
        load_run(tmp_path / "run.toml")


def test_overrides_change_single_settings(tmp_path: Path) -> None:
    path = written(tmp_path, MINIMAL)
    run = load_run(
        path,
        [
            "optim.lr=1e-6",
            "optim.optimizer=adamw",
            'preview.prompts=["a", "b"]',
            "out=elsewhere",
            "data.buckets.step=64",
        ],
    )
    assert (run.optim.lr, run.optim.optimizer, run.preview.prompts) == (1e-6, "adamw", ("a", "b"))
    assert (run.out, run.data.buckets.step, run.data.path) == (
        tmp_path / "elsewhere",
        64,
        tmp_path / "pictures",
    )


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("optim.lr", "'optim.lr' is not of the form key=value, such as optim.lr=1e-6"),
        ("=3", "'=3' is not of the form key=value, such as optim.lr=1e-6"),
        ("samples.x=3", "'samples.x=3': samples is a value, not a table"),
        ("optim.lrr=3", "optim.lrr: no such setting; did you mean 'lr'?"),
    ],
)
def test_overrides_that_make_no_sense(tmp_path: Path, override: str, problem: str) -> None:
    assert problems(tmp_path, MINIMAL, override) == [problem]


def test_the_resolved_run_is_the_run(tmp_path: Path) -> None:
    run = load_run(written(tmp_path, MINIMAL), ["seed=7"])
    write_resolved(run, tmp_path / "new" / "run.json")
    data = json.loads((tmp_path / "new" / "run.json").read_text())
    assert data["optim"]["lr"] == 4e-6
    assert RunConfig.model_validate(data) == run


def recipe_run(tmp_path: Path, recipe: Any, **changes: Any) -> RunConfig:
    data = run_data(tmp_path, tmp_path, tmp_path, **changes)
    data["data"]["recipe"] = recipe
    return make_run(data, tmp_path, "test")


def test_captions_get_the_runs_seed_and_fit_its_chunks(tmp_path: Path) -> None:
    pipeline = caption_pipeline(recipe_run(tmp_path, "hyperfusion", seed=11, text={"max_tokens": 150}))
    assert (pipeline.seed, pipeline.text.max_tokens) == (11, 150)
    small = {"text": {"max_tokens": 40}}
    assert caption_pipeline(recipe_run(tmp_path, small)).text.max_tokens == 40
    (tmp_path / "mine.toml").write_text('preset = "hyperfusion"\n')
    assert caption_pipeline(recipe_run(tmp_path, "mine.toml")).steps == pipeline.steps


@pytest.mark.parametrize(
    "recipe",
    [
        "hyperfussion",
        "nowhere.toml",
        {"preset": "hyperfusion", "implication": "x.csv"},
        {"steps": [{"kind": "x"}]},
    ],
)
def test_a_bad_recipe_is_an_error_of_data_recipe(tmp_path: Path, recipe: Any) -> None:
    with pytest.raises(ConfigError, match=r"^data\.recipe: "):
        caption_pipeline(recipe_run(tmp_path, recipe))
