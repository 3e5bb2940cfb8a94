"""Notices that a run gets no further."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from trainkit.whole_file import read_object


class Stall:
    """Tells, once until steps go on, that none was done for ``after`` seconds.

    What may take any time (reading the data set, filling a cache) is no stall: the watchdog's note of this
    process says so. ``close`` it when the run ends.
    """

    def __init__(self, out: Path, after: float, tell: Callable[[str], None]) -> None:
        self._note = out / "ranks" / "0.json"
        self._after, self._tell = after, tell
        self._last = time.monotonic()
        self._told = False
        self._ended = threading.Event()
        threading.Thread(target=self._watch, name="stall", daemon=True).start()

    def step(self) -> None:
        """A step was done."""
        self._last, self._told = time.monotonic(), False

    def close(self) -> None:
        """Watch no more."""
        self._ended.set()

    def _watch(self) -> None:
        beat = min(30.0, self._after / 4)
        woke = time.monotonic()
        while not self._ended.wait(beat):
            slept, woke = time.monotonic() - woke, time.monotonic()
            note = read_object(self._note)
            if slept > 10 * beat or note.get("patient") is True:  # Stopped and going on; or busy.
                self._last = woke
            elif not self._told and woke - self._last > self._after:
                self._told = True
                doing = f"; it is in: {note['what']}" if isinstance(note.get("what"), str) else ""
                self._tell(f"no optimizer step for {woke - self._last:.0f} s (alerts.stall_after){doing}")
