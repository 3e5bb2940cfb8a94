"""The embedded default: scenes whose words are true, a rule that judges them, and the demo as a user runs
it."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionkit import load_pipeline, read_folder, read_implications
from trainkit.buckets import nearest_bucket
from trainkit.demo import base_folder
from trainkit.demo.dataset import judged_prompts, write_recipe, write_run, write_scenes
from trainkit.demo.judge import shown_colour, to_lab
from trainkit.demo.scenes import FIGURE_COLOURS, Figure, Scene, draw_scene, full_scene, plain_scene
from trainkit.demo.words import faulty_sentences, implications, tags_of

seeds = st.integers(0, 10**9)


@given(seeds)
def test_every_implied_tag_of_a_scene_is_there(seed: int) -> None:
    names = {tag.name for tag in tags_of(full_scene(random.Random(seed)))}
    for tag, implied in implications():
        assert tag not in names or implied in names


@given(seeds)
def test_the_rule_sees_the_colour_of_every_scene_with_one_figure(seed: int) -> None:
    scene = full_scene(random.Random(seed))
    if scene.layout == "single":
        assert shown_colour(draw_scene(scene)) == scene.figures[0].colour


@given(seeds)
def test_the_rule_is_wrong_about_a_scene_in_another_colour(seed: int) -> None:
    rng = random.Random(seed)
    scene = plain_scene(rng)
    other = rng.choice([c for c in FIGURE_COLOURS if c != scene.figures[0].colour])
    figures = (dataclasses.replace(scene.figures[0], colour=other),)
    assert shown_colour(draw_scene(dataclasses.replace(scene, figures=figures))) != scene.figures[0].colour


def test_a_ground_without_a_figure_shows_no_colour() -> None:
    assert shown_colour(draw_scene(Scene(64, 64, "brown", ()))) is None


def test_lab_of_known_colours() -> None:
    import numpy as np

    lab = to_lab(np.array([[255.0, 255.0, 255.0], [0.0, 0.0, 0.0], [255.0, 0.0, 0.0]]))
    assert lab == pytest.approx(
        np.array([[100.0, 0.0, 0.0], [0.0, 0.0, 0.0], [53.24, 80.09, 67.20]]), abs=0.02
    )


@given(seeds)
def test_a_picture_that_is_not_its_own_mirror_image_has_a_tag_that_says_so(seed: int) -> None:
    """If mirroring changes what is true of a scene, the recipe must forbid it."""
    from fnmatch import fnmatch

    from trainkit.demo.dataset import NO_FLIP

    scene = full_scene(random.Random(seed))
    names = [tag.name.replace("_", " ") for tag in tags_of(scene)]
    vetoed = any(fnmatch(name, pattern) for name in names for pattern in NO_FLIP)
    one_sided = any(
        f.facing or f.word or (f.place in ("left", "right") and scene.layout == "single")
        for f in scene.figures
    )
    assert vetoed or not one_sided
    assert vetoed == (one_sided or scene.layout == "sequence")


def test_sentences_have_the_typical_faults_and_the_recipe_cleans_them(tmp_path: Path) -> None:
    rng = random.Random(3)
    texts = [faulty_sentences(full_scene(rng), rng) for _ in range(300)]
    assert any(t.startswith("The image showcases") for t in texts)
    assert any("appears to be" in t for t in texts)
    assert any("There are no visible watermarks" in t for t in texts)
    assert any(not t.endswith(".") for t in texts)
    write_recipe(tmp_path)
    write_scenes(tmp_path / "scenes", count=120)
    pipeline = load_pipeline(tmp_path / "recipe.toml")
    seen = [
        pipeline.render(record, epoch=e).text for record in read_folder(tmp_path / "scenes") for e in range(4)
    ]
    for fault in ("The image showcases", "appears to be", "watermark", "_"):
        assert not [text for text in seen if fault in text]


def test_the_data_set_on_disk_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_scenes(tmp_path / name, count=12, seed=5)
    files = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert len(files) == 24
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)
    write_recipe(tmp_path)
    graph = read_implications(tmp_path / "implications.csv")
    assert graph.implied_by("big circle") >= {"circle", "shape"}


def test_a_thousand_scenes_use_three_buckets(tmp_path: Path) -> None:
    from trainkit.buckets import make_buckets
    from trainkit.run_file import load_run

    run = load_run(write_run(tmp_path, samples=64, seed=0))
    buckets = make_buckets(run.data.buckets)
    rng = random.Random(0)
    sizes = {(s.width, s.height) for s in (full_scene(rng) for _ in range(300))}
    assert (
        {nearest_bucket(size, buckets) for size in sizes} == set(buckets) == {(64, 128), (96, 96), (128, 64)}
    )


def test_every_colour_is_asked_for_equally_often() -> None:
    asked = [colour for _, colour in judged_prompts()]
    assert {asked.count(colour) for colour in FIGURE_COLOURS} == {8}
    assert all(prompt.startswith(colour) for prompt, colour in judged_prompts())


def test_a_figure_needs_no_more_than_kind_and_colour() -> None:
    assert shown_colour(draw_scene(Scene(96, 96, "black", (Figure("heart", "pink"),)))) == "pink"


def test_the_base_model_is_small_and_predicts_epsilon_on_the_original_schedule() -> None:
    files = [p for p in base_folder().rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files) <= 10_000_000
    scheduler = json.loads((base_folder() / "scheduler" / "scheduler_config.json").read_text())
    assert scheduler["prediction_type"] == "epsilon"
    assert not scheduler.get("rescale_betas_zero_snr", False)
    unet = json.loads((base_folder() / "unet" / "config.json").read_text())
    assert len(unet["block_out_channels"]) == 4
    assert unet["layers_per_block"] == 2


@pytest.mark.slow
def test_the_demo_as_a_user_runs_it(tmp_path: Path) -> None:
    """A short training: every promised file is there, and the base model's colours are not lost at the
    start."""
    command = [sys.executable, "-m", "trainkit", "demo", "--out", str(tmp_path / "demo"), "--samples", "64"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=3600, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    out = tmp_path / "demo"
    summary = json.loads((out / "summary.json").read_text())
    assert summary.keys() >= {"asked_colour_share", "chance", "samples", "seconds", "peak_memory_mb"}
    assert summary["samples"] == 64
    assert 0 < summary["chance"] <= 0.125
    assert summary["before"]["asked_colour_share"] > 0.5
    page = (out / "index.html").read_text(encoding="utf-8")
    assert page.count("<figure>") == 64
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons", ""
    )
    assert len((out / "captions.jsonl").read_text().splitlines()) == 64
    assert (out / "samples.png").stat().st_size > 10_000
    for name in ("model/model_index.json", "log.jsonl", "run.json", "previews"):
        assert (out / "run" / name).exists()
