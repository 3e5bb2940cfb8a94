"""Pictures that spoil while a real run is reading them: named, counted, and the run goes on, or stops when
they are too many."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.trainkit.processes import PATIENCE, environment, steps_logged, write_run
from tests.trainkit.stores import pack, prepared
from trainkit.manifest import Manifest


@pytest.fixture
def tars(pictures: Path, tmp_path: Path) -> Path:
    """Three tars of seven pictures each."""
    return pack(pictures, tmp_path / "tars")


STANDS_STILL = """
import sys, time
from pathlib import Path
from trainkit.cli import main
from trainkit.reporter import Reporter

step, go = Reporter.step, Path(sys.argv.pop(1))

def slow(reporter, samples_seen, *told):
    step(reporter, samples_seen, *told)
    while samples_seen == 16 and not go.exists():
        time.sleep(0.01)

Reporter.step = slow
sys.exit(main(sys.argv[1:]))
"""
"""trainkit that stands still after two steps until a file is there, so that what the test does meets it in
the middle, also where the test is slow."""


def spoiled_run(run: Path, spoil: Callable[[], None], *words: str) -> subprocess.CompletedProcess[str]:
    """Run to the end; ``spoil`` when two optimizer steps are done."""
    go = run.parent / "go"
    whole = [sys.executable, "-c", STANDS_STILL, str(go), "train", str(run), *words]
    whole += ['data.latents="live"', "data.workers=1"]
    with subprocess.Popen(
        whole, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        end = time.monotonic() + PATIENCE
        while steps_logged(run.parent / "out") < 2:
            assert process.poll() is None, process.communicate()[1][-2000:]
            assert time.monotonic() < end
            time.sleep(0.005)
        spoil()
        go.touch()
        out, errors = process.communicate(timeout=PATIENCE)
        return subprocess.CompletedProcess(whole, process.returncode, out, errors)


def skipped(run: Path) -> dict[str, str]:
    lines = (run.parent / "out/skipped.jsonl").read_text("utf-8").splitlines()
    return {Path(told["name"]).name: told["reason"] for told in map(json.loads, lines)}


def test_pictures_that_spoil_in_mid_run_are_named_and_the_run_goes_on(
    tars: Path, tiny_model: Path, tmp_path: Path
) -> None:
    manifest = prepared(tars, tmp_path / "manifest")
    table = Manifest(manifest)
    where = {Path(p.member).name: p for p in (table.place(i, str(table.record(i).image)) for i in range(21))}

    def spoil() -> None:
        # A tar cut short in its last picture, garbage in the middle of another.
        place = where["006.png"]
        with (tars / "000.tar").open("r+b") as file:
            file.truncate(place.offset + (place.length or 0) // 2)
        place = where["010.png"]
        with (tars / "001.tar").open("r+b") as file:
            file.seek(place.offset + 20)
            file.write(bytes(200))

    run = write_run(tmp_path / "run", tiny_model, manifest, samples=168)
    ended = spoiled_run(run, spoil, "data.max_bad_share=0.1")
    assert ended.returncode == 0, ended.stderr[-2000:]
    found = skipped(run)
    assert set(found) == {"006.png", "010.png"}
    assert "it was cut short, or changed since it was prepared" in found["006.png"]
    assert "bytes as then, but others; run trainkit prepare again" in found["010.png"]
    assert "skipped" in ended.stdout + ended.stderr
    assert steps_logged(tmp_path / "run/out") == 21


def test_a_tar_that_vanishes_stops_the_run_with_a_message(
    tars: Path, tiny_model: Path, tmp_path: Path
) -> None:
    run = write_run(tmp_path / "run", tiny_model, prepared(tars, tmp_path / "manifest"), samples=168)
    ended = spoiled_run(run, (tars / "002.tar").unlink, "data.max_bad_share=0.001")
    assert ended.returncode not in (0, None)
    told = ended.stdout + ended.stderr
    assert "pictures could not be read any more while training" in told
    assert "Traceback" not in told
    assert set(skipped(run).values()) == {"no such file"}
