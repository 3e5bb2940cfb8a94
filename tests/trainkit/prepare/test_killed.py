"""Real processes that are killed in the middle: nothing is lost, nothing half-written is taken for whole."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainkit.prepare.drawn import put_many
from tests.trainkit.prepare.test_prepare import files_of
from tests.trainkit.processes import PATIENCE, alive, command, environment, kill_when, run
from trainkit.errors import TrainkitError
from trainkit.prepare import PrepareConfig, prepare
from trainkit.prepare.folder import OutFolder, out_folder
from trainkit.prepare.measured import MEASURED, Journal, Known, Measured, drop_damaged, keep

PICTURES = 600


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("killed") / "data"
    put_many(folder, PICTURES)
    return folder


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    prepare(data, out, PrepareConfig(near=True, decode=True), processes=1)
    return files_of(out)


STANDS_STILL = """
import sys, time
from trainkit.cli import main
from trainkit.prepare.measured import Journal

append, left = Journal.append, [int(sys.argv.pop(1))]

def slow(journal, packed):
    append(journal, packed)
    left[0] -= bool(packed)
    while not left[0]:
        time.sleep(0.1)

Journal.append = slow
sys.exit(main(sys.argv[1:]))
"""
"""trainkit on a machine that gets no further than so many pieces of the journal, so that a signal meets it in
the middle, also where the test is slow to look."""


def words(data: Path, out: Path, processes: int = 1, *, pieces: int | None = None) -> list[str]:
    """The command; one that stands still after so many pieces of its journal."""
    whole = command("prepare", data, "-o", out, "--near", "--decode", "--processes", processes, "--json")
    return whole if pieces is None else [sys.executable, "-c", STANDS_STILL, str(pieces), *whole[3:]]


def taken_down(out: Path) -> int:
    journal = out / ".prepare" / "journal"
    return journal.stat().st_size if journal.exists() else 0


def wait_for_some(process: subprocess.Popen[Any], out: Path) -> None:
    """Until a process has taken down its first pictures."""
    end = time.monotonic() + PATIENCE
    while taken_down(out) == 0:
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.parametrize(("processes", "pieces"), [(1, 1), (1, 4), (2, 2)])
def test_a_killed_run_goes_on(
    data: Path, tmp_path: Path, undisturbed: dict[str, bytes], processes: int, pieces: int
) -> None:
    out = tmp_path / "out"
    some = (pieces - 1) * 100 * MEASURED.itemsize + 100
    kill_when(words(data, out, processes, pieces=pieces), lambda: taken_down(out) > some)
    assert files_of(out) == {}
    ended = run(words(data, out, processes))
    assert ended.returncode == 0, ended.stderr
    summary = json.loads(ended.stdout)
    assert summary["rows"] == PICTURES
    assert 0 < summary["read"] <= PICTURES - 100 * pieces
    assert pages_apart(files_of(out)) == pages_apart(undisturbed)


def pages_apart(files: dict[str, bytes]) -> dict[str, bytes]:
    """The page names the data as the command did; all else is the same to the byte."""
    return {name: data for name, data in files.items() if name != "report.html"}


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_asked_to_stop_it_says_what_goes_on(
    data: Path, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    out = tmp_path / "out"
    with subprocess.Popen(
        words(data, out, pieces=1),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell lets what it starts in the background ignore Ctrl-C, and all that is started by that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        wait_for_some(process, out)
        process.send_signal(number)
        told, wrong = process.communicate(timeout=PATIENCE)
    assert (process.returncode, told) == (status, "")
    assert wrong.strip() == (
        f"trainkit: stopped; {out} is as it was, and what was measured is kept: the same command goes on"
    )
    assert files_of(out) == {}
    assert prepare(data, out, PrepareConfig(near=True, decode=True), processes=1).num_read < PICTURES


def test_a_kill_between_two_renames_is_made_good(tmp_path: Path) -> None:
    """The new files are all there, some in their places: whoever comes next moves the rest."""
    put_many(tmp_path / "data", 9)
    config = PrepareConfig(rows_per_part=2)
    whole = tmp_path / "whole"
    prepare(tmp_path / "data", whole, config, processes=1)
    names = sorted(files_of(whole))
    for moved in range(len(names)):
        out = tmp_path / f"out{moved}"
        shutil.copytree(whole, out)
        folder = OutFolder(out)
        order = [name for name in names if name != "manifest.json"]
        for name in order[moved:]:
            os.replace(out / name, folder.new / name)
        os.replace(out / "manifest.json", folder.new / "manifest.json")
        (out / "part-00099.arrow").write_bytes(b"of an earlier manifest with more pictures")
        with out_folder(out):
            assert files_of(out) == files_of(whole)


def test_what_was_not_all_there_is_thrown_away(tmp_path: Path) -> None:
    put_many(tmp_path / "data", 4)
    out = tmp_path / "out"
    prepare(tmp_path / "data", out, processes=1)
    before = files_of(out)
    (out / ".prepare" / "new" / "part-00000.arrow").write_bytes(b"half")
    (out / ".prepare" / ".rows.1.parts").write_bytes(b"half")
    with out_folder(out) as folder:
        assert files_of(out) == before
        assert sorted(path.name for path in folder.work.iterdir()) == ["lock", "measured", "new"]


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    put_many(tmp_path / "data", 1)
    with (
        out_folder(tmp_path / "out"),
        pytest.raises(TrainkitError, match="another process is preparing"),
    ):
        prepare(tmp_path / "data", tmp_path / "out")


def test_a_full_disk_is_told_and_the_same_command_goes_on(
    data: Path, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    """Regression: it said no more than the system's number and words."""
    out = tmp_path / "out"
    ended = run(words(data, out), max_file_bytes=20_000)
    assert ended.returncode == 2
    assert f"{out} could not be written: File too large (" in ended.stderr
    assert "What was measured is kept" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert files_of(out) == {}
    ended = run(words(data, out))
    assert ended.returncode == 0
    assert json.loads(ended.stdout)["read"] < PICTURES
    assert files_of(out) == undisturbed


