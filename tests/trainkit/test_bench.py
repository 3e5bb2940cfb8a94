"""``trainkit bench startup``: it measures real processes, and says what cannot be measured."""

from __future__ import annotations

import json
import mmap
import subprocess
import sys
from pathlib import Path

import pytest

from tests.trainkit.processes import command, environment
from trainkit.bench.memory import forget_peak, measure, peak
from trainkit.bench.startup import measure_startup
from trainkit.errors import TrainkitError
from trainkit.prepare import PrepareConfig, prepare

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is measured from /proc")


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), capture_output=True, text=True, env=environment(), check=False)


def test_memory_is_what_was_taken() -> None:
    """Pages of a mapping of its own, as those of an allocator may be old ones, and may stay when freed."""
    forget_peak()
    before = measure()
    with mmap.mmap(-1, 50 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as much:
        much.write(bytes([1]) * len(much))
        after = measure()
    gone = measure()
    grown = after.own - before.own
    assert 49 << 20 < grown < 52 << 20
    assert after.dirty - before.dirty > 49 << 20
    assert peak() > after.resident - (4 << 20) > gone.resident  # The kernel counts in batches.


def test_a_start_is_measured_with_its_workers(pictures: Path, tmp_path: Path) -> None:
    prepare(pictures, tmp_path / "manifest", PrepareConfig(min_side=16), processes=1)
    options = ("--runs", 1, "--workers", 2, "--batch", 2, "--micro-batches", 3, "--validation", 0.2)
    done = run("bench", "startup", tmp_path / "manifest", "--json", *options)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert 0 < found["pictures"] < 21
    steps = sum(found["ready"][f"{name}_seconds"] for name in ("open", "hold_out", "plan", "first_batch"))
    assert found["ready"]["seconds"] == pytest.approx(steps, abs=1e-3)
    assert found["bare"] > 50 << 20
    assert found["ready"]["peak"] >= found["ready"]["steady"]
    assert found["records_per_second"] > 0
    worker = found["worker"]
    assert 0 < worker["dirty_at_once"] <= worker["dirty"] < worker["proportional"] < worker["resident"]
    # A worker that collects garbage of its parent's copies all of it.
    assert worker["dirty"] < found["bare"] / 4
    assert len(found["runs"]) == 1


def test_what_is_no_manifest_is_told(pictures: Path, tmp_path: Path) -> None:
    for path, message in ((tmp_path / "nothing", "no such folder or table"), (pictures, "is no manifest")):
        with pytest.raises(TrainkitError, match=message):
            measure_startup(path)
