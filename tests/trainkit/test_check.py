"""``trainkit check``: reads everything, touches nothing."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.trainkit.processes import write_run
from tests.trainkit.tiny import run_data
from trainkit.check import check_run, describe
from trainkit.check_buckets import about_buckets, describe_buckets, padded_share
from trainkit.cli import main
from trainkit.config import RunConfig
from trainkit.errors import TrainkitError
from trainkit.phases import make_phases, merged_buckets
from trainkit.prepare import prepare
from trainkit.run_file import make_run
from trainkit.train import train


def fingerprint(folder: Path) -> str:
    """A hash of every name, content, size and time of change under a folder."""
    digest = hashlib.blake2b()
    for path in sorted(folder.rglob("*")):
        stat = path.stat()
        digest.update(repr((path.relative_to(folder), stat.st_size, stat.st_mtime_ns, stat.st_mode)).encode())
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def a_run(tmp_path: Path, model: Path, data: Path, /, **changes: Any) -> RunConfig:
    return make_run(run_data(model, data, tmp_path / "out", **changes), tmp_path, "test")


def test_check_tells_what_would_happen_and_touches_nothing(
    tmp_path: Path, own_model: Path, own_pictures: Path
) -> None:
    before = fingerprint(tmp_path)
    run = a_run(tmp_path, own_model, own_pictures, epochs=4, samples=None)
    report, problems, _ = check_run(run, devices=2)
    assert problems == []
    assert fingerprint(tmp_path) == before
    assert report["data"]["pictures"] == 21
    assert report["data"]["skipped"] == []
    (phase,) = report["phases"]
    assert sum(b["pictures"] for b in phase["buckets"]) == 21
    assert phase["batch"] == "4 per device x 2 accumulated x 2 = 16"
    assert phase["learning_rates"]["unet"][0] == 1e-3
    assert report["run"]["samples"] == 16 * report["run"]["optimizer_steps"] <= 84
    assert report["run"]["goes_on_from"] == 0
    captions = phase["captions"]
    assert captions["drawn"] >= 1000
    assert captions["tokens"]["most"] <= 150
    assert sum(captions["chunks"].values()) == pytest.approx(1, abs=1e-3)
    # The recipe's one empty caption in ten, over 1050 draws: off by 0.05 is more than five standard errors.
    assert captions["sources"]["empty"] == pytest.approx(0.1, abs=0.05)
    text = describe(report, str(run.out))
    assert "21 to train, 0 held out for validation, 0 skipped" in text
    assert f"writes to {run.out}" in text


def test_check_finds_every_problem_at_once(tmp_path: Path, own_model: Path) -> None:
    shutil.rmtree(own_model / "vae")
    run = a_run(tmp_path, own_model, tmp_path / "nowhere", data={"path": "nowhere", "recipe": "hyperfussion"})
    _, problems, _ = check_run(run)
    assert len(problems) == 3
    assert problems[0] == f"model.base: {own_model} lacks its vae/ folder"
    assert problems[1].startswith("data.recipe: ")
    assert problems[2] == f"data.path: no such folder or table: {tmp_path / 'nowhere'}"


def test_check_finds_a_prepared_part_that_changed(tmp_path: Path, tiny_model: Path, pictures: Path) -> None:
    """Regression: a letter of a tag was another, and nothing said so."""
    prepare(pictures, tmp_path / "manifest", processes=1)
    run = a_run(tmp_path, tiny_model, tmp_path / "manifest")
    assert check_run(run)[1] == []
    part = tmp_path / "manifest" / "part-00000.arrow"
    data = part.read_bytes()
    part.write_bytes(data.replace(b"background", b"backgroumd"))
    assert check_run(run)[1] == [
        f"data.path: {part} is not as it was written; copy it again, or prepare again"
    ]


def test_check_finds_prompts_that_are_too_long(tmp_path: Path, tiny_model: Path, pictures: Path) -> None:
    run = a_run(tmp_path, tiny_model, pictures, preview={"prompts": ["fine", "a" * 151]})
    _, problems, _ = check_run(run)
    (problem,) = problems
    assert problem.startswith("preview.prompts.1: has 151 tokens, at most text.max_tokens = 150 fit")


def test_check_warns_of_wasted_area_and_names_what_is_skipped(
    tmp_path: Path, tiny_model: Path, own_pictures: Path
) -> None:
    (own_pictures / "003.png").write_bytes(b"")
    settings = {"path": str(own_pictures), "max_bad_share": 0.1}
    settings |= {"buckets": {"resolution": 128, "max_side": 128, "min_side": 32}}
    report, problems, _ = check_run(a_run(tmp_path, tiny_model, own_pictures, data=settings))
    assert problems == []
    text = describe(report, str(tmp_path))
    assert "warning: less than 90 % of the area is used; raise data.buckets.max_side" in text
    assert f"skipped  {own_pictures / '003.png'}: the file is empty" in text


def test_too_many_bad_pictures_are_an_error_that_names_them(
    tmp_path: Path, tiny_model: Path, own_pictures: Path
) -> None:
    (own_pictures / "003.png").write_bytes(b"no picture")
    (own_pictures / "005.json").write_bytes(b'{"tags": "\xff\xfe"}')
    _, (problem,), _ = check_run(a_run(tmp_path, tiny_model, own_pictures))
    assert "data.path: 2 of 21 pictures cannot be used (9.5%, data.max_bad_share allows 1.0%)" in problem
    assert f"{own_pictures / '003.png'}: is not a picture that Pillow can read" in problem
    assert "005.json" in problem
    assert "raise data.max_bad_share to skip them" in problem


def test_the_command_prints_json_and_says_by_its_status_whether_all_is_well(
    tmp_path: Path, tiny_model: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_file = tmp_path / "run.toml"
    run_file.write_text(
        f"""
