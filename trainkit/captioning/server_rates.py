"""Rates that a server's owner allows: requests and tokens in a minute.

A token bucket in which a request may take what is not there yet: it is told how long to wait for it, and
whoever comes later waits behind it. Tokens are known only afterwards, so a request takes what the ones before
it cost on average, and the difference is settled with its answer.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class RateConfig(BaseModel):
    """What may be asked in a minute, over all end points; each process of a run counts for itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    requests: float | None = Field(default=None, gt=0, le=1e9)
    """Requests in a minute, those asked again included; none is no limit."""
    tokens: float | None = Field(default=None, gt=0, le=1e12)
    """Tokens in a minute, read and written; none is no limit."""


class Bucket:
    """Something that comes in at ``per_minute`` and of which a second's worth (``at_least``) is kept.

    In any t seconds at most per_minute * t / 60 plus what is kept is taken, and one request's worth more.
    """

    def __init__(self, per_minute: float, now: float, *, at_least: float = 1.0) -> None:
        self._per_second = per_minute / 60
        self._most = max(self._per_second, at_least)
        self._level = self._most
        self._at = now

    def take(self, amount: float, now: float) -> float:
        """Take ``amount``; the seconds until it is there."""
        self._fill(now)
        self._level -= amount
        return max(-self._level / self._per_second, 0.0)

    def give_back(self, amount: float, now: float) -> None:
        """What was taken too much; negative where it was too little."""
        self._fill(now)
        self._level = min(self._level + amount, self._most)

    def _fill(self, now: float) -> None:
        self._level = min(self._level + max(now - self._at, 0.0) * self._per_second, self._most)
        self._at = max(now, self._at)


class Rates:
    """Both limits together. ``guess`` is what a request is thought to cost in tokens before any was seen."""

    def __init__(self, config: RateConfig, now: float, *, guess: float) -> None:
        self._requests = Bucket(config.requests, now) if config.requests is not None else None
        self._tokens = Bucket(config.tokens, now, at_least=0.0) if config.tokens is not None else None
        self._guess = guess
        self._seen = 0

    def take(self, now: float) -> tuple[float, float]:
        """(seconds to wait before asking, tokens taken)."""
        wait = self._requests.take(1.0, now) if self._requests is not None else 0.0
        if self._tokens is not None:
            wait = max(wait, self._tokens.take(self._guess, now))
        return wait, self._guess

    def settle(self, taken: float, used: int, now: float) -> None:
        """A request that took ``taken`` tokens used ``used`` (0: unknown, or none as it failed)."""
        if self._tokens is None or used <= 0:
            return
        self._tokens.give_back(taken - used, now)
        # A mean over the last hundred or so: prompts change over a run.
        self._seen = min(self._seen + 1, 100)
        self._guess += (used - self._guess) / self._seen
