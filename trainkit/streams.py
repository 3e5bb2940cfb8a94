"""What is drawn of every bucket, in order: an endless stream of visits, one pass after the other.

A pass is a permutation of what the quota gives each picture of the bucket in it. Where a stretch of the run
begins in the middle of passes, it is told what these still owe: those visits come first, oldest pass first,
each pass in a permutation of its own.
"""

from __future__ import annotations

import bisect
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trainkit.buckets import Size
from trainkit.draws import generator
from trainkit.quota import Indices, Quota


@dataclass(frozen=True, slots=True)
class Visits:
    """Draws of pictures that stand in no micro-batch yet; each array is [V]."""

    pictures: Indices
    epochs: NDArray[np.int32]
    """The pass that each belongs to."""
    draws: NDArray[np.int32]
    """Which of its picture's draws in that pass each is, from 0."""

    def __len__(self) -> int:
        return len(self.pictures)

    def take(self, which: NDArray[Any] | slice) -> Visits:
        """Some of them: a slice, numbers or a mask."""
        return Visits(self.pictures[which], self.epochs[which], self.draws[which])


_NONE = np.zeros(0, dtype=np.int32)
NOTHING = Visits(_NONE, _NONE, _NONE)


def joined(parts: Sequence[Visits]) -> Visits:
    """One after the other."""
    if not parts:
        return NOTHING
    return Visits(
        np.concatenate([part.pictures for part in parts]),
        np.concatenate([part.epochs for part in parts]),
        np.concatenate([part.draws for part in parts]),
    )


@dataclass(frozen=True, slots=True)
class Owed:
    """Where a stretch of the run begins."""

    visits: Visits = NOTHING
    """What is left of the passes that have begun."""
    first_epoch: int = 0
    """The first pass of which everything is left."""


class Streams:
    """One stream of visits per bucket that holds a picture; buckets are numbered in the order of ``sizes``.

    ``index[i]`` is the place in ``buckets`` of picture i's bucket.
    """

    def __init__(
        self,
        buckets: Sequence[Size],
        index: NDArray[np.integer[Any]],
        quota: Quota,
        owed: Owed,
    ) -> None:
        self._buckets, self._index = tuple(buckets), index
        self.quota, self.owed = quota, owed
        # Sorted by bucket once, rather than searched once per bucket.
        order = np.argsort(index, kind="stable").astype(np.int32)
        present, starts = np.unique(index[order], return_index=True)
        parts = np.split(order, starts[1:]) if len(present) else []
        found = {self._buckets[bucket]: part for bucket, part in zip(present.tolist(), parts, strict=True)}
        self.sizes: tuple[Size, ...] = tuple(sorted(found))
        self.members: tuple[Indices, ...] = tuple(found[size] for size in self.sizes)
        self._left = self._by_bucket(owed.visits)
        self.oldest = min([owed.first_epoch, *(int(left.epochs[0]) for left in self._left if len(left))])
        self.ends_before = functools.lru_cache(maxsize=256)(self._ends_before)
        self._pass = functools.lru_cache(maxsize=2 * len(self.sizes) + 8)(self._permuted_pass)

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy in a worker process is made anew; caches cannot be pickled."""
        return Streams, (self._buckets, self._index, self.quota, self.owed)

    @property
    def num_pictures(self) -> int:
        """Pictures in all buckets."""
        return len(self._index)

    def _by_bucket(self, left: Visits) -> tuple[Visits, ...]:
        """What is owed, apart for each bucket and in the order of passes; within a pass in the order of
        pictures, so that the order depends on nothing but what is owed."""
        if not len(left):
            return tuple(NOTHING for _ in self.sizes)
        number = np.zeros(len(self._buckets), dtype=np.int32)
        number[[self._buckets.index(size) for size in self.sizes]] = np.arange(len(self.sizes))
        own = number[self._index[left.pictures]]
        order = np.lexsort((left.draws, left.pictures, left.epochs, own))
        ends = np.cumsum(np.bincount(own, minlength=len(self.sizes)))
        return tuple(left.take(part) for part in np.split(order, ends[:-1]))

    def _ends_before(self, epoch: int) -> NDArray[np.int64]:
        """[buckets]: how long each stream is before pass ``epoch`` begins in it."""
        owed, first = self._left, self.owed.first_epoch
        if epoch <= first:
            return np.array([np.searchsorted(left.epochs, epoch) for left in owed], dtype=np.int64)
        whole = [
            self.quota.total_before(epoch, pictures) - self.quota.total_before(first, pictures)
            for pictures in self.members
        ]
        return np.array([len(left) for left in owed], dtype=np.int64) + np.array(whole, dtype=np.int64)

    def at(self, bucket: int, first: int, count: int, last_epoch: int) -> Visits:
        """``count`` visits of a bucket's stream from place ``first``; all must belong to passes up to
        ``last_epoch``."""

        def begins(epoch: int) -> int:
            return int(self.ends_before(epoch)[bucket])

        passes = range(self.oldest, last_epoch + 1)
        epoch = self.oldest + bisect.bisect_right(passes, first, key=begins) - 1
        parts: list[Visits] = []
        found = 0
        while found < count:
            assert epoch <= last_epoch, "a visit lies in a later pass"
            begin = begins(epoch)
            part = self._part(bucket, epoch, slice(first + found - begin, first + count - begin))
            parts.append(part)
            found += len(part)
            epoch += 1
        return joined(parts)

    def prepare(self, epoch: int) -> None:
        """Permute a pass of all buckets now."""
        for bucket in range(len(self.sizes)):
            self._pass(bucket, epoch)

    def _part(self, bucket: int, epoch: int, which: slice) -> Visits:
        pictures, draws = self._pass(bucket, epoch)
        pictures = pictures[which]
        draws = np.zeros(len(pictures), dtype=np.int32) if draws is None else draws[which]
        return Visits(pictures, np.full(len(pictures), epoch, dtype=np.int32), draws)

    def _permuted_pass(self, bucket: int, epoch: int) -> tuple[Indices, NDArray[np.int32] | None]:
        """The pictures and draws of one bucket in the order of one pass."""
        pictures: Indices
        draws: NDArray[np.int32] | None
        if epoch < self.owed.first_epoch:
            left = self._left[bucket]
            first, end = np.searchsorted(left.epochs, (epoch, epoch + 1))
            pictures, draws = left.pictures[first:end], left.draws[first:end]
        else:
            pictures, draws = self.quota.of_pass(epoch, self.members[bucket])
        rng = generator(self.quota.seed, "pictures", *self.sizes[bucket], epoch)
        order = torch.randperm(len(pictures), generator=rng, dtype=torch.int32).numpy()
        return pictures[order], None if draws is None else draws[order]
