"""The loader: the same micro-batches in order, whatever happens to the processes that prepare them."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.trainkit.processes import PATIENCE, alive, command, environment, run, steps_logged, write_run
from tests.trainkit.test_feed import make_feed
from trainkit.errors import LoaderError, TrainkitError
from trainkit.feed import Batch, Feed
from trainkit.loader import micro_batches
from trainkit.log import read_log
from trainkit.packed import pack, unpack

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.int32, torch.bool, torch.uint8]
SHAPES = [(2, 3), (0, 4), (1,), (), (3, 1, 5)]


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, tuple):
        return isinstance(other, tuple) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other)


def same_batch(one: Batch, other: Batch) -> bool:
    return all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields(Batch))


@dataclass
class Troubled(Feed):
    """A feed that does something to the process that prepares a certain micro-batch, once for each mark."""

    trouble: Callable[[], object] = os.getpid
    at: int = 5
    marks: Path = Path("marks")
    times: int = 1

    def __getitem__(self, number: int) -> Batch:
        if number == self.at:
            done = len(list(self.marks.iterdir()))
            if done < self.times:
                (self.marks / str(done)).touch()
                self.trouble()
        return super().__getitem__(number)


def troubled(pictures: Path, tmp_path: Path, trouble: Callable[[], object], times: int = 1) -> Troubled:
    marks = tmp_path / "marks"
    marks.mkdir()
    return Troubled(**vars(make_feed(pictures)), trouble=trouble, marks=marks, times=times)


def kill_myself(signum: int = signal.SIGKILL) -> Callable[[], object]:
    return lambda: os.kill(os.getpid(), signum)


def expected(pictures: Path, end: int) -> list[Batch]:
    feed = make_feed(pictures)
    return [feed[number] for number in range(end)]


def all_same(found: list[Batch], wanted: list[Batch]) -> bool:
    return len(found) == len(wanted) and all(map(same_batch, found, wanted))


def workers_of(pid: int | None = None) -> list[int]:
    """The forked children of a process. Those that multiprocessing keeps for itself (a resource tracker, a
    fork server), perhaps since another test, are started by a command of their own."""
    pid = pid or os.getpid()
    command = Path(f"/proc/{pid}/cmdline").read_bytes()
    children = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return [child for child in children if alive(child) and _command_of(child) == command]


def _command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # It ended.
        return b""


@given(data=st.data())
def test_a_packed_batch_comes_back_to_the_bit(data: st.DataObject) -> None:
    def tensor() -> Tensor:
        drawn = torch.randint(0, 250, data.draw(st.sampled_from(SHAPES)))
        return drawn.to(data.draw(st.sampled_from(DTYPES)))

    pair = data.draw(st.booleans())
    text = st.text(alphabet=st.characters(), max_size=5)
    batch = Batch(
        number=data.draw(st.integers(0, 2**62)),
        latents=(tensor(), tensor()) if pair else None,
        pixels=None if pair else tensor().transpose(0, -1) if data.draw(st.booleans()) else torch.zeros(2, 2),
        ids=tensor(),
        samples=data.draw(st.lists(st.integers(0, 2**62), max_size=3)),
        weight=tensor(),
        texts=data.draw(st.lists(text, max_size=3)),
        records=data.draw(st.lists(text, max_size=3)),
        problems=data.draw(st.lists(st.tuples(text, text), max_size=2)),
    )
    file, header = pack(batch)
    again = unpack(file, header)
    os.close(file)
    assert same_batch(again, batch)


@pytest.mark.parametrize(("workers", "prefetch"), [(0, 1), (1, 1), (2, 1), (3, 4), (30, 2)])
def test_any_number_of_workers_gives_the_same_in_order(pictures: Path, workers: int, prefetch: int) -> None:
    found = list(micro_batches(make_feed(pictures), 0, 9, workers=workers, prefetch=prefetch))
    assert all_same(found, expected(pictures, 9))
    assert not workers_of()


def test_an_empty_stretch_has_no_micro_batches(pictures: Path) -> None:
    assert list(micro_batches(make_feed(pictures), 4, 4, workers=2)) == []
    assert not workers_of()


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSEGV])
def test_a_worker_that_is_killed_is_replaced_and_nothing_else_changes(
    pictures: Path, tmp_path: Path, signum: signal.Signals
) -> None:
    said: list[str] = []
    feed = troubled(pictures, tmp_path, kill_myself(signum))
    found = list(micro_batches(feed, 0, 12, workers=2, say=said.append))
    assert all_same(found, expected(pictures, 12))
    (told,) = said
    assert signum.name in told
    assert "on micro-batch 5 (records " in told
    assert f"{found[5].records[0]}" in told
    assert "1 of 3 in an hour" in told
    # What it wrote before it died is no longer lost among the lines of the run.
    assert ("Segmentation fault" in told) is (signum == signal.SIGSEGV)


def test_all_workers_killed_from_outside_while_nobody_waits_for_them(pictures: Path) -> None:
    said: list[str] = []
    batches = micro_batches(make_feed(pictures), 0, 12, workers=3, restarts=9, say=said.append)
    found = [next(batches)]
    for pid in workers_of():
        os.kill(pid, signal.SIGKILL)
    time.sleep(0.2)
    found += batches
    assert all_same(found, expected(pictures, 12))
    assert len(said) == 3


def test_more_ends_than_allowed_stop_the_run(pictures: Path, tmp_path: Path) -> None:
    said: list[str] = []
    feed = troubled(pictures, tmp_path, kill_myself(), times=99)
    batches = micro_batches(feed, 0, 12, workers=2, restarts=2, say=said.append)
    with pytest.raises(
        LoaderError, match=r"the 3\. end of a data worker within an hour .*data\.workers is 2"
    ):
        list(batches)
    assert len(said) == 2
    assert not workers_of()


def test_a_worker_that_hangs_is_replaced_and_what_it_did_is_told(pictures: Path, tmp_path: Path) -> None:
    said: list[str] = []
    feed = troubled(pictures, tmp_path, lambda: time.sleep(1000))
    # On a busy machine others may also give nothing for so long.
    found = list(micro_batches(feed, 0, 12, workers=2, patience=1.5, restarts=99, say=said.append))
    assert all_same(found, expected(pictures, 12))
    assert all("gave nothing for 1.5 s (data.worker_timeout) and was killed" in told for told in said)
    told = "\n".join(told for told in said if "and was killed, on micro-batch 5" in told)
    assert "test_loader.py" in told  # Its stack.


@pytest.mark.parametrize("workers", [0, 2])
def test_an_exception_in_a_worker_is_one_clear_message(pictures: Path, tmp_path: Path, workers: int) -> None:
    def fault() -> None:
        raise KeyError("no such thing")

    feed = troubled(pictures, tmp_path, fault)
    batches = micro_batches(feed, 0, 12, workers=workers)
    with pytest.raises(LoaderError) as caught:
        list(batches)
    told = str(caught.value)
    assert told.startswith("micro-batch 5 (records ")
    assert "could not be prepared: KeyError: 'no such thing' (test_loader.py, line " in told
    assert "Traceback" not in told
    assert "Traceback" in caught.value.trace
    assert not workers_of()


def test_a_mendable_error_in_a_worker_keeps_its_words(pictures: Path, tmp_path: Path) -> None:
    def fault() -> None:
        raise TrainkitError("the store is gone; mount it again")

    with pytest.raises(LoaderError, match=r"prepared: the store is gone; mount it again$"):
        list(micro_batches(troubled(pictures, tmp_path, fault), 0, 12, workers=2))


def test_workers_print_nothing_and_do_not_mind_signals_to_the_group(
    pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def noise() -> None:
        print("noise")
        print("noise", file=sys.stderr)
        ctypes.CDLL(None).puts(b"noise")
        os.write(2, b"noise\n")
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            os.kill(os.getpid(), signum)

    found = list(micro_batches(troubled(pictures, tmp_path, noise), 0, 12, workers=2))
    assert all_same(found, expected(pictures, 12))
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_what_a_worker_says_is_said_while_it_is_waited_for(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainkit.loader._LOOK", 0.2)

    def store_is_away() -> None:
        print("s3://pictures answers 503; asking again for up to 600 s", file=sys.stderr)
        time.sleep(1.5)

    said: list[str] = []
    feed = troubled(pictures, tmp_path, store_is_away)
    found = list(micro_batches(feed, 0, 12, workers=1, say=said.append))
    assert all_same(found, expected(pictures, 12))
    assert said == ["data worker 1: s3://pictures answers 503; asking again for up to 600 s"]


def test_a_forgotten_loader_leaves_no_process(pictures: Path) -> None:
    batches = micro_batches(make_feed(pictures), 0, 12, workers=2)
    next(batches)
    assert len(workers_of()) == 2
    del batches
    assert not workers_of()


ALONE = """
import sys, time
from pathlib import Path
sys.path[:0] = [{root!r}]
from tests.trainkit.test_feed import make_feed
from tests.trainkit.test_loader import Troubled
from trainkit.loader import micro_batches
marks = Path({marks!r})
marks.mkdir()
feed = Troubled(**vars(make_feed(Path({pictures!r}))), trouble=lambda: time.sleep(1000), at=2, marks=marks)
batches = micro_batches(feed, 0, 10_000, workers=2)
next(batches), next(batches)
while not list(marks.iterdir()):  # From here on one worker waits for its socket, and one is busy.
    time.sleep(0.01)
