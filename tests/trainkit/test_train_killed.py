"""A training process that is killed, starved of disk and started again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.trainkit.ends import exactly, weights
from tests.trainkit.processes import command, kill_when, run, steps_logged, write_run
from trainkit.log import read_log

LONG = {"samples": 160, "checkpoint_every": 16}
"""Twenty optimizer steps of eight samples, a checkpoint after every second."""


def optimizer(name: str) -> dict[str, Any]:
    return {"optim": {"optimizer": name, "lr": 1e-3, "lr_text_encoder": 1e-4}}


@exactly
@pytest.mark.slow
@pytest.mark.parametrize("name", ["adamw", "adamw8bit"])
def test_killed_and_started_again_ends_in_the_same_weights(
    tmp_path: Path, tiny_model: Path, pictures: Path, name: str
) -> None:
    whole = write_run(tmp_path / "whole", tiny_model, pictures, **LONG, **optimizer(name))
    done = run(command("train", whole))
    assert done.returncode == 0, done.stderr
    # The other one prepares its batches in a process of its own, which must not matter either.
    again = write_run(tmp_path / "again", tiny_model, pictures, **LONG, **optimizer(name))
    words, out = command("train", again, "data.workers=1"), tmp_path / "again" / "out"
    kill_when(words, lambda: steps_logged(out) >= 7)
    assert not (out / "model").exists()
    assert 2 <= steps_logged(out) < 20

    # The disk is full now: the first checkpoint cannot be written, the one before stays.
    before = sorted(p.name for p in (out / "checkpoints").iterdir() if p.name.isdigit())
    starved = run(words, max_file_bytes=60_000)
    assert starved.returncode == 2
    assert "Traceback" not in starved.stderr
    assert "could not be written" in starved.stderr
    assert f"the last good checkpoint is {out / 'checkpoints' / before[-1]}" in starved.stderr
    assert sorted(p.name for p in (out / "checkpoints").iterdir()) == before

    # Space again: killed once more, right after the next checkpoint, and then to the end.
    kill_when(words, lambda: len(list((out / "checkpoints").glob("0*96"))) == 1)
    finished = run(words)
    assert finished.returncode == 0, finished.stderr
    assert "going on from" in finished.stdout
    assert weights(out) == weights(tmp_path / "whole" / "out")
    assert len(weights(out)) == 3
    # The log has every step once, in order, as if nothing had happened.
    log, expected = (read_log(folder / "log.jsonl") for folder in (out, tmp_path / "whole" / "out"))
    assert [line["samples"] for line in log] == list(range(8, 161, 8))
    for line in (*log, *expected):
        line.pop("samples_per_s")
        line.pop("waited")
    assert log == expected
    assert not list((out / "checkpoints").glob(".*"))
