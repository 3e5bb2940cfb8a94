"""How much of its time a run waits for pictures."""

from __future__ import annotations

from collections import deque

MUCH = 0.1
"""Share of waiting from which on something should be done."""
_LATELY = 100


class Waiting:
    """Adds up, over the steps of one start."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.waited = 0.0
        self._steps: deque[tuple[float, float]] = deque(maxlen=_LATELY)

    def step(self, seconds: float, waited: float) -> None:
        """A step took so long, and so much of it was waiting."""
        self.seconds += seconds
        self.waited += min(seconds, waited)
        self._steps.append((seconds, min(seconds, waited)))

    @property
    def share(self) -> float:
        """Of the time of all steps, 0 to 1."""
        return self.waited / self.seconds if self.seconds else 0.0

    @property
    def lately(self) -> float:
        """Of the time of the last hundred steps."""
        seconds = sum(step for step, _ in self._steps)
        return sum(waited for _, waited in self._steps) / seconds if seconds else 0.0

    def in_words(self, workers: int, latents: str) -> str | None:
        """What to say at the end; None when there was no step."""
        if not self.seconds:
            return None
        told = f"the device waited {self.share:.0%} of the time for pictures"
        return told + (f": {remedy(workers, latents)}" if self.share > MUCH else "")


def remedy(workers: int, latents: str) -> str:
    """What helps against waiting."""
    more = f"more data.workers (now {workers})"
    if latents == "live":
        return f'{more}, data.latents = "cached", or smaller picture files on a faster disk'
    return f"{more}, more data.prefetch, or a faster disk for data.cache"
