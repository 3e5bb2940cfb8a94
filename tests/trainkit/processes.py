"""Real processes that run trainkit, for the tests that kill, starve or multiply them."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.trainkit.tiny import ROOT, run_data

PATIENCE = 600.0
"""Seconds after which a process that does not get on is taken for stuck."""


def environment() -> dict[str, str]:
    """One thread, because sums depend on how many share them; no trace of another launcher. A process that
    aborts says where."""
    kept = {
        k: v for k, v in os.environ.items() if k not in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR")
    }
    return kept | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
    }


def write_run(folder: Path, model: Path, data: Path, **changes: Any) -> Path:
    """A run file as JSON would have it, in TOML; its `out` is <folder>/out."""
    path = folder / "run.toml"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(toml_text(run_data(model, data, folder / "out", **changes)), encoding="utf-8")
    return path


def toml_text(data: dict[str, Any]) -> str:
    """Plain data as TOML: every table inline."""

    def inline(value: Any) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{json.dumps(k)} = {inline(v)}" for k, v in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(inline, value)) + "]"
        return json.dumps(value)

    return "".join(f"{key} = {inline(value)}\n" for key, value in data.items() if value is not None)


def command(*words: object) -> list[str]:
    """``python -m trainkit ...``"""
    return [sys.executable, "-m", "trainkit", *map(str, words)]


def run(words: list[str], *, max_file_bytes: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run to the end; ``max_file_bytes`` is a disk on which no file can grow beyond that."""

    def limit() -> None:
        if max_file_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, max_file_bytes))

    return subprocess.run(
        words, capture_output=True, text=True, env=environment(), timeout=PATIENCE, preexec_fn=limit
    )


def kill_when(words: list[str], ready: Callable[[], bool]) -> None:
    """Start a process and SIGKILL it, and its children, as soon as ``ready`` says so."""
    # A file, as a pipe that nobody reads is full after 64 kB, and who writes to it waits for ever.
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(
            words, env=environment(), stdout=subprocess.DEVNULL, stderr=said, start_new_session=True
        ) as process,
    ):
        try:
            end = time.monotonic() + PATIENCE
            while not ready():
                if process.poll() is not None:
                    said.seek(0)
                    pytest.fail(f"ended by itself: {said.read().decode(errors='replace')[-2000:]}")
                assert time.monotonic() < end, "the process does not get on"
                time.sleep(0.005)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL


def alive(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except OSError:
        return False


def quiet_port() -> int:
    """A port that nobody uses, and that the system gives to nobody who asks for any: what is started later
    still finds it free."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    # Some machines give away all ports; a chosen one is then as good as any.
    for port in random.sample(range(10_000, first if first > 11_000 else 60_000), 100):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no free port")


def steps_logged(out: Path) -> int:
    """Lines in a run's log; 0 before there is one."""
    log = out / "log.jsonl"
    return log.read_text(encoding="utf-8").count("\n") if log.exists() else 0
