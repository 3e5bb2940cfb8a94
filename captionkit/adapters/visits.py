"""How often each picture has been asked for, counted by all workers together."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from hashlib import blake2b
from multiprocessing.context import get_spawning_popen
from typing import Any, NamedTuple

from captionkit.adapters.epoch import SharedEpoch, for_a_child
from captionkit.adapters.lookup import Records
from captionkit.errors import DataError
from captionkit.record import Record

_UNKNOWN_SLOTS = 1 << 16
_ALL = 1 << 32  # More than a counter holds: every visit is one of the same epoch.


class Visit(NamedTuple):
    """Which rendering of a record comes next."""

    epoch: int
    draw: int


class Visits:
    """The epoch and draw of each picture, for trainers that tell neither.

    A picture's n-th visit, from 0, is draw `n % repeats` of epoch `first_epoch + n // repeats`. The counts
    lie in memory that all workers share, forked or spawned, so that neither two workers nor the fresh workers
    of the next epoch begin from the start: counted in a process's own memory, each epoch would see the same
    captions again. Of several training processes (`RANK` and `WORLD_SIZE` in the environment) each counts for
    itself and has draws of its own; an epoch of curves then lasts `WORLD_SIZE` times as long.

    Four bytes a record. Pictures without a record share 65,536 counters by the hash of their id: two of one
    counter skip numbers, and never have one twice.
    """

    def __init__(self, records: Records, *, first_epoch: int = 0, repeats: int = 1) -> None:
        """`repeats`: how often a picture comes in one epoch. Raises `DataError` when that is less than 1."""
        if repeats < 1:
            raise DataError(f"repeats is {repeats}, must be 1 or more")
        self._records, self._repeats = records, repeats
        self._first_epoch = first_epoch
        self._epoch = SharedEpoch(first_epoch)
        self._rank, self._world = _whole("RANK", 0), max(1, _whole("WORLD_SIZE", 1))
        self._counts = _shared(len(records) + _UNKNOWN_SLOTS)

    def next(self, record: Record) -> Visit:
        """The epoch and draw of this visit of the record."""
        slot = self._slot(record.id)
        with self._counts.get_lock():
            number = self._counts[slot]
            self._counts[slot] = number + 1
        epoch, draw = divmod(number, self._repeats)
        return Visit(self._epoch.get() + epoch, draw * self._world + self._rank)

    def begin_epoch(self, epoch: int) -> None:
        """From now on each visit is a draw, from 0, of epoch `first_epoch + epoch`, whatever `repeats` is.

        For trainers that tell the epoch and not the repeat; before the workers of this epoch are started.
        """
        with self._counts.get_lock():
            self._counts[:] = [0] * len(self._counts)
        self._epoch.set(self._first_epoch + epoch)
        self._repeats = _ALL

    def _slot(self, key: str) -> int:
        place = self._records.place_of_id(key)
        if place is not None:
            return place
        digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return len(self._records) + int.from_bytes(digest, "big") % _UNKNOWN_SLOTS

    def __getstate__(self) -> dict[str, Any]:
        if get_spawning_popen() is not None:  # A worker is being started, and may have the memory itself.
            return self.__dict__ | {"_counts": (True, for_a_child(self._counts))}
        return self.__dict__ | {"_counts": (False, bytes(memoryview(self._counts.get_obj()).cast("B")))}

    def __setstate__(self, state: dict[str, Any]) -> None:
        shared, counts = state["_counts"]
        self.__dict__.update(state, _counts=pickle.loads(counts) if shared else _copied(counts))


def _shared(length: int) -> Any:
    # Locks of the spawn context serve forked workers too; those of the fork context serve no spawned ones.
    return multiprocessing.get_context("spawn").Array("I", length)


def _copied(counts: bytes) -> Any:
    """Counts that go on by themselves."""
    copy = _shared(len(counts) // 4)
    memoryview(copy.get_obj()).cast("B")[:] = counts
    return copy


def _whole(name: str, otherwise: int) -> int:
    text = os.environ.get(name, "").strip()
    return int(text) if text.isdecimal() else otherwise
