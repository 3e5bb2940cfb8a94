"""SIGKILL at twenty moments of a run: what goes on ends in the same weights, to the bit.

The moments are watched for from outside, in the run's folder: a process is stopped (SIGSTOP) when it seems to
be where it is to be killed, looked at again while it cannot move, and killed there or let go on.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.trainkit.processes import PATIENCE, command, environment, run, write_run
from trainkit.log import read_log, read_tail

BORDER, END = 40, 112

PHASED: dict[str, Any] = {
    "samples": None,
    "phases": [
        {"samples": BORDER},
        {"samples": END - BORDER, "data": {"buckets": {"resolution": 96, "max_side": 128}}},
    ],
    "checkpoint_every": 8,
    "ema": {"sigma_rel": [0.1], "snapshot_every": 40},
    "validation": {"share": 0.15, "every": 40, "timesteps": 2},
}
"""Five and nine steps of eight samples in two sizes, a checkpoint after each, averages, validation."""


@dataclass
class Watched:
    """A training process and the folder it writes to."""

    process: subprocess.Popen[bytes]
    out: Path
    said: Path
    """What it has said so far."""
    fresh: bool
    """Whether there was no log before it."""

    def where(self) -> str:
        """What the process is doing, by what it has left in its folder so far."""
        pid, log = self.process.pid, self.out / "log.jsonl"
        if next(self.out.glob(f"checkpoints/.*.partial-{pid}"), None) is not None:
            return "checkpoint"  # Or removing an old one, which is renamed first.
        if next(self.out.glob(f".model.partial-{pid}"), None) is not None:
            return "export"
        said = self.said.read_text()
        if not (self.fresh and log.exists()) and "going on from" not in said and "phase 1: " not in said:
            return "start"
        samples = max((entry["samples"] for entry in read_tail(log, 1).entries), default=0)
        if samples == 0:
            return "cache"
        return "switch" if samples == BORDER else "step"


def started(words: list[str], out: Path) -> Watched:
    said, fresh = out.with_name("said.txt"), not (out / "log.jsonl").exists()
    with said.open("wb") as file:
        process = subprocess.Popen(
            words, env=environment(), stdout=file, stderr=subprocess.DEVNULL, start_new_session=True
        )
    return Watched(process, out, said, fresh)


def kill_there(words: list[str], out: Path, moment: str, delay: float) -> str:
    """Start it, wait until it is at the moment and ``delay`` seconds more, kill it; returns where it was.

    A machine too busy to look in time lets the run end: then it is done again, from what was there before."""
    before = out.with_name("before")
    if out.exists():
        shutil.copytree(out, before)
    while not killed(started(words, out), moment, delay):
        delay /= 2
        shutil.rmtree(out)
        if before.exists():
            shutil.copytree(before, out)
    shutil.rmtree(before, ignore_errors=True)
    return moment


def killed(watched: Watched, moment: str, delay: float) -> bool:
    """Whether a process could be killed at the moment; False when it had ended well before that."""
    end = time.monotonic() + PATIENCE
    try:
        if moment == "start":
            time.sleep(delay * 100)
        while True:
            if watched.process.poll() is not None:
                assert watched.process.returncode == 0, watched.said.read_text()
                return False
            assert time.monotonic() < end, "the process does not get on"
            if watched.where() == moment:
                time.sleep(delay if moment != "start" else 0)
                os.killpg(watched.process.pid, signal.SIGSTOP)
                if watched.where() == moment and watched.process.poll() is None:
                    return True
                os.killpg(watched.process.pid, signal.SIGCONT)
                delay /= 2  # It was over already.
            time.sleep(0.0003)
    finally:
        if watched.process.poll() is None:
            os.killpg(watched.process.pid, signal.SIGKILL)
        watched.process.wait()


def results(out: Path) -> dict[str, dict[str, Tensor]]:
    """Everything that came of a run: the model, the averages, their snapshots, the last checkpoint."""
    last = out / "checkpoints" / f"{END:012d}"
    files = [path for folder in (out / "model", out / "ema", last) for path in folder.rglob("*.safetensors")]
    return {str(path.relative_to(out)): load_file(path) for path in sorted(files)}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


MOMENTS = (
    (
        "start",
        "start",
        "cache",
        "checkpoint",
        "checkpoint",
        "step",
        "switch",
        "checkpoint",
        "export",
        "export",
    ),
    ("start", "start", "start", "cache", "step", "checkpoint", "switch", "checkpoint", "step", "export"),
)
"""Of two runs side by side, one for each core."""


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="equal to the bit on a CPU only")
def test_killed_at_twenty_moments_a_run_ends_in_the_same_weights(
    tmp_path: Path, tiny_model: Path, pictures: Path
) -> None:
    whole = write_run(tmp_path / "whole", tiny_model, pictures, **PHASED)
    rng = random.Random(6)
    hit: Counter[str] = Counter()

    def killed_often(number: int) -> Path:
        folder = tmp_path / str(number)
        words = command("train", write_run(folder, tiny_model, pictures, **PHASED))
        for moment in MOMENTS[number]:
            delay = rng.uniform(0, 0.02)
            hit[kill_there(words, folder / "out", moment, delay)] += 1
        done = run(words)
        assert done.returncode == 0, done.stderr
        return folder / "out"

    def undisturbed() -> None:
        done = run(command("train", whole))
        assert done.returncode == 0, done.stderr

    with ThreadPoolExecutor(2) as pool:
        jobs: list[Callable[[], Any]] = [lambda: killed_often(0), lambda: killed_often(1), undisturbed]
        outs = [job.result() for job in [pool.submit(job) for job in jobs]][:2]
    assert hit == {"start": 5, "cache": 2, "checkpoint": 5, "step": 3, "switch": 2, "export": 3}
    expected = results(tmp_path / "whole" / "out")
    assert len(expected) == 3 + 1 + 3 + 4
    for out in outs:
        found = results(out)
        assert found.keys() == expected.keys()
        assert [name for name in found if not equal(found[name], expected[name])] == []
        assert [line["samples"] for line in read_log(out / "log.jsonl")] == list(range(8, END + 1, 8))
        # Nothing half-written is left.
        assert not [path for path in out.rglob("*") if "partial" in path.name]
