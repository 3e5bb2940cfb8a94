"""The run on real pictures: the example converts them, the configuration is sound, and what it says is true
of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from captionkit import read_jsonl
from trainkit.check import check_run
from trainkit.cli import main
from trainkit.config import caption_pipeline
from trainkit.run_file import load_run
from trainkit.tagging.run_file import load_tagger_run
from trainkit.tagging.training_data import read_training_data

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def emoji(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """records.jsonl and implications.csv of the real emoji."""
    out = tmp_path_factory.mktemp("emoji")
    example = ROOT / "examples/03_emoji_records.py"
    command = [sys.executable, str(example), str(shared / "data/emoji/metadata.jsonl"), str(out)]
    subprocess.run(command, check=True, capture_output=True)
    return out


def _overrides(emoji: Path) -> list[str]:
    recipe = (ROOT / "examples/configs/emoji_recipe.toml").read_text(encoding="utf-8")
    local = emoji / "recipe.toml"
    local.write_text(recipe.replace("../../build/emoji/", ""), encoding="utf-8")
    places = {"data.path": emoji / "records.jsonl", "data.recipe": local, "out": emoji / "run"}
    return [f"{key}={json.dumps(str(value))}" for key, value in places.items()]


def test_every_emoji_becomes_a_record(emoji: Path) -> None:
    records = list(read_jsonl(emoji / "records.jsonl"))
    assert len(records) == 1679
    assert all(record.prose for record in records)


def test_check_reads_all_real_pictures_and_finds_nothing_wrong(emoji: Path) -> None:
    run = load_run(ROOT / "examples/configs/emoji.toml", _overrides(emoji))
    report, problems, _ = check_run(run)
    assert problems == []
    assert report["data"]["pictures"] == 1679
    assert report["data"]["skipped"] == []
    assert report["data"]["with_prose"] == 1.0
    assert report["phases"][0]["captions"]["sources"]["empty"] == pytest.approx(
        0.1, abs=0.03
    )  # 1,679 draws: 4 standard deviations.


def test_no_emoji_that_shows_a_direction_or_a_letter_is_mirrored(emoji: Path) -> None:
    run = load_run(ROOT / "examples/configs/emoji.toml", _overrides(emoji))
    pipeline = caption_pipeline(run)
    may = {record.prose[0].text: pipeline.may_flip(record) for record in read_jsonl(emoji / "records.jsonl")}
    for label in (
        "left arrow",
        "rightwards hand",
        "man running: facing right",
        "regional indicator A",
        "keycap: 1",
        "three o\u2019clock",
    ):
        assert not may[label], label
    for label in ("fox", "grinning face", "red heart", "panda"):
        assert may[label], label
    assert 0.5 < sum(may.values()) / len(may) < 0.95


def test_the_tagger_of_their_groups_is_sound(emoji: Path, shared: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest"
    words = ["prepare", str(emoji / "records.jsonl"), "--root", str(shared / "data/emoji"), "--min-side", "8"]
    assert main([*words, "-o", str(manifest), "--json"]) == 0
    places = [f"data.path={json.dumps(str(manifest))}", f"out={json.dumps(str(tmp_path / 'tagger'))}"]
    run = load_tagger_run(ROOT / "examples/configs/emoji_tagger.toml", places)
    data = read_training_data(run.data, run.learn, run.split, run.augment, run.source)
    assert {name: len(labels) for name, labels in data.outputs.groups.items()} == {
        "group": 10,
        "subgroup": 98,
    }
    assert (len(data.train), len(data.test)) == (1320, 333)
