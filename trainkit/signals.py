"""Being asked to stop: SIGTERM, SIGUSR1 and SIGINT.

In the loop a signal is only noted; the run finishes its optimizer step, writes a checkpoint and ends with a
status that schedulers understand. Outside of it (start-up, filling a cache) nothing is lost by ending at
once, and `Stopped` is raised where the signal arrives. A second signal ends the process on the spot.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import TypeVar

T = TypeVar("T")

STATUS = {signal.SIGTERM: 143, signal.SIGUSR1: 75, signal.SIGINT: 130}
"""Exit status by signal. 143 and 130 are what a shell says of a process that the signal ended; 75 is
EX_TEMPFAIL of sysexits.h, "try again": a batch script that sees it puts the job back into the queue."""

_HEARD = tuple(STATUS)
_ECHO = 2.0
"""Seconds within which another signal is the same one: a launcher hands on what its processes also get."""


class Stopped(BaseException):
    """The run ends because it was asked to; not an error, so no ``except Exception`` holds it up."""

    def __init__(self, number: signal.Signals, told: str = "before the first step") -> None:
        self.number = number
        self.told = told
        super().__init__(f"{number.name}: stopped {told}")

    @property
    def status(self) -> int:
        """The exit status of the process."""
        return STATUS[self.number]

    def explain(self) -> str:
        """What the user reads, with the command that goes on."""
        return f"{self}; go on with the same command: {own_command()}"


class Stop:
    """Whether this process was asked to stop. Without `listening`, it never is. ``finishing`` is what a
    signal lets end in the loop, ``outside`` when it came otherwise, as the user reads it."""

    def __init__(self, finishing: str = "the step", outside: str = "before the first step") -> None:
        self.asked: signal.Signals | None = None
        self._finishing, self._outside = finishing, outside
        self._since = 0.0
        self._noting = False
        self._pid = os.getpid()

    @contextlib.contextmanager
    def listening(self) -> Iterator[Stop]:
        """Take over the signals; afterwards they do what they did before, unless `Stopped` is on its way: the
        process ends, and the echo of its signal must not take its status away. For the main thread only."""
        before = {number: signal.signal(number, self._hear) for number in _HEARD}
        stopped = False
        try:
            yield self
        except Stopped:
            stopped = True
            raise
        finally:
            for number, handler in () if stopped else before.items():
                signal.signal(number, handler)

    def noting(self, steps: Iterable[T]) -> Iterator[T]:
        """The steps of a loop. While they last, a signal is only noted; outside it raises `Stopped`, and so
        does one that was noted and not answered when the last step is done."""
        self._noting = True
        try:
            yield from steps
        finally:
            self._noting = False
        if self.asked is not None:
            raise Stopped(self.asked)

    def waited(self) -> float:
        """Seconds since the process was asked; 0 when it was not."""
        return time.monotonic() - self._since if self.asked is not None else 0.0

    def votes(self) -> list[float]:
        """One number per signal, 1 for that which this process got; added up over all, `agreed` reads it."""
        return [float(self.asked == number) for number in _HEARD]

    def agreed(self, votes: list[float]) -> signal.Signals | None:
        """The signal that any process got before the votes were added up."""
        return next((number for number, count in zip(_HEARD, votes, strict=True) if count > 0), None)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:  # A child that was forked and has not said what it does with signals.
            _end_at_once(number)
        elif self.asked is None:
            self.asked, self._since = signal.Signals(number), time.monotonic()
            if not self._noting:
                raise Stopped(self.asked, self._outside)
            os.write(2, f"\ntrainkit: {self.asked.name}: finishing {self._finishing}\n".encode())
        elif self.waited() > _ECHO:
            _end_at_once(number)


def _end_at_once(number: int) -> None:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def own_command() -> str:
    """The command that started this process, to be pasted into a shell."""
    program, *words = sys.argv
    if program.endswith("__main__.py"):
        return shlex.join([os.path.basename(sys.executable), "-m", "trainkit", *words])
    return shlex.join([program, *words])
