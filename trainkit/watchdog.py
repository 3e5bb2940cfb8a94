"""What every process of a run is doing, and the end of a run in which one of them hangs.

A process that dies is noticed at once: the launcher ends the others. One that hangs (a network file system
that does not answer, a machine that is gone, a stopped process) is not: all others wait for it inside an
exchange, and each of them looks as if it hung itself. So every process notes what it does in
``<out>/ranks/<rank>.json``, and one that gets no further reads the notes of all before it says who is to
blame.

The notes are written by a thread, so they also go on while the process computes or waits. A process whose
notes stand still is stopped or gone. Among those whose notes go on, the one that hangs is the furthest behind
and does not merely wait for others.
"""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from trainkit.moment import time_stamp
from trainkit.whole_file import read_object, write_whole

EXIT_HUNG = 76
"""Exit code of a process that ends because a process of the run hangs: start the same command again."""

_ENDED = "ended"

_LATE = 0.9
"""Share of the time-out after which a process counts as hanging for another one whose time is up: they did
not look at their clocks at the same moment."""


@dataclass(frozen=True, slots=True)
class Note:
    """What one process does, as it was last written."""

    what: str
    """Such as "backward"."""
    samples: int
    """Samples seen by the run."""
    turn: int
    """How many things were done since ``samples`` last grew; tells who is further within one step."""
    waits: bool
    """Whether all that is done is waiting for other processes."""
    patient: bool
    """Whether this may take any time, such as reading the data set."""
    idle: float
    """Seconds since it began."""
    since: str
    """When it began, by the clock of its machine."""
    beat: int
    """Grows with every note, also while nothing gets on."""
    host: str
    pid: int


def hanging(
    earlier: Sequence[Note | None], later: Sequence[Note | None], hang_timeout: float
) -> tuple[int, ...]:
    """The ranks that hang, by two looks at the notes of all ranks some beats apart; empty when none does.

    None stands for a note that is not there or cannot be read: such a process hangs too.
    """
    still = tuple(
        rank
        for rank, (then, now) in enumerate(zip(earlier, later, strict=True))
        if now is None or (then is not None and now.what != _ENDED and _stands_still(then, now))
    )
    if still:
        return still
    notes = [(rank, note) for rank, note in enumerate(later) if note is not None and note.what != _ENDED]
    last = min((note.samples for _, note in notes), default=0)
    behind = [(rank, note) for rank, note in notes if note.samples == last]
    acting = [(rank, note) for rank, note in behind if not note.waits] or behind
    turn = min((note.turn for _, note in acting), default=0)
    blamed = [(rank, note) for rank, note in acting if note.turn == turn]
    if any(note.patient or note.idle < _LATE * hang_timeout for _, note in blamed):
        return ()
    return tuple(rank for rank, _ in blamed)


def _stands_still(then: Note, now: Note) -> bool:
    return (then.host, then.pid, then.beat) == (now.host, now.pid, now.beat)


