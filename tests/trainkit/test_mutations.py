"""Damaged files of every kind before whole commands: no hang, no traceback, no strange file touched."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.trainkit.mutations import KINDS
from tests.trainkit.processes import PATIENCE, environment, write_run
from trainkit.cli import main
from trainkit.errors import ModelError
from trainkit.model_folder import check_model_folder
from trainkit.prepare import prepare
from trainkit.trained_as import read_objective
from trainkit.weights_file import write_weights

COUNT = 40


@pytest.mark.slow
def test_no_damaged_file_makes_a_command_crash_hang_or_touch_what_is_not_its_own(tmp_path: Path) -> None:
    """`python -m tests.trainkit.mutations --count 1000` runs more of them; it forks, so it is a process of
    one thread."""
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.trainkit.mutations", f"--count={COUNT}", "--seed=0"],
        env=environment() | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=6 * PATIENCE,
    )
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]
    assert f"{COUNT} damaged inputs, 0 with faults" in ran.stdout


def test_every_kind_of_file_meets_a_command() -> None:
    assert all(kind.files and kind.commands for kind in KINDS.values())


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"clip_skip": 99}', "[" * 20_000], ids=range(6))
@pytest.mark.parametrize("name", ["scheduler/scheduler_config.json", "trainkit.json"])
def test_what_says_how_a_model_was_trained_is_an_error_when_it_is_damaged(
    own_model: Path, name: str, content: str
) -> None:
    """Regression: trainkit.json was a traceback, brackets in brackets anywhere another."""
    (own_model / name).write_text(content)
    with pytest.raises(ModelError, match=rf"{name} cannot be used"):
        read_objective(own_model)


@pytest.mark.parametrize("content", ["[]", "[" * 20_000], ids=["list", "deep"])
def test_a_configuration_that_is_none_is_a_problem(own_model: Path, content: str) -> None:
    (own_model / "vae" / "config.json").write_text(content)
    assert any("config.json" in problem for problem in check_model_folder(own_model))


@pytest.mark.parametrize("content", ["", "[]", "[" * 20_000], ids=["empty", "list", "deep"])
def test_a_damaged_run_json_is_an_error_of_trainkit_ema(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Regression: it was a traceback."""
    snapshots = tmp_path / "ema" / "snapshots"
    snapshots.mkdir(parents=True)
    for width in (0.05, 0.1):
        write_weights(
            snapshots / f"{width:.3f}-000000000008.safetensors",
            {"unet.x": torch.ones(2)},
            {"kind": "ema", "samples_seen": "8", "sigma_rel": repr(width)},
        )
    (tmp_path / "run.json").write_text(content)
    assert main(["ema", str(tmp_path), "--sigma-rel", "0.08"]) == 2
    assert "run.json: 1 problem" in capsys.readouterr().err


def test_a_run_of_which_no_picture_is_there_trains_nothing(
    tmp_path: Path, tiny_model: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Regression: few samples or a large max_bad_share, and a model came out that had seen no picture."""
    prepare(pictures, tmp_path / "manifest", processes=1)
    summary = tmp_path / "manifest" / "manifest.json"
    summary.write_text(json.dumps(json.loads(summary.read_text()) | {"root": "/nowhere"}))
    run = write_run(tmp_path, tiny_model, tmp_path / "manifest", samples=8, checkpoint_every=8)
    assert main(["train", str(run), "data.max_bad_share=1.0"]) == 2
    assert "none of the first 4 pictures can be read" in capsys.readouterr().err
    assert not (tmp_path / "out" / "model").exists()
