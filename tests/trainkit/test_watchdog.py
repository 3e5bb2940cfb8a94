"""Which process of a run hangs: by its notes, and with real processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainkit.processes import PATIENCE, environment
from trainkit.watchdog import EXIT_HUNG, Note, Watchdog, hanging, read_note

NOTE = Note("backward", 800, 3, False, False, 2000.0, "2026-01-01 00:00:00+0000", 7, "node1", 41)


def later(notes: Sequence[Note | None]) -> list[Note | None]:
    """The notes some beats later; nothing got on."""
    return [note and replace(note, beat=note.beat + 4) for note in notes]


notes = st.builds(
    replace,
    st.just(NOTE),
    samples=st.sampled_from([0, 8, 16]),
    turn=st.integers(0, 4),
    waits=st.booleans(),
    patient=st.booleans(),
    idle=st.sampled_from([0.0, 1700.0, 2000.0]),
    pid=st.integers(1, 99),
)


@given(st.lists(notes, min_size=1, max_size=6), st.data())
def test_a_process_whose_notes_stand_still_or_are_missing_hangs_and_no_other(
    found: list[Note], data: st.DataObject
) -> None:
    stopped = data.draw(st.sets(st.integers(0, len(found) - 1), min_size=1))
    gone = data.draw(st.sets(st.sampled_from(sorted(stopped))))
    after = [
        None if rank in gone else note if rank in stopped else replace(note, beat=note.beat + 1)
        for rank, note in enumerate(found)
    ]
    assert hanging(list(found), after, 1800) == tuple(sorted(stopped))


@given(st.lists(notes, min_size=1, max_size=6))
def test_who_hangs_is_behind_and_neither_gets_on_nor_may_take_its_time(found: list[Note]) -> None:
    blamed = [found[rank] for rank in hanging(list(found), later(found), 1800)]
    assert all(note.idle >= 0.9 * 1800 and not note.patient for note in blamed)
    assert all(note.samples == min(n.samples for n in found) for note in blamed)
    if any(not n.waits for n in found if n.samples == min(n.samples for n in found)):
        assert not any(note.waits for note in blamed)


@given(st.lists(notes, min_size=1, max_size=6))
def test_a_run_in_which_all_get_on_is_left_alone(found: list[Note]) -> None:
    fresh = [replace(note, idle=3.0) for note in found]
    assert hanging(list(fresh), later(fresh), 1800) == ()


@given(st.lists(notes, min_size=1, max_size=6), st.integers(0, 5))
def test_a_process_that_has_ended_is_not_to_blame(found: list[Note], place: int) -> None:
    rank = place % len(found)
    ended = replace(NOTE, what="ended", patient=True)
    with_it = [*found[:rank], ended, *found[rank:]]
    after = [note if note is ended else replace(note, beat=note.beat + 1) for note in with_it]
    assert rank not in hanging(list(with_it), after, 1800)


@pytest.mark.parametrize(
    ("notes", "blamed"),
    [
        # All wait for the gradients of rank 1, which waits for its pictures.
        ([NOTE, replace(NOTE, what="waiting for pictures", turn=1), NOTE], (1,)),
        # Rank 0 writes a checkpoint, the others wait for it at the barrier.
        ([replace(NOTE, what="writing", turn=9), *[replace(NOTE, turn=5, waits=True)] * 2], (0,)),
        # Rank 0 still looks at step 800, the others are in the next one.
        ([NOTE, replace(NOTE, samples=808, turn=0), replace(NOTE, samples=808, turn=0)], (0,)),
        # Rank 0 samples previews, which may take any time: nobody hangs.
        ([replace(NOTE, patient=True), *[replace(NOTE, samples=808, turn=2)] * 2], ()),
        # All stand in the same exchange: the network.
        ([NOTE, NOTE], (0, 1)),
    ],
)
def test_who_is_named(notes: list[Note | None], blamed: tuple[int, ...]) -> None:
    assert hanging(notes, later(notes), 1800) == blamed


def test_notes_say_what_is_done_since_when(tmp_path: Path) -> None:
    dog = Watchdog(tmp_path, 2, 4, 0)
    dog.doing("forward pass of step 3", 16)
    dog.doing("adding up", waits=True)
    dog._write()
    note = read_note(tmp_path / "ranks" / "2.json")
    assert note is not None
    assert (note.what, note.samples, note.turn, note.waits) == ("adding up", 16, 1, True)
    assert note.pid == os.getpid()
    dog.close()
    ended = read_note(tmp_path / "ranks" / "2.json")
    assert ended is not None
    assert ended.what == "ended"
    assert [path.name for path in (tmp_path / "ranks").iterdir()] == ["2.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"what": 1}', '"' + "x" * 100])
def test_a_note_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "0.json").write_text(text)
    assert read_note(tmp_path / "0.json") is None


MEMBER = """
import sys, time
from pathlib import Path
from trainkit.watchdog import Watchdog

