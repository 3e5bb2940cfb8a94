"""A disk that is full, a folder that cannot be written to: the last good checkpoint survives."""

from __future__ import annotations

import contextlib
import io
import os
import re
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.trainkit.ends import train_here
from tests.trainkit.processes import PATIENCE, command, environment, write_run
from trainkit import resume
from trainkit.amounts import gigabytes
from trainkit.checkpoint import checkpoints_in, latest_checkpoint
from trainkit.disk_plan import plan_disk
from trainkit.errors import LockError, TrainkitError
from trainkit.reporter import Reporter
from trainkit.room import explain_full, free_bytes, state_bytes_per_weight
from trainkit.sealed import damage, size_of
from trainkit.setup import Setup


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """As a user whom chmod stops, if this is root: nobody, on this thread alone."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


class SmallDisk:
    """A disk of its own for a folder; or, where this machine lets nobody mount one, a limit on files."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        # cat waits until we close its standard input, or end.
        mount = f"mount -t tmpfs -o size={megabytes}m none {folder} && echo ready && exec cat"
        self._holder = subprocess.Popen(
            ["unshare", "-Urm", "sh", "-c", mount],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._holder.stdout is not None
        self.real = self._holder.stdout.readline() == "ready\n"

    @property
    def seen(self) -> Path:
        """The folder as this process can see it."""
        return Path(f"/proc/{self._holder.pid}/root{self.folder}") if self.real else self.folder

    def start(self, words: list[str]) -> subprocess.Popen[str]:
        """Start a command that sees the disk."""
        inside = [
            "nsenter",
            f"--target={self._holder.pid}",
            "--user",
            "--mount",
            "--preserve-credentials",
            "--",
        ]
        return subprocess.Popen(
            [*(inside if self.real else []), *words],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def fill(self, process: subprocess.Popen[str], leave: int) -> None:
        """Leave so many bytes; without a disk, let no file of the process grow beyond them."""
        if not self.real:
            with contextlib.suppress(ProcessLookupError):  # It has ended.
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (leave, leave))
            return
        free = shutil.disk_usage(self.seen).free
        with contextlib.suppress(OSError), (self.seen / "filler").open("ab") as file:
            file.write(bytes(max(0, free - leave)))

    def mend(self) -> None:
        (self.seen / "filler").unlink(missing_ok=True)

    def close(self) -> None:
        self._holder.kill()
        self._holder.communicate()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    disk = SmallDisk(tmp_path / "disk", 12)
    yield disk
    disk.close()


@pytest.mark.slow
def test_a_full_disk_ends_the_run_and_the_last_checkpoint_is_whole(
    tmp_path: Path, tiny_model: Path, pictures: Path, disk: SmallDisk
) -> None:
    changes: dict[str, Any] = {"samples": 4000, "checkpoint_every": 40}
    run_file = write_run(tmp_path, tiny_model, pictures, **changes)
    words, out = command("train", run_file, f"out={disk.folder / 'out'}"), disk.seen / "out"
    # Room for log lines but not for a checkpoint; then for nothing at all.
    for leave, what in ((100_000, "checkpoint .* it takes "), (0, "")):
        before = latest_checkpoint(out / "checkpoints")
        process = disk.start(words)
        end = time.monotonic() + PATIENCE
        while latest_checkpoint(out / "checkpoints") == before:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end, "the process does not get on"
            time.sleep(0.005)
        while process.poll() is None:  # Old checkpoints that go make room for new ones.
            disk.fill(process, leave)
            time.sleep(0.01)
        _, said = process.communicate()
        assert process.returncode == 2, said
        assert "Traceback" not in said
        newest = latest_checkpoint(out / "checkpoints")
        assert newest is not None
        assert damage(newest) == []
        kept = rf"could not be written: (.|\n)*are free there; the last good checkpoint is .*{newest.name}"
        assert re.search(kept, said), said
        assert re.search(what, said), said
        assert not list(out.glob("checkpoints/.*"))
        disk.mend()
    assert newest is not None
    again = train_here(out, tiny_model, pictures, **changes | {"samples": int(newest.name) + 40})
    assert again.resumed_from == int(newest.name)


def allow(size: int) -> None:
    """Let no file grow beyond so many bytes from now on."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@pytest.mark.parametrize(
    ("what", "told"),
    [("log", "out"), ("previews", "out"), ("model", "model")],
)
def test_whatever_finds_no_room_the_last_checkpoint_is_whole(
    tmp_path: Path, tiny_model: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch, what: str, told: str
) -> None:
    out = tmp_path / "out"
    settings: dict[str, Any] = {"samples": 32, "checkpoint_every": 16}
    settings["preview"] = {"prompts": ["red circle"], "every": 0 if what == "log" else 24, "steps": 1}
    step, save = Reporter.step, resume.save

    def reported(self: Reporter, samples_seen: int, *arguments: Any) -> None:
        step(self, samples_seen, *arguments)
        if samples_seen == 24 and what != "model":
            allow(100)

    def saved(setup: Setup, phase: Any, optimizer: Any, samples_seen: int) -> Path:
        path = save(setup, phase, optimizer, samples_seen)
        if what == "model" and samples_seen == 32:
            allow(100)
        return path

    monkeypatch.setattr(Reporter, "step", reported)
    monkeypatch.setattr("trainkit.train.save", saved)
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    # What is printed must not go into a file of pytest's, for which the limit holds too.
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            pytest.raises(TrainkitError) as error,
        ):
            train_here(out, tiny_model, pictures, **settings)
    finally:
        allow(limit)
    assert re.search(rf"{told}.* could not be written", str(error.value)), error.value
    newest = latest_checkpoint(out / "checkpoints")
    assert newest is not None
    assert damage(newest) == []
    monkeypatch.undo()
    assert train_here(out, tiny_model, pictures, **settings).resumed_from == int(newest.name)


def test_a_folder_that_cannot_be_written_to_is_told_before_anything_is_done(
    tmp_path: Path, tiny_model: Path, pictures: Path
) -> None:
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o555)
    os.chmod(tmp_path, 0o755)
    for out in (locked / "out", locked):
        with (
            unprivileged(),
            pytest.raises(LockError, match=r"cannot be written to: Permission denied; choose"),
        ):
            train_here(out, tiny_model, pictures)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(LockError, match="cannot be written to"):
        train_here(file, tiny_model, pictures)


def test_a_run_says_how_much_it_needs_and_is_refused_without(
    tmp_path: Path, tiny_model: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setups: list[Setup] = []

    def planned(setup: Setup) -> str:
        setups.append(setup)
        return plan_disk(setup)

    monkeypatch.setattr("trainkit.train.plan_disk", planned)
    out = tmp_path / "out"
    train_here(out, tiny_model, pictures, samples=16, ema={"sigma_rel": [0.1]})
    (setup,), (made,) = setups, checkpoints_in(out / "checkpoints")
    size = size_of(made)
    assert plan_disk(setup).startswith(f"a checkpoint takes about {gigabytes(size)}; ")
    # The estimate before there is one.
    shutil.rmtree(out / "checkpoints")
    number = re.search(r"about ([\d.]+) (kB|MB)", plan_disk(setup))
    assert number is not None
    assert float(number[1]) * {"kB": 1e3, "MB": 1e6}[number[2]] == pytest.approx(size, rel=0.15)
    monkeypatch.setattr("trainkit.disk_plan.free_bytes", lambda folder: 1_000_000)
    with pytest.raises(
        TrainkitError, match=r"2 are kept .* that needs .* more on the disk .* 1\.0 MB are free"
    ):
        plan_disk(setup)


def test_an_optimizers_memory_is_measured(tiny_model: Path) -> None:
    import torch

    from trainkit.optim import OptimConfig

    def kept(name: str) -> float:
        return state_bytes_per_weight(OptimConfig(optimizer=name), torch.device("cpu"))

    assert kept("adamw") == pytest.approx(8, rel=0.01)
    assert 2 <= kept("adamw8bit") < 2.2
    assert kept("torch.optim.SGD") == 0


def test_what_the_system_says_is_explained(tmp_path: Path) -> None:
    def told(number: int) -> str:
        return explain_full(OSError(number, os.strerror(number)), tmp_path, 3_000_000)

    assert told(28).startswith("the disk is full ([Errno 28] No space left on device); it takes 3.0 MB, ")
    assert told(122).startswith("your quota on this disk is used up")
    assert told(30).startswith("the disk can only be read")
    assert explain_full(ValueError("I/O error (os error 28)"), tmp_path).startswith(
        "the disk is full (I/O error"
    )
    assert explain_full(ValueError("x"), tmp_path / "not" / "there").startswith("x; ")
    free = free_bytes(tmp_path / "not" / "there")
    assert free is not None
    assert free > 0
