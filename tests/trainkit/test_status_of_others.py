"""``trainkit status`` of folders that are no training run of a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from trainkit.cli import main
from trainkit.prepare import prepare
from trainkit.prepare.settings import PrepareConfig


@pytest.mark.parametrize("flags", [[], ["--json"], ["--check"]])
def test_a_tagger_is_no_run(flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Regression: a tagger that had been trained to its end was "killed, or a power cut"."""
    (tmp_path / "run.json").write_text(json.dumps({"out": "light", "learn": {"tags": ["rain"]}}))
    (tmp_path / "log.jsonl").write_text(json.dumps({"samples": 64, "loss": 0.5}) + "\n")
    assert main(["status", str(tmp_path), *flags]) == 2
    told = capsys.readouterr()
    assert (told.out, "is the training of a tagger" in told.err) == ("", True)
    (tmp_path / "tagger.json").write_text("{}")
    assert main(["status", str(tmp_path), *flags]) == 2
    assert f"trainkit tagger evaluate {tmp_path} MANIFEST" in capsys.readouterr().err


def test_a_manifest_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "pictures" / "a.png")
    prepare(tmp_path / "pictures", tmp_path / "manifest", PrepareConfig(untagged=True), processes=1)
    assert main(["status", str(tmp_path / "manifest")]) == 2
    assert "is a manifest, no run" in capsys.readouterr().err


def test_the_file_of_a_caption_run_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "caption.toml").write_text('data = "manifest"\n')
    assert main(["status", str(tmp_path / "caption.toml")]) == 2
    assert "give the folder or the file of a training run" in capsys.readouterr().err