def waiting_for_a_disk(seconds):
    time.sleep(seconds)

print("imported", flush=True)
sys.stdin.readline()
dog = Watchdog(Path(sys.argv[1]), int(sys.argv[2]), 2, float(sys.argv[4]))
how = sys.argv[3]
if how == "gets on":
    while not (Path(sys.argv[1]) / "ranks" / "done").exists():
        dog.doing("validation of a picture", 8)
        time.sleep(0.1)
elif how == "hangs":
    dog.doing("waiting for pictures of step 812", 8)
    waiting_for_a_disk(600)
else:
    dog.doing("backward pass of step 812", 8)
    dog.doing("adding up the losses", waits=True)
    time.sleep(600 if how == "waits" else 8)
    (Path(sys.argv[1]) / "ranks" / "done").touch()
dog.close()
"""


@contextlib.contextmanager
def members(tmp_path: Path, *how: str, timeout: int = 1) -> Iterator[list[subprocess.Popen[str]]]:
    """Two processes of a run with a time-out in seconds, which begin together; killed when the test leaves
    them."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", MEMBER, str(tmp_path), str(rank), act, str(timeout)],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, act in enumerate(how)
    ]
    try:
        # Starting takes a busy machine longer than the time-out: none begins before all are there.
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "imported\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_all_processes_end_and_name_the_one_that_hangs(tmp_path: Path) -> None:
    with members(tmp_path, "waits", "hangs") as (waits, hangs):
        told = [process.communicate(timeout=PATIENCE)[1] for process in (waits, hangs)]
    assert (waits.returncode, hangs.returncode) == (EXIT_HUNG, EXIT_HUNG)
    for text in told:
        assert f"rank 1 (process {hangs.pid} on " in text
        assert "waiting for pictures of step 812, since " in text
        assert "rank 0 (process" not in text
    assert "waiting_for_a_disk" in (tmp_path / "ranks" / "1-stacks.txt").read_text()
    assert (tmp_path / "ranks" / "0-stacks.txt").is_file()


def test_a_stopped_process_is_named_by_the_other(tmp_path: Path) -> None:
    with members(tmp_path, "waits", "hangs") as (waits, stopped):
        end = time.monotonic() + PATIENCE
        while (note := read_note(tmp_path / "ranks" / "1.json")) is None or note.samples == 0:
            assert time.monotonic() < end
            time.sleep(0.05)
        stopped.send_signal(signal.SIGSTOP)
        text = waits.communicate(timeout=PATIENCE)[1]
    assert waits.returncode == EXIT_HUNG
    assert f"rank 1 (process {stopped.pid} on " in text
    assert "rank 0 (process" not in text


def test_one_that_waits_for_longer_than_the_time_out_is_left_alone_while_the_other_gets_on(
    tmp_path: Path,
) -> None:
    # It looks at the other one once, four seconds long; that one stays until it is done.
    with members(tmp_path, "gets on", "waits for a while", timeout=2) as both:
        assert [process.communicate(timeout=PATIENCE)[1] for process in both] == ["", ""]
    assert [process.returncode for process in both] == [0, 0]
    last = [json.loads((tmp_path / "ranks" / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert [note["what"] for note in last] == ["ended", "ended"]
