"""A worker as the training process has it: a process, a socket, and what it wrote to its standard error."""

from __future__ import annotations

import contextlib
import fcntl
import multiprocessing
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from trainkit.data_worker import ASK, GROUP_SIGNALS, SHOW_STACK, serve
from trainkit.feed import Feed
from trainkit.packed import nameless_file

_SHOWN = 8
"""Lines of what a worker wrote that are told."""
_PATIENCE = 10.0
"""Seconds in which a worker that hangs may say where; one in the depth of the system cannot."""


@dataclass
class Worker:
    """One process, and what it has been asked for and not yet given."""

    number: int
    """From 1."""
    process: multiprocessing.process.BaseProcess
    ours: socket.socket
    words: int
    """Descriptor of what it wrote to its standard error."""
    asked: deque[int] = field(default_factory=deque)
    heard: int = 0
    """Bytes of its words that were said already."""

    def new_words(self) -> list[str]:
        """The last lines that it wrote and that were not said."""
        size = os.fstat(self.words).st_size
        start = min(self.heard, size)  # It shortens what grows too long.
        words = os.pread(self.words, 1 << 15, max(start, size - (1 << 15))).decode(errors="replace")
        self.heard = size
        return [line for line in words.splitlines() if line.strip()][-_SHOWN:]

    def last_words(self) -> str:
        """The end of what it wrote, or where it was, innermost call first; perhaps nothing."""
        size = os.fstat(self.words).st_size
        lines = os.pread(self.words, 1 << 15, max(0, size - (1 << 15))).decode(errors="replace").splitlines()
        for i, line in enumerate(lines):
            if line.startswith(("Fatal Python error", "Stack (most recent call first)")):
                return "\n".join(lines[i : i + _SHOWN])
        return "\n".join(lines[-_SHOWN:])

    def show_stack(self) -> None:
        """Have it write where it is, and wait until it has: a busy machine takes its time."""
        before = last = os.fstat(self.words).st_size
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid or 0, SHOW_STACK)
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            time.sleep(0.1)
            size = os.fstat(self.words).st_size
            if before != size == last:
                return
            last = size

    def end(self) -> None:
        """Close its socket, upon which it ends by itself; kill it if it is busy with something else."""
        self.ours.close()
        self.process.join(0.5)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
        with contextlib.suppress(OSError):
            os.close(self.words)

    def ask(self, number: int) -> None:
        """Ask for one more micro-batch. Whether it lives shows when its answer is waited for."""
        self.asked.append(number)
        with contextlib.suppress(ConnectionError):
            self.ours.send(ASK.pack(number))


def start_worker(number: int, feed: Feed, others: Sequence[socket.socket]) -> Worker:
    """A new worker; ``others`` are our ends of the other workers' sockets.

    Until it has told the system which signals it does not mind, none reach it.
    """
    ours, theirs = socket.socketpair()
    words = nameless_file("words of a worker")
    fcntl.fcntl(words, fcntl.F_SETFL, os.O_APPEND)
    process = multiprocessing.get_context("fork").Process(
        target=serve,
        args=(feed, theirs, [ours, *others], words, os.getpid()),
        name=f"data worker {number}",
        daemon=True,
    )
    before = signal.pthread_sigmask(signal.SIG_BLOCK, GROUP_SIGNALS)
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
    return Worker(number, process, ours, words)
