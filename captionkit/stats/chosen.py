"""Which records are looked at closely: those with the smallest hashes of their ids.

So the choice depends neither on the order of the records nor on who reads them, and every recipe is looked at
over the same ones. Records of one id are chosen together.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from hashlib import blake2b
from math import sqrt
from typing import Any

from captionkit.record import Record, known_tags

_KEY = b"captionkit stats"
_END = 1 << 64


def id_hash(record_id: str) -> int:
    """A number from 0 to 2**64 - 1 for an id, the same on every machine."""
    encoded = record_id.encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(encoded, digest_size=8, key=_KEY).digest(), "little")


@dataclass
class Chosen:
    """The records of the smallest hashes seen so far, at most about twice `size` of them in memory."""

    size: int
    """How many are wanted; fewer where there are fewer, more where the last ones share an id."""
    below: int = _END
    """Only hashes below this are still wanted."""
    hashed: list[tuple[int, Record]] = field(default_factory=list)

    def add(self, hashed: int, record: Record) -> None:
        """Take note of a record."""
        if hashed < self.below:
            self.hashed.append((hashed, record))
            if len(self.hashed) > 2 * self.size + 16:
                self.cut(self.size)

    def merge(self, other: Chosen) -> None:
        """Take over those of another part of the data."""
        self.below = min(self.below, other.below)
        self.hashed += other.hashed
        if len(self.hashed) > 2 * self.size + 16:
            self.cut(self.size)

    def cut(self, size: int) -> None:
        """Keep no more than this many, ids that are there twice apart."""
        if len(self.hashed) > size:
            hashes = sorted([hashed for hashed, _ in self.hashed])
            self.below = min(self.below, hashes[size - 1] + 1)
        self.hashed = [pair for pair in self.hashed if pair[0] < self.below]

    def __setstate__(self, state: dict[str, Any]) -> None:
        """As another process sent it, with tags that are shared again: one by one they would fill memory."""
        self.__dict__.update(state)
        self.hashed = [(hashed, _with_shared_tags(record)) for hashed, record in self.hashed]

    def records(self) -> list[Record]:
        """The records chosen, in the order of their hashes."""
        self.cut(self.size)
        return [record for _, record in sorted(self.hashed, key=_first)]


def _first(pair: tuple[int, Record]) -> int:
    return pair[0]


def _with_shared_tags(record: Record) -> Record:
    tags = [
        tag if tag.score is not None else known_tags(tag.category, tag.source)[tag.name] or tag
        for tag in record.tags
    ]
    return replace(record, tags=tuple(tags))


def share_of_sample(size: int, amount: int, total: int | None) -> int:
    """How many of the records of one block may be among the chosen, with room for chance and for blocks whose
    records are small; so that a process need not send all that it has read."""
    if not total:
        return size
    expected = size * amount / total
    return min(size, int(2.0 * expected + 6.0 * sqrt(expected)) + 20)
