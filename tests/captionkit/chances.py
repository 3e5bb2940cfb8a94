"""Exact bounds for what was counted over seeded draws, by the standard library alone."""

from __future__ import annotations

from math import exp, fsum, lgamma, log

ALARM = 1e-6
"""How often one comparison would fail by chance, had its seed been drawn anew."""


def plausible(hits: int, trials: int, p: float, alarm: float = ALARM) -> bool:
    """Whether so many hits in independent trials of chance `p` are to be expected.

    The exact binomial test: each tail, the number of hits included, must have more than `alarm` / 2, so that
    at most `alarm` of all outcomes fail. A chance of 0 or 1 allows one outcome only.
    """
    if p in (0.0, 1.0):
        return hits == trials * p
    # The other tail holds about half of everything.
    tail = range(hits + 1) if hits <= trials * p else range(hits, trials + 1)
    return fsum(exp(_log_mass(count, trials, p)) for count in tail) > alarm / 2


def _log_mass(hits: int, trials: int, p: float) -> float:
    ways = lgamma(trials + 1) - lgamma(hits + 1) - lgamma(trials - hits + 1)
    return ways + hits * log(p) + (trials - hits) * log(1.0 - p)
