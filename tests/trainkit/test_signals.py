"""Asked to stop: what a signal does inside and outside of the loop, to real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from tests.trainkit.processes import PATIENCE, command, environment, quiet_port, steps_logged, write_run
from tests.trainkit.tiny import run_data
from trainkit.checkpoint import read_progress
from trainkit.log import read_log
from trainkit.reporter import Reporter
from trainkit.run_file import make_run
from trainkit.signals import _ECHO, STATUS, Stop, Stopped
from trainkit.train import Result, train


@pytest.fixture(autouse=True)
def _no_accelerator_left_over() -> None:
    AcceleratorState._reset_state(True)


LOOP = """
import os, signal, sys, time
from trainkit import signals
from trainkit.signals import Stop, Stopped

stop, how = Stop(), sys.argv[1]
if how != "does not answer":
    signals._ECHO = 600.0  # However long a busy machine takes from the first signal to the second.
try:
    with stop.listening():
        print("ready", flush=True)
        if how == "outside":
            time.sleep(600)
        for step in stop.noting(range(6000)):
            print("step", flush=True)
            time.sleep(0.1)
            if stop.asked:
                print("noted", flush=True)
                if how == "answers":
                    raise Stopped(stop.asked, f"after {step} steps")
except Stopped as stopped:
    os.kill(os.getpid(), signal.SIGTERM)  # The last moment at which an echo can come.
    print(stopped.explain(), flush=True)
    sys.exit(stopped.status)
"""


def loop(tmp_path: Path, how: str) -> subprocess.Popen[str]:
    """A process that listens, and has begun to."""
    script = tmp_path / "my loop.py"
    script.write_text(LOOP)
    words = [sys.executable, str(script), how]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment())
    read_to(process, "ready" if how == "outside" else "step")
    return process


def read_to(process: subprocess.Popen[str], wanted: str) -> None:
    """Until a process says something."""
    assert process.stdout is not None
    while (line := process.stdout.readline()).strip() != wanted:
        assert line, "it ended and never said so"


@pytest.mark.parametrize("number", STATUS)
def test_outside_of_the_loop_a_signal_ends_the_process_with_its_status(
    tmp_path: Path, number: signal.Signals
) -> None:
    with loop(tmp_path, "outside") as process:
        process.send_signal(number)
        said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == STATUS[number] == {"SIGTERM": 143, "SIGUSR1": 75, "SIGINT": 130}[number.name]
    assert f"{number.name}: stopped before the first step; go on with the same command: '" in said
    assert "my loop.py' outside" in said


def test_in_the_loop_it_is_noted_and_its_echo_is_no_second_one(tmp_path: Path) -> None:
    # A launcher hands on what its processes have got themselves: two signals within a moment are one, also
    # where the second one comes when the first is answered already.
    with loop(tmp_path, "answers") as process:
        process.send_signal(signal.SIGSTOP)
        process.send_signal(signal.SIGUSR1)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 75
    assert "SIGUSR1: stopped after " in said


def test_a_second_signal_ends_the_process_at_once(tmp_path: Path) -> None:
    with loop(tmp_path, "does not answer") as process:
        process.send_signal(signal.SIGTERM)
        read_to(process, "noted")
        time.sleep(_ECHO + 0.1)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGTERM


def _asked_at_one(step: int) -> None:
    if step == 1:
        os.kill(os.getpid(), signal.SIGUSR1)


def test_who_does_not_listen_is_never_asked() -> None:
    before, stop = signal.getsignal(signal.SIGUSR1), Stop()
    assert list(stop.noting(range(3))) == [0, 1, 2]
    assert stop.asked is None
    assert stop.waited() == 0
    assert stop.agreed(stop.votes()) is None
    with stop.listening():
        handler = signal.getsignal(signal.SIGUSR1)
        assert callable(handler)
        with pytest.raises(Stopped, match="SIGUSR1"):
            list(map(_asked_at_one, stop.noting(range(3))))
        assert (
            stop.agreed([a + b for a, b in zip(stop.votes(), Stop().votes(), strict=True)]) == signal.SIGUSR1
        )
    assert signal.getsignal(signal.SIGUSR1) == before


SETTINGS: dict[str, Any] = {
    "samples": 64,
    "checkpoint_every": 24,
    "ema": {"sigma_rel": [0.1], "snapshot_every": 16},
    "validation": {"share": 0.15, "every": 16, "timesteps": 2},
    "preview": {"prompts": ["red circle"], "every": 32, "steps": 1},
}


def train_here(out: Path, model: Path, data: Path, stop: Stop | None = None, **changes: Any) -> Result:
    AcceleratorState._reset_state(True)
    settings = SETTINGS | changes
    return train(make_run(run_data(model, data, out, **settings), out.parent, "test"), stop)


def interrupt(monkeypatch: pytest.MonkeyPatch, samples: int, number: signal.Signals) -> None:
    """This process gets a signal while it reports the step that ends at ``samples``."""
    real = Reporter.step

    def step(self: Reporter, samples_seen: int, *arguments: Any) -> None:
        real(self, samples_seen, *arguments)
        if samples_seen == samples:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Reporter, "step", step)


def results(out: Path) -> dict[str, Any]:
    """Weights, averages and their snapshots, previews and validations."""
    paths = [*(out / "model").rglob("*.safetensors"), *(out / "ema").rglob("*.safetensors")]
    found: dict[str, Any] = {str(path.relative_to(out)): load_file(path) for path in sorted(paths)}
    for path in [*sorted((out / "previews").iterdir()), out / "validation.jsonl"]:
        found[str(path.relative_to(out))] = path.read_bytes()
    return found


def different(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Names of what is not the same to the bit."""
    return [
        name
        for name in sorted(found.keys() | expected.keys())
        if (name in found) != (name in expected) or not same(found[name], expected[name])
    ]


