"""Processes that run trainkit and need not import it first: what five seconds of each start go into.

The standard library's fork server imports everything once and forks each of them. They are processes of their
own in every respect that a test looks at: number, session, limits, environment, streams, exit status. What is
tested at the start itself (a signal while it imports, torchrun) starts Python instead.
"""

from __future__ import annotations

import faulthandler
import functools
import multiprocessing
import os
import resource
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.trainkit.tiny import ROOT

_LOCK = threading.Lock()
"""multiprocessing asks after all its processes at each start, and two threads that ask after one at the same
time lose its status."""


@functools.cache
def _server() -> ForkServerContext:
    """One for each process that runs tests; it ends with that."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.trainkit.warmed"])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)
    try:
        first = context.Process(target=int)
        first.start()
        first.join()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    return context


class Warm:
    """A trainkit that runs, in a session of its own; used as ``subprocess.Popen`` is."""

    def __init__(
        self,
        words: list[str],
        environment: Mapping[str, str],
        *,
        together: bool = False,
        max_file_bytes: int | None = None,
    ) -> None:
        """``words`` are trainkit's own, such as "train"; ``together``: errors go where the output goes."""
        self._folder = tempfile.TemporaryDirectory(prefix="warm-")
        self.output, self._wrong = (Path(self._folder.name, name) for name in ("out", "wrong"))
        for stream in (self.output, self._wrong):
            stream.touch()
        streams = (str(self.output), str(self.output if together else self._wrong))
        with _LOCK:
            self._process = _server().Process(
                target=_run, args=(words, dict(environment), os.getcwd(), streams, max_file_bytes)
            )
            self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit status, or minus the signal's number; None while it runs."""
        with _LOCK:
            if self.returncode is None:
                self.returncode = self._process.exitcode
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            wait([self._process.sentinel], timeout)
        if (status := self.poll()) is None:
            raise subprocess.TimeoutExpired("trainkit", timeout or 0)
        return status

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end; returns what it wrote to its output and to its errors."""
        self.wait(timeout)
        return self.output.read_text("utf-8"), self._wrong.read_text("utf-8")

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.kill()
        self.wait()
        self._process.close()
        self._folder.cleanup()


def _run(
    words: list[str],
    environment: dict[str, str],
    folder: str,
    streams: tuple[str, str],
    max_file_bytes: int | None,
) -> None:
    """In the new process: become what ``python -m trainkit`` is once it has imported everything."""
    os.setsid()
    os.chdir(folder)
    assert environment["OMP_NUM_THREADS"] == os.environ["OMP_NUM_THREADS"], "it was read already"
    os.environ.clear()
    os.environ.update(environment)
    for number, path in enumerate(streams, 1):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, write_through=True)  # type: ignore[union-attr]
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if max_file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, max_file_bytes))
    sys.argv[1:] = words
    runpy.run_module("trainkit", run_name="__main__", alter_sys=True)