def measured(image: int, width: int) -> Measured:
    return Measured(image, 1, 2, 3, bytes(range(16)), width, 5, 2**64 - 1, 1, 7)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=5), max_size=6),
    st.integers(0, 10**6),
    st.integers(0, 7),
)
def test_a_journal_torn_anywhere_gives_its_whole_pieces(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[list[int]], cut: int, bit: int
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    ends = [0]
    with (folder / "journal").open("wb") as file:
        for number, piece in enumerate(pieces):
            Journal(file).append(b"".join(measured(image, number).packed() for image in piece))
            ends.append(file.tell())
    cut %= ends[-1] + 1
    data = bytearray((folder / "journal").read_bytes()[: cut + 1])
    if cut < len(data):  # A flipped bit in place of a cut, at the same byte.
        data[cut] ^= 1 << bit
    (folder / "journal").write_bytes(data)
    keep(folder / "journal", folder / "measured", only_new=True)
    whole = sum(end <= cut for end in ends) - 1
    newest = {image: number for number, piece in enumerate(pieces[:whole]) for image in piece}
    known = Known(folder / "measured")
    for image in {image for piece in pieces for image in piece}:
        expected = measured(image, newest[image]) if image in newest else None
        assert known.get(image) == expected


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["bit", "cut", "more"]))
def test_a_store_with_any_damage_is_dropped(
    tmp_path_factory: pytest.TempPathFactory, at: int, how: str
) -> None:
    """Regression: a flipped bit in a digest or a size went into the next manifest, an odd length was a
    traceback."""
    folder = tmp_path_factory.mktemp("store")
    with (folder / "journal").open("wb") as file:
        Journal(file).append(b"".join(measured(image, 7).packed() for image in range(5)))
    keep(folder / "journal", folder / "measured", only_new=True)
    drop_damaged(folder / "measured")
    assert Known(folder / "measured").get(4) == measured(4, 7)
    data = bytearray((folder / "measured").read_bytes())
    at %= len(data)
    if how == "bit":
        data[at] ^= 1 << at % 8
    (folder / "measured").write_bytes(data[:at] if how == "cut" else data + bytes(at * (how == "more") or 0))
    if how == "more" and not at:
        return
    drop_damaged(folder / "measured")
    assert not (folder / "measured").exists()
    assert Known(folder / "measured").get(4) is None


def test_workers_end_with_the_first_process(data: Path, tmp_path: Path) -> None:
    """Regression: they waited for blocks from a process that was no more, for ever."""
    out = tmp_path / "out"
    with subprocess.Popen(
        words(data, out, 2, pieces=1), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        wait_for_some(process, out)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) >= 2
        process.kill()
    end = time.monotonic() + PATIENCE
    while left := [child for child in children if alive(int(child))]:
        assert time.monotonic() < end, left
        time.sleep(0.02)