def same(one: Any, other: Any) -> bool:
    if isinstance(one, bytes):
        return bool(one == other)
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.skipif(torch.cuda.is_available(), reason="equal to the bit on a CPU only")
def test_stopped_after_any_step_a_run_ends_as_if_it_had_not_been(
    tmp_path: Path, tiny_model: Path, pictures: Path
) -> None:
    train_here(tmp_path / "whole", tiny_model, pictures)
    out = tmp_path / "out"
    # Where all is due that is looked at; where a checkpoint is too; where nothing is; at the end.
    moments = [(32, signal.SIGTERM), (48, signal.SIGUSR1), (56, signal.SIGINT), (64, signal.SIGTERM)]
    for samples, number in moments:
        with pytest.MonkeyPatch.context() as patch, Stop().listening() as stop:
            interrupt(patch, samples, number)
            with pytest.raises(
                Stopped, match=f"{number.name}: stopped after {samples} samples, which are in"
            ):
                train_here(out, tiny_model, pictures, stop)
        newest = max((out / "checkpoints").iterdir())
        assert newest.name == f"{samples:012d}"
        assert read_progress(newest).look == 8
        assert not (out / "model").exists()
    # The last look is made twice: the first one was cut short before the run could end.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainkit.train.write_results", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train_here(out, tiny_model, pictures)
    assert train_here(out, tiny_model, pictures).resumed_from == 64
    expected = results(tmp_path / "whole")
    assert different(results(out), expected) == []
    assert len(expected) == 3 + 1 + 4 + 2 + 1
    assert [line["samples"] for line in read_log(out / "log.jsonl")] == list(range(8, 65, 8))


def test_a_step_that_takes_too_long_is_given_up(
    tmp_path: Path, tiny_model: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_here(tmp_path / "whole", tiny_model, pictures, samples=24)
    out, real = tmp_path / "out", Reporter.skipped
    with Stop().listening() as stop:

        def slow(self: Reporter, batch: Any) -> None:
            real(self, batch)
            if batch.samples[0] == 16:  # The first micro-batch of the third step; the second one has 20.
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.3)
            assert batch.samples[0] <= 16

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Reporter, "skipped", slow)
            with pytest.raises(Stopped, match="SIGTERM: stopped after 16 samples"):
                train_here(out, tiny_model, pictures, stop, samples=24, stop_within=0.2)
    assert read_progress(out / "checkpoints" / "000000000016").look == 0
    train_here(out, tiny_model, pictures, samples=24)
    assert different(results(out), results(tmp_path / "whole")) == []


def handles(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal; on a busy machine that takes it seconds."""
    (caught,) = [
        line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt:")
    ]
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def started(words: list[str], **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        words, env=environment() | variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(process: subprocess.Popen[str], ready: Any) -> None:
    end = time.monotonic() + PATIENCE
    while not ready():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "the process does not get on"
        time.sleep(0.01)


@pytest.mark.slow
def test_the_command_says_how_to_go_on_and_ends_with_the_signals_status(
    tmp_path: Path, tiny_model: Path, pictures: Path
) -> None:
    run_file, out = write_run(tmp_path, tiny_model, pictures, samples=4000), tmp_path / "out"
    words = command("train", run_file, "data.workers=1")
    # While it is still importing.
    process = started(words)
    wait_for(process, lambda: handles(process.pid, signal.SIGTERM))
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 143, said
    assert "SIGTERM: stopped before the first step; go on with the same command: " in said
    assert f"-m trainkit train {run_file} data.workers=1" in said
    assert "Traceback" not in said
    # In the loop.
    process = started(words)
    wait_for(process, lambda: steps_logged(out) >= 2)
    process.send_signal(signal.SIGUSR1)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 75, said
    assert "SIGUSR1: stopped after " in said
    assert "Traceback" not in said
    (checkpoint,) = (out / "checkpoints").iterdir()
    assert int(checkpoint.name) == 8 * steps_logged(out)
    assert f"samples, which are in {checkpoint}" in said


@pytest.mark.slow
def test_of_two_processes_one_is_asked_and_both_stop_after_the_same_step(
    tmp_path: Path, tiny_model: Path, pictures: Path
) -> None:
    run_file, out = write_run(tmp_path, tiny_model, pictures, samples=4000, batch=2), tmp_path / "out"
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(quiet_port())}
    ranks = [
        started(command("train", run_file), **group, RANK=str(rank), LOCAL_RANK=str(rank)) for rank in (0, 1)
    ]
    wait_for(ranks[0], lambda: steps_logged(out) >= 2)
    ranks[1].send_signal(signal.SIGUSR1)
    said = [process.communicate(timeout=PATIENCE)[1] for process in ranks]
    assert [process.returncode for process in ranks] == [75, 75], said
    (checkpoint,) = (out / "checkpoints").iterdir()
    assert int(checkpoint.name) == 8 * steps_logged(out)
    assert all(f"stopped after {int(checkpoint.name)} samples" in words for words in said)
