"""Randomness with an address: a draw is a function of (seed, epoch, draw, record id, step address).

Nothing is passed along from step to step and nothing is remembered, so the same address gives the same
numbers under any number of workers, ranks and restarts, and one step's draws do not move when another step
changes.

The numbers are BLAKE2b in counter mode (RFC 7693): block i of an address is the hash of the address and i,
eight uniform numbers of 53 bits. They depend on no generator of Python's, whose seeding and methods may
change, and on no `hash()`, which is salted. One block costs about a microsecond, where seeding a
`random.Random` costs thirteen.

A published seed is a promise: the table in tests/captionkit/test_draws.py pins these numbers.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from operator import index
from typing import SupportsIndex, TypeVar

from captionkit.errors import CaptionkitError
from captionkit.record import Step

T = TypeVar("T")

_VERSION = "captionkit 1"  # Part of every address: a change of the numbers below must change it.
_PER_BLOCK = 8
_UNPACK = struct.Struct("<8Q").unpack
_TO_UNIT = 2.0**-53


class Draws:
    """The random numbers of one step for one record; `child` leads to the steps inside it.

    Each method starts from the beginning of the address's numbers, so a step that needs several independent
    draws takes them at once (`randoms`) or from children of its own.
    """

    __slots__ = ("_address", "_key", "_trace", "notes")

    def __init__(self, seed: int, epoch: int, draw: int, record_id: str) -> None:
        # 1.0 and True would spell another key than 1, and so draw other numbers without a word.
        place = "|".join([str(_whole(seed, "seed")), str(_whole(epoch, "epoch")), str(_whole(draw, "draw"))])
        # The id is preceded by its length and the address comes last, so that no two addresses spell the same
        # key.
        encoded = record_id.encode("utf-8", "surrogatepass")
        self._key = f"{_VERSION}|{place}|{len(encoded)}|".encode() + encoded + b"|"
        self._address = ""
        self._trace: list[Step] | None = None
        self.notes: list[str] = []
        """Reasons given by the step, for `explain`."""

    def child(self, segment: str) -> Draws:
        """The numbers at `segment` under this address. Same segment, same numbers."""
        child = object.__new__(Draws)
        child._key = self._key
        child._address = f"{self._address}/{segment}" if self._address else segment
        child._trace = self._trace
        child.notes = []
        return child

    def traced(self) -> Draws:
        """The same numbers, with a trace that collects every step taken under this address."""
        traced = self.child("")
        traced._address = self._address
        traced._trace = []
        return traced

    @property
    def address(self) -> str:
        """Where we are, such as `short prompt/then`; empty at the root."""
        return self._address

    @property
    def trace(self) -> list[Step] | None:
        """The steps taken so far where somebody wants an explanation, else None."""
        return self._trace

    def note(self, text: str) -> None:
        """Say why, for `explain`. Build costly texts only when `trace` is not None."""
        self.notes.append(text)

    def randoms(self, count: int) -> list[float]:
        """`count` independent numbers, uniform in [0, 1), each a multiple of 2**-53."""
        key = self._key + self._address.encode("utf-8", "surrogatepass")
        words: list[int] = []
        for block in range((count + _PER_BLOCK - 1) // _PER_BLOCK):
            words += _UNPACK(blake2b(key + _counter(block)).digest())
        return [(word >> 11) * _TO_UNIT for word in words[:count]]

    def random(self) -> float:
        """One number, uniform in [0, 1): the first of `randoms`."""
        return self.randoms(1)[0]

    def chance(self, p: float) -> bool:
        """True with probability `p`: never for 0, always for 1."""
        hit = (drawn := self.randoms(1)[0]) < p
        if self._trace is not None:
            self.note(f"drew {drawn:.3f}, {'below' if hit else 'not below'} {p:g}")
        return hit

    def shuffle(self, items: Sequence[T]) -> list[T]:
        """The items in a new order, every order equally likely; `items` itself is left alone."""
        keys = self.randoms(len(items))
        # Sorting by drawn keys: stable, so even a tie (one in 2**53 per pair) has one outcome.
        return [items[index] for index in sorted(range(len(items)), key=keys.__getitem__)]

    def choice(self, items: Sequence[T], weights: Sequence[float] | None = None) -> T:
        """One of `items`, equally likely or by `weights` (at least one above 0, none below)."""
        return pick(items, self.randoms(1)[0], weights)


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


@lru_cache(maxsize=256)
def _counter(block: int) -> bytes:
    return b"|%d" % block
