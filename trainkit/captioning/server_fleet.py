"""End points: which one is asked next, and which rest because they failed.

All of it runs in one event loop. An end point that cannot be reached, asks for time or fails three times in a
row rests; then it is probed (GET /models) until it answers, and asked for one thing at a time until that
is answered. So a server that is away costs no request its tries.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from trainkit.captioning.server_failures import AllGoneError, Failed, ServerError
from trainkit.captioning.server_retry import RetryConfig

_IN_ROW = 3
"""Failures without an answer between them after which an end point rests."""
_REVIVALS = 3
"""So often a server may be lost, come back and be lost again without an answer between, and have its time
start anew each time: one that every request kills is not waited for without end."""
_SHORTEST = 0.1
"""Seconds that are waited where a server asks for less."""
_LONG = 10.0
"""Seconds without an answer, or of rest that a server asks for, that are told."""


@dataclass(slots=True, eq=False)
class EndPoint:
    """One server, and how it does."""

    url: str
    in_flight: int = 0
    in_row: int = 0
    """Failures since the last answer."""
    rests: int = 0
    """Rests and failed probes since the last answer."""
    resting: bool = False
    gone: bool = False
    """There was no connection when it was last asked."""
    revived: int = 0
    failing_since: float | None = None
    reason: str = ""
    """Of the last failure."""
    away_since: float | None = None
    """When it was noted that it is away."""


class Fleet:
    """The end points of a run. ``probe`` says whether an end point answers, and raises ServerError when it
    never should be asked again."""

    def __init__(
        self,
        urls: tuple[str, ...],
        *,
        concurrency: int,
        retry: RetryConfig,
        probe: Callable[[EndPoint], Awaitable[bool]],
    ) -> None:
        self.ends = tuple(EndPoint(url) for url in urls)
        self.answered = 0
        """Answers so far, of all end points."""
        self._concurrency = concurrency
        self._retry = retry
        self._probe = probe
        self._wrong: ServerError | None = None
        self._changed = asyncio.Event()
        self._resting: set[asyncio.Task[None]] = set()
        self._notes: list[str] = []

    async def enter(self) -> EndPoint:
        """The end point with the fewest requests in flight, as soon as one has room; it counts one more until
        `leave`. Raises AllGoneError when all have been failing for longer than ``give_up_s``."""
        while True:
            self._raise_if_over()
            free = [end for end in self.ends if not end.resting and end.in_flight < self._room(end)]
            if free:
                end = min(free, key=lambda end: end.in_flight)
                end.in_flight += 1
                return end
            changed = self._changed
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await changed.wait()

    def leave(self, end: EndPoint) -> None:
        """A request came back, however it went."""
        end.in_flight -= 1
        self._wake()

    def worked(self, end: EndPoint) -> None:
        """The end point answered, if only to say no."""
        self.answered += 1
        end.in_row = end.rests = end.revived = 0
        end.gone = False
        if end.resting:  # What it began before still comes; then it is silent again.
            end.failing_since = time.monotonic()
            return
        if end.away_since is not None:
            self._note(f"{end.url} answers again, after {time.monotonic() - end.away_since:.0f} s")
        end.away_since = end.failing_since = None

    def failed(self, end: EndPoint, failure: Failed) -> None:
        """The end point did not answer."""
        end.in_row += 1
        end.reason = failure.reason
        if end.failing_since is None:
            end.failing_since = time.monotonic()
        if not end.resting and (failure.gone or failure.busy or end.in_row >= _IN_ROW):
            self.rest(end, failure)

    def rest(self, end: EndPoint, failure: Failed) -> None:
        """Ask the end point nothing before it has rested and answers a probe."""
        end.resting, end.gone, end.reason = True, failure.gone, failure.reason
        end.failing_since = end.failing_since if end.failing_since is not None else time.monotonic()
        if failure.after is not None and failure.after > _LONG:
            self._away(end, f"; it asks for {failure.after:,.0f} s of rest")
        elif time.monotonic() - end.failing_since > _LONG:
            self._away(end)
        task = asyncio.get_running_loop().create_task(self._rested(end, failure.after))
        self._resting.add(task)
        task.add_done_callback(self._resting.discard)

    def take_notes(self) -> tuple[str, ...]:
        """What happened to end points since this was last called, a line each."""
        notes, self._notes = tuple(self._notes), []
        return notes

    async def _rested(self, end: EndPoint, after: float | None) -> None:
        while True:
            end.rests += 1
            wait = self._retry.wait(end.rests, end.url) if after is None else max(after, _SHORTEST)
            await asyncio.sleep(wait)
            after = None
            try:
                if await self._probe(end):
                    break
            except ServerError as error:
                self._wrong = error
                break
            self._away(end)
        if end.gone and end.revived < _REVIVALS:
            end.revived += 1
            end.failing_since = None
        end.gone, end.resting, end.in_row = False, False, _IN_ROW - 1
        self._wake()

    def _room(self, end: EndPoint) -> int:
        """After a rest one request at a time, until one is answered."""
        return 1 if end.rests else self._concurrency

    def _raise_if_over(self) -> None:
        if self._wrong is not None:
            raise self._wrong
        since = [end.failing_since for end in self.ends if end.failing_since is not None]
        if len(since) == len(self.ends) and time.monotonic() - max(since) > self._retry.give_up_s:
            raise AllGoneError(
                f"no server has answered for {self._retry.give_up_s:g} s ({told(self.ends)}). Mend or start "
                "them, then run the same command: it goes on where it was. retry.give_up_s waits longer."
            )

    def _away(self, end: EndPoint, told: str = "; it is asked again until it answers") -> None:
        """Note it, once until it answers."""
        if end.away_since is None:
            end.away_since = time.monotonic()
            self._note(f"{end.url} {end.reason}{told}")

    def _note(self, text: str) -> None:
        # Bounded: nobody may be reading.
        self._notes = [*self._notes[-99:], text]

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def told(ends: tuple[EndPoint, ...]) -> str:
    """What each end point last did wrong."""
    return "; ".join(f"{end.url} {end.reason}" for end in ends)
