"""How often a store had to be asked again, and how long that took."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trouble:
    """Answers of a store that were none. Two can be added."""

    failures: tuple[tuple[str, int], ...] = ()
    """(what went wrong, how often), sorted."""
    waited: float = 0.0
    """Seconds in which at least one picture waited to be asked for again."""

    def __bool__(self) -> bool:
        return bool(self.failures)

    def __add__(self, other: Trouble) -> Trouble:
        both = Counter(dict(self.failures)) + Counter(dict(other.failures))
        return Trouble(tuple(sorted(both.items())), self.waited + other.waited)

    def __str__(self) -> str:
        told = ", ".join(f"{what} {_times(count)}" for what, count in self.failures)
        return f"{told}; waited {self.waited:.0f} s" if told else "none"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


class Tally:
    """Counts the failures of one process, from any of its threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures: Counter[str] = Counter()
        self._waiting = 0
        self._since = 0.0
        self._waited = 0.0
        self._silent_since: float | None = None
        self.answered_at = float("-inf")
        """When, by `time.monotonic`, the store last handed something over."""

    def answered(self) -> None:
        """The store handed something over."""
        with self._lock:
            self.answered_at = time.monotonic()
            self._silent_since = None

    @contextlib.contextmanager
    def waiting(self, what: str, patience: float) -> Iterator[None]:
        """While a picture waits to be asked for again. The first failure after an answer is said at once, as
        a count that comes with the next batch can be minutes away."""
        with self._lock:
            self._failures[what] += 1
            if self._waiting == 0:
                self._since = time.monotonic()
            self._waiting += 1
            first, self._silent_since = self._silent_since is None, self._silent_since or time.monotonic()
        if first:
            print(f"{what}; asking again for up to {patience:g} s", file=sys.stderr, flush=True)
        try:
            yield
        finally:
            with self._lock:
                self._waiting -= 1
                if self._waiting == 0:
                    self._waited += time.monotonic() - self._since

    def take(self) -> Trouble:
        """What was counted since the last time."""
        with self._lock:
            taken = Trouble(tuple(sorted(self._failures.items())), self._waited)
            self._failures, self._waited = Counter(), 0.0
        return taken
