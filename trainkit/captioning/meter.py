"""How fast captions come: the bar of a run, and how long and how dear the whole will be."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from trainkit.captioning.captioner import Answer, Captioner
from trainkit.captioning.judged import State
from trainkit.captioning.server import ServerCaptioner
from trainkit.progress import bar_style

_TELL_SECONDS = 5.0


class Meter:
    """Counts what comes in, on a bar where it is shown."""

    def __init__(self, total: int, before: int, *, show: bool) -> None:
        self._total, self._before, self._show = total, before, show
        self._bar: Any = None
        self._begin = time.monotonic()
        self._refused = self._failed = 0
        self.counted = self.asked = self.tokens_in = self.tokens_out = 0
        self.seconds = 0.0

    def __enter__(self) -> Self:
        self._begin = time.monotonic()  # What loading the model took tells nothing of the rest.
        if self._show:
            from tqdm import tqdm

            whole = self._before + self._total
            self._bar = tqdm(
                total=whole, initial=self._before, desc="captioning", unit=" captions", **bar_style()
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = self._now()
        if self._bar is not None:
            self._bar.close()

    def add(self, answer: Answer, state: State) -> None:
        """Count an answer."""
        self.asked += 1
        self.tokens_in += answer.tokens_in
        self.tokens_out += answer.tokens_out
        self._count(state)

    def add_failure(self) -> None:
        """Count a picture that could not be asked about."""
        self._count("failed")

    @contextlib.contextmanager
    def telling(self, captioner: Captioner) -> Iterator[None]:
        """Show what happens to servers: which rest, which answer again. By a thread of its own, because
        nothing else moves while no server answers."""
        if self._bar is None or not isinstance(captioner, ServerCaptioner):
            yield
            return
        bar, over = self._bar, threading.Event()

        def tell() -> None:
            last = False
            while not last:
                last = over.wait(_TELL_SECONDS)
                for note in captioner.take_notes():
                    bar.write(note, file=sys.stderr)

        thread = threading.Thread(target=tell, name="caption-notes", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _now(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._begin

    def _count(self, state: State) -> None:
        self.counted += 1
        self._refused += state == "refused"
        self._failed += state == "failed"
        if self._bar is None:
            return
        told = {"tokens/s": f"{self.tokens_out / max(self._now(), 1e-6):.0f}"}
        told |= {"refused": str(self._refused)} if self._refused else {}
        told |= {"failed": str(self._failed)} if self._failed else {}
        self._bar.set_postfix(told, refresh=False)
        self._bar.update()


def duration(seconds: float) -> str:
    """A time in words.

    >>> [duration(t) for t in (0.4, 59, 61, 7_560, 200_000)]
    ['0.4 s', '59 s', '1 min', '2.1 hours', '2.3 days']
    """
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    for unit, size, most in (("min", 60, 90), ("hours", 3600, 48)):
        if seconds < size * most:
            return f"{seconds / size:.0f} {unit}" if unit == "min" else f"{seconds / size:.1f} {unit}"
    return f"{seconds / 86_400:.1f} days"
