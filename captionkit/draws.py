"""Randomness with an address: a draw is a function of (seed, epoch, draw, record id, step address).

Nothing is passed along from step to step and nothing is remembered, so the same address gives the same
numbers under any number of workers, ranks and restarts, and one step's draws do not move when another step
changes.

The numbers are the output of SHAKE128 (FIPS 202), a hash of any length, over the address. They depend on no
generator of Python's, whose seeding and methods may change, and on no `hash()`, which is salted. Forty
numbers are one call of about a microsecond, where seeding a `random.Random` alone costs four.

A published seed is a promise: the table in tests/captionkit/test_draws.py pins these numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import shake_128
from operator import index
from struct import Struct
from typing import NamedTuple, SupportsIndex, TypeVar

from captionkit.errors import CaptionkitError
from captionkit.record import Step

T = TypeVar("T")

_VERSION = "captionkit 2"  # Part of every address: a change of the numbers below must change it.
_TO_UNIT = 2.0**-53
_FINE = "#fine"  # No step can have this address: a name holds no `#`.


class Draws:
    """The random numbers of one step for one record; `child` leads to the steps inside it.

    Each method starts from the beginning of the address's numbers, so a step that needs several independent
    draws takes them at once (`randoms`, `coins`) or from children of its own.
    """

    __slots__ = ("_key", "_run", "address", "notes")

    def __init__(self, seed: int, epoch: int, draw: int, record_id: str, samples: int | None = None) -> None:
        # 1.0 and True would spell another key than 1, and so draw other numbers without a word.
        seed, epoch, draw = _whole(seed, "seed"), _whole(epoch, "epoch"), _whole(draw, "draw")
        # The id is preceded by its length and the address comes last, so that no two addresses spell the same
        # key.
        encoded = record_id.encode("utf-8", "surrogatepass")
        self._key = f"{_VERSION}|{seed}|{epoch}|{draw}|{len(encoded)}|".encode() + encoded + b"|"
        # Progress is no part of the address: whoever counts otherwise still draws the same.
        self._run = _Run(epoch, None if samples is None else _whole(samples, "samples"))
        self.address = ""
        """Where we are, such as `short prompt/then`; empty at the root."""
        self.notes: list[str] | None = None
        """Reasons given by the step, for `explain`; None where nobody wants one."""

    def child(self, segment: str) -> Draws:
        """The numbers at `segment` under this address. Same segment, same numbers."""
        child = _new(Draws)
        child._key = self._key
        child._run = run = self._run
        child.address = f"{self.address}/{segment}" if self.address else segment
        child.notes = None if run.trace is None else []
        return child

    def traced(self) -> Draws:
        """The same numbers, with a trace that collects every step taken under this address."""
        traced = self.child("")
        traced.address = self.address
        traced._run = _Run(self._run.epoch, self._run.samples, [])
        return traced

    @property
    def trace(self) -> list[Step] | None:
        """The steps taken so far where somebody wants an explanation, else None."""
        return self._run.trace

    @property
    def epoch(self) -> int:
        """Which epoch this is; curves and schedules look at it."""
        return self._run.epoch

    @property
    def samples(self) -> int:
        """How many samples the run has seen. `CaptionkitError` where the caller did not say."""
        if self._run.samples is None:
            raise CaptionkitError(
                "this recipe follows the samples seen, which nobody gave",
                hint='call render(record, epoch=..., samples=...), or let the recipe follow over = "epoch"',
            )
        return self._run.samples

    def note(self, text: str) -> None:
        """Say why, for `explain`. Build costly texts only when `trace` is not None."""
        if self.notes is not None:
            self.notes.append(text)

    def randoms(self, count: int) -> list[float]:
        """`count` independent numbers, uniform in [0, 1), each a multiple of 2**-53."""
        words = _words(count).unpack(self._bytes(8 * count))
        return [(word >> 11) * _TO_UNIT for word in words]

    def random(self) -> float:
        """One number, uniform in [0, 1): the first of `randoms`."""
        return (int.from_bytes(self._bytes(8), "little") >> 11) * _TO_UNIT

    def chance(self, p: float) -> bool:
        """True with probability `p`: never for 0, always for 1."""
        hit = (drawn := self.random()) < p
        if self.notes is not None:
            self.note(f"drew {drawn:.3f}, {'below' if hit else 'not below'} {p:g}")
        return hit

    def coins(self, p: float, count: int) -> bytes:
        """`count` independent coins, each 1 with probability `p` and else 0, made for `itertools.compress`.

        A byte decides each coin, but for the one value of 256 in which `p` itself falls: there a number of
        53 bits decides, so that `p` holds to 2**-61. Three times as fast as comparing `randoms`.
        """
        level = p * 256.0  # Exact: a power of two.
        whole = int(level)
        drawn = self._bytes(count)
        coins = drawn.translate(_BELOW[whole])
        if level == whole or whole not in drawn:
            return coins
        undecided = [at for at, byte in enumerate(drawn) if byte == whole]
        mended = bytearray(coins)
        for at, number in zip(undecided, self.child(_FINE).randoms(len(undecided)), strict=True):
            mended[at] = number < level - whole
        return bytes(mended)

    def shuffle(self, items: Sequence[T]) -> list[T]:
        """The items in a new order, every order equally likely; `items` itself is left alone."""
        count = len(items)
        if count < 2:
            return list(items)
        # Sorting by drawn keys: stable, so even a tie (one in 2**52 per pair) has one outcome. Floats between
        # 1 and 2 are made of 52 drawn bits and a fixed exponent, which spares a multiplication for each.
        mask, ones, keys = _sort_keys(count)
        drawn = int.from_bytes(self._bytes(8 * count), "little") & mask | ones
        order = sorted(range(count), key=keys.unpack(drawn.to_bytes(8 * count, "little")).__getitem__)
        return [items[index] for index in order]

    def choice(self, items: Sequence[T], weights: Sequence[float] | None = None) -> T:
        """One of `items`, equally likely or by `weights` (at least one above 0, none below)."""
        return pick(items, self.random(), weights)

    def _bytes(self, count: int) -> bytes:
        """The first bytes of this address."""
        return shake_128(self._key + self.address.encode("utf-8", "surrogatepass")).digest(count)


_new = object.__new__


class _Run(NamedTuple):
    """What all draws of one rendering share."""

    epoch: int
    samples: int | None
    trace: list[Step] | None = None


def _whole(value: SupportsIndex, name: str) -> int:
    if type(value) is int:
        return value
    try:
        return int(index(value))
    except TypeError:
        raise CaptionkitError(f"{name} must be a whole number, got {value!r}") from None


def pick(items: Sequence[T], drawn: float, weights: Sequence[float] | None = None) -> T:
    """The item in whose share of [0, 1) the number `drawn` lies; an item of weight 0 is never picked."""
    if weights is None:
        return items[int(drawn * len(items))]
    point = drawn * sum(weights)
    last = items[0]
    for item, weight in zip(items, weights, strict=True):
        if weight > 0.0:
            if point < weight:
                return item
            point -= weight
            last = item  # Rounding can carry the point past the end: then it is the last that had a share.
    return last


# For each byte value up to 256, the table that makes 1 of the bytes below it and 0 of the others.
_BELOW = [b"\1" * whole + b"\0" * (256 - whole) for whole in range(257)]


@lru_cache(maxsize=256)
def _words(count: int) -> Struct:
    return Struct(f"<{count}Q")


@lru_cache(maxsize=256)
def _sort_keys(count: int) -> tuple[int, int, Struct]:
    """For `count` doubles side by side: the mask of their fractions, the exponents of 1, and their layout."""
    fractions = ((1 << 52) - 1).to_bytes(8, "little") * count
    exponents = (0x3FF << 52).to_bytes(8, "little") * count
    return int.from_bytes(fractions, "little"), int.from_bytes(exponents, "little"), Struct(f"<{count}d")
