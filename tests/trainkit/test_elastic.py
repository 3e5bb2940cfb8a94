"""torchrun starts a run again whose process was killed or hangs; it goes on with the same samples."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.trainkit.processes import PATIENCE, environment, write_run
from trainkit.log import read_log
from trainkit.watchdog import read_note

WATCHED = """
import json, os, sys
from pathlib import Path
from trainkit.feed import Feed
from trainkit.cli import main

make, log = Feed.__getitem__, Path(sys.argv[1]) / f"seen-{os.environ['RANK']}.jsonl"

def watched(feed, number):
    batch = make(feed, number)
    with log.open("a") as file:
        file.write(json.dumps([number, batch.samples, batch.records, batch.texts]) + chr(10))
    return batch

Feed.__getitem__ = watched
sys.exit(main(sys.argv[2:]))
"""
"""``trainkit`` that writes down which samples its process prepared."""


@contextlib.contextmanager
def torchrun(run_file: Path, *flags: str) -> Any:
    """Two processes of a run under torchrun; what they say goes into ``said.txt``."""
    folder = run_file.parent
    script = folder / "watched.py"
    script.write_text(WATCHED)
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *flags]
    with (
        (folder / "said.txt").open("w") as said,
        subprocess.Popen(
            [*words, str(script), str(folder), "train", str(run_file)],
            env=environment(),
            stdout=said,
            stderr=said,
        ) as launcher,
    ):
        try:
            yield launcher
        finally:
            launcher.terminate()  # It ends the processes that it has started.


def until(ready: Callable[[], bool], launcher: subprocess.Popen[bytes], told: Path) -> None:
    end = time.monotonic() + 2 * PATIENCE
    while not ready():
        assert launcher.poll() is None, told.read_text()[-4000:]
        assert time.monotonic() < end, told.read_text()[-4000:]
        time.sleep(0.02)


def samples(folder: Path) -> dict[tuple[int, int], Any]:
    """What was prepared, by rank and micro-batch; whatever was prepared again was the same."""
    found: dict[tuple[int, int], Any] = {}
    for rank in (0, 1):
        for line in (folder / f"seen-{rank}.jsonl").read_text().splitlines():
            number, *batch = json.loads(line)
            assert found.setdefault((rank, number), batch) == batch
    return found


@pytest.mark.slow
def test_a_killed_and_a_stopped_process_and_the_run_goes_on_by_itself(
    tmp_path: Path, tiny_model: Path, pictures: Path
) -> None:
    settings: dict[str, Any] = {
        "samples": 144,
        "batch": 2,
        "checkpoint_every": 16,
        "preview": {"prompts": []},
    }
    undisturbed = write_run(tmp_path / "undisturbed", tiny_model, pictures, **settings)
    # Long enough that no process is taken for hanging because the machine is busy.
    disturbed = write_run(tmp_path / "disturbed", tiny_model, pictures, **settings, hang_timeout=20)
    with torchrun(undisturbed) as launcher:
        assert launcher.wait(3 * PATIENCE) == 0, (undisturbed.parent / "said.txt").read_text()[-4000:]

    folder, out = disturbed.parent, disturbed.parent / "out"
    said = folder / "said.txt"

    def checkpoint(least: int) -> bool:
        found = [int(p.name) for p in (out / "checkpoints").glob("0*")]
        return max(found, default=0) >= least

    def pid(rank: int) -> int:
        note = read_note(out / "ranks" / f"{rank}.json")
        assert note is not None
        return note.pid

    with torchrun(disturbed, "--max-restarts", "3") as launcher:
        until(lambda: checkpoint(16), launcher, said)
        first = pid(1)
        os.kill(first, signal.SIGKILL)
        until(lambda: checkpoint(48) and pid(1) != first, launcher, said)
        stopped = pid(1)
        os.kill(stopped, signal.SIGSTOP)
        try:
            until(lambda: "what hangs" in said.read_text(), launcher, said)
        finally:
            os.kill(stopped, signal.SIGKILL)  # torchrun does so by itself, after half a minute.
        assert launcher.wait(3 * PATIENCE) == 0, said.read_text()[-4000:]
    told = said.read_text()
    assert f"rank 1 (process {stopped} on " in told
    assert "rank 0 (process" not in told
    assert (out / "ranks" / "0-stacks.txt").is_file()
    assert told.count("going on from ") >= 2

    assert samples(folder) == samples(undisturbed.parent)
    logs = [read_log(path.parent / "out" / "log.jsonl") for path in (undisturbed, disturbed)]
    assert [(e["samples"], e["loss"]) for e in logs[0]] == [(e["samples"], e["loss"]) for e in logs[1]]
    # Two processes add two numbers: in either order the same, so the weights are the same to the bit.
    for part in ("unet/diffusion_pytorch_model", "text_encoder/model"):
        ours, theirs = (
            load_file(path.parent / "out" / "model" / f"{part}.safetensors")
            for path in (undisturbed, disturbed)
        )
        assert all(ours[name].equal(theirs[name]) for name in ours)
    for note in (pid(0), pid(1)):
        assert not Path(f"/proc/{note}").exists()
