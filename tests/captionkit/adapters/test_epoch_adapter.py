"""One epoch for a process and all that it starts."""

from __future__ import annotations

import multiprocessing
import pickle
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionkit import CaptionPipeline, DataError, Record, parse_tags
from captionkit.adapters.epoch import SharedEpoch
from captionkit.policies import ShuffleTags
from tests.captionkit.adapters.peers import PATIENCE

WHOLE = st.integers(-(2**63), 2**63 - 1)
ROOT = Path(__file__).resolve().parents[3]


def answer(epoch: SharedEpoch, pipe: Connection) -> None:
    """In another process: says the epoch whenever asked."""
    while pipe.recv():
        pipe.send(epoch.get())


class Wrapped:
    """Pickles what it holds by itself, as some data sets do, with a pickler that knows no shared memory."""

    def __init__(self, epoch: SharedEpoch) -> None:
        self.epoch = epoch

    def __reduce__(self) -> tuple[Any, ...]:
        return unwrapped, (pickle.dumps(self.epoch),)


def unwrapped(data: bytes) -> Wrapped:
    return Wrapped(pickle.loads(data))


def answer_wrapped(wrapped: Wrapped, pipe: Connection) -> None:
    answer(wrapped.epoch, pipe)


@given(WHOLE, WHOLE)
def test_it_is_what_was_set_last(first: int, second: int) -> None:
    epoch = SharedEpoch(first)
    assert epoch.get() == first
    epoch.set(second)
    assert epoch.get() == second


@pytest.mark.parametrize("how", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_process_that_lives_on_sees_every_epoch(how: str, wrapped: bool) -> None:
    context: Any = multiprocessing.get_context(how)
    epoch = SharedEpoch(5)
    here, there = context.Pipe()
    target, given = (answer_wrapped, Wrapped(epoch)) if wrapped else (answer, epoch)
    process = context.Process(target=target, args=(given, there))
    process.start()
    try:
        for number in (5, 6, -1, 2**40):
            epoch.set(number)
            here.send(True)
            assert here.poll(PATIENCE)
            assert here.recv() == number
        here.send(False)
        process.join(PATIENCE)
        assert process.exitcode == 0
    finally:
        process.kill()
        process.join()


@given(WHOLE)
def test_any_other_pickle_holds_the_number(number: int) -> None:
    epoch = SharedEpoch(number)
    copy = pickle.loads(pickle.dumps(epoch))
    assert copy.get() == number
    copy.set(number // 2)
    assert epoch.get() == number
    assert pickle.dumps(SharedEpoch(number)) == pickle.dumps(epoch)


def test_it_stands_for_its_number() -> None:
    record, pipeline = Record("1", parse_tags("a, b, c, d, e, f")), CaptionPipeline(steps=(ShuffleTags(),))
    epoch = SharedEpoch(3)
    assert pipeline.render(record, epoch=epoch.get()) == pipeline.render(record, epoch=3)
    assert SharedEpoch.of(epoch) is epoch
    assert SharedEpoch.of(4).get() == 4
    assert repr(epoch) == "SharedEpoch(3)"


@pytest.mark.parametrize("wrong", [1.0, "1", None, True, 2**63, -(2**63) - 1])
def test_what_is_no_epoch(wrong: Any) -> None:
    epoch = SharedEpoch(1)
    with pytest.raises(DataError, match="an epoch must"):
        epoch.set(wrong)
    with pytest.raises(DataError, match="an epoch must"):
        SharedEpoch(wrong)
    assert epoch.get() == 1


PEERS = ("torch", "datasets", "webdataset", "torchdata", "ray", "pyarrow", "numpy", "PIL", "diffusers")
OURS = ["epoch", "sampler", "samples", "pictures", "torch", "columns", "portable", "table"]
OURS += ["webdataset", "torchdata", "diffusers"]


@pytest.mark.parametrize("name", OURS)
def test_importing_an_adapter_imports_no_peer(name: str) -> None:
    code = (
        f"import sys, captionkit.adapters.{name}\nprint(*[peer for peer in {PEERS!r} if peer in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert said.stdout.strip() == ""


def test_captionkit_imports_no_adapter() -> None:
    code = "import sys, captionkit\nprint(*[name for name in sys.modules if 'captionkit.adapters' in name])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert said.stdout.strip() == ""


def add(epochs: list[SharedEpoch], pipe: Connection) -> None:
    """In another process: says the sum."""
    pipe.send(sum(epoch.get() for epoch in epochs))


@pytest.mark.parametrize("how", ["spawn", "forkserver"])
def test_several_pieces_of_one_arena_reach_a_process(how: str) -> None:
    # Small pieces of shared memory lie in one arena; its descriptor was handed over once for each. Whether
    # two did lie together hung on all that the process had shared before: one test run of many failed.
    context: Any = multiprocessing.get_context(how)
    here, there = context.Pipe()
    process = context.Process(target=add, args=([SharedEpoch(number) for number in range(20)], there))
    process.start()
    process.join(PATIENCE)
    assert process.exitcode == 0
    assert here.recv() == sum(range(20))
