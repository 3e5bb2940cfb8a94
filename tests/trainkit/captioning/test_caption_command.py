"""``trainkit caption`` as it is typed: what it prints, and what it leaves alone."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tests.trainkit.captioning.caption_runs import TEXT, captions, write_manifest, write_run_file
from tests.trainkit.captioning.caption_server import caption_server, seen
from trainkit.cli import main


def test_dry_run_preview_run_and_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = write_manifest(tmp_path, 6)
    with caption_server(text=TEXT) as url:
        path = write_run_file(tmp_path / "caption.toml", manifest, url)
        half = [str(path), "choose.count=3"]

        assert main(["caption", *half, "--dry-run"]) == 0
        said = capsys.readouterr().out
        assert "3 of 6 pictures are chosen" in said
        assert said.count("Describe the picture. It is tagged: ") == 3
        assert f"next: trainkit caption {shlex.join(half)} --preview 20" in said

        assert main(["caption", *half, "--preview", "2"]) == 0
        said = capsys.readouterr().out
        assert "2 of 2 captions pass" in said
        assert "all 3 captions would take about " in said
        assert (tmp_path / "caption.preview.html").is_file()
        assert not (manifest / "additions").exists()
        assert seen(url)["requests"] == 2

        assert main(["caption", *half]) == 0
        told = capsys.readouterr()
        assert f"3 captions are in {manifest}; 3 asked in " in told.out
        assert f"next: trainkit check run.toml data.path={manifest}" in told.out
        assert "3/3" in told.err

        assert main(["caption", str(path), "--json"]) == 0
        summary = json.loads(capsys.readouterr().out)
        assert (summary["asked"], summary["captioned"], summary["failed"]) == (3, 6, 0)
        assert Path(summary["report"]).is_file()
        assert all(prose for prose in captions(manifest).values())

        assert main(["caption", str(path), "--dry-run", "--json"]) == 0
        summary = json.loads(capsys.readouterr().out)
        assert (summary["to_ask"], summary["answered"]) == (0, 6)
        assert seen(url)["requests"] == 8

        assert main(["caption", str(path), "name=long", "choose.skip=nothing", "gate.min_words=400"]) == 0
        said = capsys.readouterr().out
        assert "6 refused by the gate: too short 6" in said
        assert "no caption passed" in said
        assert "next: trainkit caption-clean" in said


def test_pictures_that_all_fail_are_the_next_thing_to_mend(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It went on to the training, which had no caption."""
    manifest = write_manifest(tmp_path, 2)
    for picture in (tmp_path / "pictures").glob("*.png"):
        picture.write_bytes(b"junk")
    with caption_server(text=TEXT) as url:
        path = write_run_file(tmp_path / "caption.toml", manifest, url)
        assert main(["caption", str(path)]) == 0
        assert seen(url)["requests"] == 0
    said = capsys.readouterr().out
    assert "2 have no answer" in said
    assert f"next: trainkit caption {path} --retry-failed" in said
    assert "trainkit check" not in said


def test_mistakes_answer_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_run_file(tmp_path / "caption.toml", tmp_path / "none", "http://127.0.0.1:1/v1")
    for words, said in (
        ([str(path)], "no folder that trainkit prepare wrote"),
        ([str(path), "promts=1"], "did you mean 'prompts'?"),
        ([str(tmp_path / "other.toml")], "cannot be read"),
        ([str(tmp_path)], "is a folder; give the TOML file of the run"),
    ):
        assert main(["caption", *words]) == 2
        assert said in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["caption", str(path), "--preview", "0"])
    assert "must be a whole number of at least 1" in capsys.readouterr().err
