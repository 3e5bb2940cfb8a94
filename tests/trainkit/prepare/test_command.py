"""The command: what it prints, and what it answers to flags that are wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.trainkit.prepare.drawn import drawn, encoded, put, put_many
from trainkit.cli import main


def test_the_table_and_what_to_do_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_many(tmp_path / "data", 3)
    put(tmp_path / "data", "broken.jpg", b"x")
    put(tmp_path / "data", "small.jpg", encoded(drawn(40, 300), "JPEG"))
    out = tmp_path / "the manifest"
    words = ["prepare", str(tmp_path / "data"), "-o", str(out), "--processes", "1"]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"4 pictures in {out} (")
    assert lines[0].endswith("kB), 1 left out of 5; all were read")
    assert lines[1:] == [
        "  1  broken             no picture that can be read",
        "  1  too small          its shorter side is below --min-side",
        "  1  extreme aspect     beyond --max-aspect",
        f"each by name in {out}/problems.jsonl, shown in report.html",
        f"next: trainkit check run.toml data.path='{out}'",
    ]
    assert main([*words, "--json", "--leave-out", "too-small", "--min-side", "64"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["rows"], told["left_out"]) == (3, 2)
    assert told["found"] == {"broken": 1, "too small": 1, "extreme aspect": 1}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--leave-out", "ugly"], "--leave-out: is 'ugly', must be 'mislabelled', 'too small'"),
        (["--min-side=-1"], "--min-side: is -1, must be greater than or equal to 0"),
        (["--max-aspect", "nan"], "--max-aspect: is nan, must be"),
        (["--stored-at", "file:///x"], "--stored-at: is 'file:///x', 'file:///x': file:// is no store"),
        (["--from", "zip"], "--from: 1 problem\n  is 'zip', must be one of folder, jsonl"),
        (["--root", "nowhere"], "no such folder: nowhere"),
    ],
)
def test_flags_that_are_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    put_many(tmp_path / "data", 1)
    assert main(["prepare", str(tmp_path / "data"), "-o", str(tmp_path / "out"), *flags]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_url_is_not_scanned_and_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "s3://bucket/pictures", "-o", str(tmp_path / "out")]) == 2
    assert "with --stored-at s3://bucket/pictures" in capsys.readouterr().err