class Watchdog:
    """Notes what this process does; ends it when the run gets no further for ``hang_timeout`` seconds.

    0 only takes notes. ``close`` it when the run ends.
    """

    def __init__(self, out: Path, rank: int, world: int, hang_timeout: float) -> None:
        self._folder, self._rank, self._world = out / "ranks", rank, world
        self._timeout = hang_timeout
        self._interval = max(1.0, min(15.0, hang_timeout / 100)) if hang_timeout else 15.0
        note = Note("starting", 0, 0, False, True, 0.0, time_stamp(), 0, socket.gethostname(), os.getpid())
        # Note and moment change together: the thread reads them while the process goes on.
        self._state = (note, time.monotonic())
        self._beat = 0
        self.before_exit: Callable[[str], None] = lambda message: None
        """What is still done when this process ends because one hangs; it is told what was said."""
        self._ended = threading.Event()
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
        self._write()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        self._thread.start()

    def doing(
        self, what: str, samples: int | None = None, *, waits: bool = False, patient: bool = False
    ) -> None:
        """From now on this process does ``what``; it costs microseconds.

        ``samples`` are those seen by the run so far; None means as many as before. ``waits`` where it only
        waits for other processes, ``patient`` where it may take any time.
        """
        note, _ = self._state
        seen = note.samples if samples is None else samples
        turn = note.turn + 1 if seen == note.samples else 0
        begun = replace(
            note, what=what, samples=seen, turn=turn, waits=waits, patient=patient, since=time_stamp()
        )
        self._state = (begun, time.monotonic())

    def close(self) -> None:
        """Stop taking notes; the last one stays for whoever wants to know how far this process came."""
        self.doing(_ENDED, patient=True)
        self._ended.set()
        self._thread.join()
        self._write()

    def _run(self) -> None:
        """The thread: a note at every beat, and a look at the others when nothing gets on."""
        woke = time.monotonic()
        while not self._ended.wait(self._interval):
            slept, woke = time.monotonic() - woke, time.monotonic()
            note, began = self._state
            if slept > 10 * self._interval:
                # The whole process was stopped (Ctrl-Z, a suspended machine): its time begins anew.
                began = woke
                self._state = (note, began)
            self._write()
            if self._timeout and not note.patient and woke - began > self._timeout:
                self._look()
                woke = time.monotonic()

    def _look(self) -> None:
        """Read all notes twice; end this process when a rank hangs."""
        began = self._state[1]
        earlier = self._read_all()
        for _ in range(4):
            if self._ended.wait(self._interval):
                return
            self._write()
        later = self._read_all()
        blamed = hanging(earlier, later, self._timeout)
        if blamed and began == self._state[1]:
            self._end(blamed, later)

    def _end(self, blamed: tuple[int, ...], notes: Sequence[Note | None]) -> None:
        """Say who hangs and what every thread of this process is doing; then leave, whatever it waits for."""
        stacks = self._folder / f"{self._rank}-stacks.txt"
        with contextlib.suppress(OSError), stacks.open("w", encoding="utf-8") as file:
            faulthandler.dump_traceback(file, all_threads=True)
        speaker = min(set(range(self._world)) - set(blamed), default=0)
        if self._rank in blamed or self._rank == speaker:
            print(self._message(blamed, notes, stacks), file=sys.stderr, flush=True)
        for child in multiprocessing.active_children():  # A worker that is stopped would stay for ever.
            child.kill()
        with contextlib.suppress(Exception):
            self.before_exit(self._message(blamed, notes, stacks))
        os._exit(EXIT_HUNG)

    def _message(self, blamed: tuple[int, ...], notes: Sequence[Note | None], stacks: Path) -> str:
        told = "\n".join(f"  {_describe(rank, notes[rank])}" for rank in blamed[:8])
        more = f"\n  and {len(blamed) - 8} more" if len(blamed) > 8 else ""
        return (
            f"error: the run has got no further for {self._timeout:g} s (hang_timeout); what hangs:\n"
            f"{told}{more}\n"
            f"Seen by rank {self._rank}, which was in: {self._state[0].what}. Where its threads stand: "
            f"{stacks}. All notes: {self._folder}. This process ends with exit code {EXIT_HUNG}; start the "
            "same command again to go on from the last checkpoint."
        )

    def _write(self) -> None:
        """Write the note, whole or not at all. A disk that takes none is told by whoever needs it more."""
        self._beat += 1
        note, began = self._state
        note = replace(note, idle=round(time.monotonic() - began, 1), beat=self._beat)
        with contextlib.suppress(OSError):
            write_whole(self._folder / f"{self._rank}.json", asdict(note))

    def _read_all(self) -> list[Note | None]:
        return [read_note(self._folder / f"{rank}.json") for rank in range(self._world)]


def read_note(path: Path) -> Note | None:
    """The note in a file; None when there is none that can be read."""
    try:
        return Note(**read_object(path))
    except TypeError:
        return None


def _describe(rank: int, note: Note | None) -> str:
    if note is None:
        return f"rank {rank}: has left no note; it did not start, or its machine cannot write here"
    return (
        f"rank {rank} (process {note.pid} on {note.host}): {note.what}, since {note.since}, "
        f"after {note.samples} samples"
    )