out = "out"
samples = 64
model.base = "{tiny_model}"
data.path = "{pictures}"
data.buckets = {{ resolution = 64, max_side = 96, min_side = 32 }}
"""
    )
    assert main(["check", str(run_file), "--json", "text.max_tokens=75"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["problems"] == []
    assert report["run"]["samples"] == 128
    assert main(["check", str(run_file), "data.path=gone"]) == 2
    assert capsys.readouterr().err == f"problem: data.path: no such folder or table: {tmp_path / 'gone'}\n"


def test_length_of_a_run(tmp_path: Path) -> None:
    def steps(pictures: int, **length: Any) -> int:
        run = a_run(tmp_path, tmp_path, tmp_path, **length)
        (phase,) = make_phases(run, np.array([(64, 64)] * pictures, dtype=np.int32), 1)
        return phase.steps

    assert steps(21, samples=17) == 3
    assert steps(21, samples=None, epochs=2) == 5
    with pytest.raises(
        TrainkitError, match="3 pictures x 2 epochs do not fill one optimizer step of 4 x 2 samples"
    ):
        steps(3, samples=None, epochs=2)


def test_phases_are_told_apart(tmp_path: Path, tiny_model: Path, pictures: Path) -> None:
    phases = [
        {"name": "small", "samples": 64},
        {"epochs": 3, "batch": 2, "data": {"buckets": {"resolution": 96, "max_side": 128}}},
    ]
    run = a_run(tmp_path, tiny_model, pictures, samples=None, phases=phases)
    report, problems, made = check_run(run)
    assert (problems, len(made)) == ([], 2)
    assert report["run"]["samples"] == 64 + report["phases"][1]["samples"]
    assert [p["resolution"] for p in report["phases"]] == [64, 96]
    text = describe(report, str(run.out))
    assert "small: 8 optimizer steps, 64 samples" in text
    assert "phase 2: 15 optimizer steps, 60 samples" in text


def test_the_plan_counts_what_is_trained(tmp_path: Path, tiny_model: Path, pictures: Path) -> None:
    # It once counted the held-out pictures too, and so another number of steps than the run then made.
    run = a_run(tmp_path, tiny_model, pictures, samples=None, epochs=4, validation={"share": 0.2})
    report, problems, (phase,) = check_run(run)
    assert problems == []
    held_out = report["data"]["held_out"]
    assert 0 < held_out < 21
    assert report["data"]["pictures"] == phase.plan.num_pictures == 21 - held_out
    assert train(run).samples_seen == report["run"]["samples"]


def test_check_tells_what_buckets_repeats_and_windows_do(
    tmp_path: Path, tiny_model: Path, pictures: Path
) -> None:
    buckets = {"resolution": 64, "max_side": 128, "min_side": 32, "min_pictures": 4}
    data = {"path": str(pictures), "buckets": buckets, "chunk_window": 2}
    data |= {"repeats": {"00*": 3, "01*": 0, "x/*": 2}, "balance": {"tags": ["*"], "cap": 1.5}}
    run = a_run(tmp_path, tiny_model, pictures, samples=None, epochs=4, data=data)
    report, problems, (made,) = check_run(run)
    assert problems == []
    (phase,) = report["phases"]
    # 21 pictures: ten three times, ten not at all, one once; balance keeps the length.
    assert phase["pass"]["samples"] == round(made.plan.mean_pass) == 31
    assert sum(b["batches"] for b in phase["buckets"]) == pytest.approx(31 / 4, abs=0.1)
    assert report["run"]["epochs"] == pytest.approx(report["run"]["samples"] / 31, abs=1e-3)
    assert sum(phase["crop"]["histogram"]) == 21
    assert 0 <= phase["crop"]["median"] <= phase["crop"]["p95"] <= phase["crop"]["most"] < 1
    notes = "".join(report["data"]["notes"])
    assert "data.repeats: 'x/*' matches no picture" in notes
    assert "10 of 21 pictures are left out: their repeats are 0" in notes
    padded = phase["captions"]["padded"]
    assert set(padded) == {"0", "2", "4"}
    assert padded["0"] >= padded["2"] >= padded["4"] >= 0
    text = describe(report, str(run.out))
    assert "31 samples; the picture drawn most often is drawn" in text
    assert "of the chunks are padding with data.chunk_window = 2" in text
    assert "micro-batches in a pass" in text


def test_merged_buckets_are_said_aloud(tmp_path: Path) -> None:
    sizes = np.array([(64, 64)] * 9 + [(130, 64)], dtype=np.int32)
    buckets = {"resolution": 64, "max_side": 128, "min_side": 32, "min_pictures": 2}
    data = {"path": "pictures", "buckets": buckets}
    run = a_run(tmp_path, tmp_path, tmp_path, data=data)
    (phase,) = make_phases(run, sizes, 1)
    about = about_buckets(phase, sizes)
    assert len(about["buckets"]) == 1
    (line,) = [line for line in describe_buckets(about, None) if "note" in line]
    assert "has only 1 pictures, fewer than min_pictures: 1 to 64 x 64; 49.2% of their area is kept" in line
    assert merged_buckets([phase]) == (line.split("note  ")[1],)


@given(st.lists(st.integers(1, 7), min_size=1, max_size=60), st.integers(1, 8), st.integers(0, 5))
def test_padding_is_what_the_longest_of_a_batch_asks_for(chunks: list[int], batch: int, window: int) -> None:
    found = padded_share(chunks, batch, window)
    assert 0 <= found <= 1 - 1 / max(chunks) + 1e-9
    if len(set(chunks)) == 1 or batch == 1:
        assert found == pytest.approx(0)


def test_the_plan_is_drawn(
    tmp_path: Path, tiny_model: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    phases = [{"samples": 64}, {"samples": 64, "captions": {"empty_caption.p": 0.3}}]
    run_file = write_run(tmp_path, tiny_model, pictures, samples=None, phases=phases)
    plot = tmp_path / "plots" / "plan.png"
    assert main(["check", str(run_file), "--plot", str(plot)]) == 0
    assert f"the plan is drawn in {plot}" in capsys.readouterr().out
    with Image.open(plot) as picture:
        assert picture.width > 1000
    assert [p.name for p in plot.parent.iterdir()] == ["plan.png"]
    assert main(["check", str(run_file), "--plot", str(tmp_path / "plan.xyz")]) == 2
    assert "the plan cannot be drawn to" in capsys.readouterr().err