print("ready", flush=True)
{then}
"""


@pytest.mark.parametrize("end", ["SIGKILL", "exit"])
def test_workers_never_outlive_the_training_process(pictures: Path, tmp_path: Path, end: str) -> None:
    then = "sys.exit(3)" if end == "exit" else "time.sleep(1000)"
    then = f"sys.stdin.readline(); {then}"
    marks = str(tmp_path / "marks")
    code = ALONE.format(root=os.getcwd(), pictures=str(pictures), marks=marks, then=then)
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ready\n"
        workers = workers_of(process.pid)
        assert len(workers) == 2
        process.stdin.write("\n")
        process.stdin.flush()
        if end.startswith("SIG"):
            process.send_signal(signal.Signals[end])
        process.wait(PATIENCE)
        stop = time.monotonic() + PATIENCE
        while any(map(alive, workers)):
            assert time.monotonic() < stop, "a worker lives on"
            time.sleep(0.02)


@pytest.mark.slow
def test_a_run_whose_workers_are_killed_ends_in_the_same_weights(
    tmp_path: Path, tiny_model: Path, pictures: Path
) -> None:
    whole = write_run(tmp_path / "whole", tiny_model, pictures, samples=160)
    done = run(command("train", whole))
    assert done.returncode == 0, done.stderr
    again = write_run(tmp_path / "again", tiny_model, pictures, samples=160)
    words, out = (
        command("train", again, "data.workers=2", "data.worker_restarts=4"),
        tmp_path / "again" / "out",
    )
    with subprocess.Popen(
        words, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        end = time.monotonic() + PATIENCE
        for steps in (2, 6):  # Of 20.
            while steps_logged(out) < steps:
                assert time.monotonic() < end, "the run does not get on"
                time.sleep(0.01)
            for pid in workers_of(process.pid):
                os.kill(pid, signal.SIGKILL)
        printed, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, printed
    events = read_log(out / "events.jsonl")
    assert len(events) == 4
    assert all("was killed" in event["text"] for event in events)
    for file in (tmp_path / "whole" / "out" / "model").rglob("*.safetensors"):
        assert file.read_bytes() == (out / file.relative_to(tmp_path / "whole" / "out")).read_bytes()
