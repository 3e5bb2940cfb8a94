"""Which pictures are trained together, as a pure function of (seed, micro-batch number).

Every bucket is an endless stream: the concatenation of one permutation of its pictures per epoch.
Micro-batches are cut from that stream, so a remainder that does not fill a batch at the end of an epoch opens
the bucket's first batch of the next: nothing is dropped, nothing is repeated, no small batch counts for more.
Within an epoch the batches of all buckets are shuffled. A micro-batch has one shape over all devices; each
device takes its slice.

Nothing here is stateful. Resuming means asking for the next number.
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


@dataclass(frozen=True, slots=True)
class Draw:
    """One picture in one micro-batch."""

    picture: int
    """Index of the picture in the data set."""
    epoch: int
    """How many times this picture was drawn before; the caption's draws are addressed by it."""
    sample: int
    """Global number of this sample in the run, from 0; the noise is addressed by it."""


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """The draws of one micro-batch over all devices, all of one bucket."""

    bucket: Size
    draws: tuple[Draw, ...]


class BatchPlan:
    """The micro-batches of a run, or of one of its phases, numbered from 0.

    ``buckets[index[i]]`` is the bucket of picture i; ``batch`` the number of samples in a micro-batch over
    all devices. A bucket with fewer pictures than ``batch`` waits until several epochs fill one; then a
    picture can stand twice in a micro-batch, each time with its own caption and noise. A later phase counts
    its epochs and samples from where the one before it ended, ``first_epoch`` and ``first_sample``.
    """

    def __init__(
        self,
        buckets: Sequence[Size],
        index: Sequence[int] | NDArray[np.integer[Any]],
        batch: int,
        seed: int,
        *,
        first_epoch: int = 0,
        first_sample: int = 0,
    ) -> None:
        self._buckets, self._index = tuple(buckets), np.asarray(index)
        self.batch = batch
        self.seed = seed
        self.first_epoch, self.first_sample = first_epoch, first_sample
        self.num_pictures = len(self._index)
        # Sorted by bucket once, rather than searched once per bucket: 3.3 million pictures take 0.3 s.
        order = np.argsort(self._index, kind="stable")
        present, starts = np.unique(self._index[order], return_index=True)
        parts = np.split(order, starts[1:]) if len(present) else []
        found = {self._buckets[bucket]: part for bucket, part in zip(present.tolist(), parts, strict=True)}
        self.members = dict(sorted(found.items()))
        self._order = functools.lru_cache(maxsize=2)(self._shuffled_epoch)
        self._permutation = functools.lru_cache(maxsize=4 * len(self.members) + 4)(self._shuffled_bucket)

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy in a worker process is made anew; caches cannot be pickled."""
        rest = (self._buckets, self._index, self.batch, self.seed, self.first_epoch, self.first_sample)
        return _again, rest

    def batches_before(self, turn: int) -> int:
        """Number of this plan's micro-batches before its own epoch ``turn``, from 0."""
        return sum(len(pictures) * turn // self.batch for pictures in self.members.values())

    def epoch_of(self, number: int) -> int:
        """The epoch of the run that micro-batch ``number`` belongs to."""
        return self.first_epoch + self._turn_of(number)

    def _turn_of(self, number: int) -> int:
        # An epoch can be empty when all buckets are smaller than a batch; bisect finds the last epoch that
        # starts here.
        upper = (number + 1 + len(self.members)) * self.batch // max(1, self.num_pictures) + 1
        return bisect.bisect_right(range(upper + 1), number, key=self.batches_before) - 1

    def __getitem__(self, number: int) -> MicroBatch:
        """Micro-batch ``number``, counted from 0."""
        turn = self._turn_of(number)
        bucket, index = self._order(turn)[number - self.batches_before(turn)]
        num = len(self.members[bucket])
        draws = []
        for place in range(self.batch):
            turn, at = divmod(index * self.batch + place, num)
            epoch = self.first_epoch + turn
            picture = int(self._permutation(bucket, epoch)[at])
            draws.append(Draw(picture, epoch, self.first_sample + number * self.batch + place))
        return MicroBatch(bucket, tuple(draws))

    def _shuffled_epoch(self, turn: int) -> list[tuple[Size, int]]:
        """(bucket, number of the batch within its bucket's stream) for every batch of an epoch, in order of
        training."""
        batches = [
            (bucket, index)
            for bucket, pictures in self.members.items()
            for index in range(len(pictures) * turn // self.batch, len(pictures) * (turn + 1) // self.batch)
        ]
        rng = generator(self.seed, "batch order", self.first_epoch + turn)
        return [batches[i] for i in torch.randperm(len(batches), generator=rng).tolist()]

    def _shuffled_bucket(self, bucket: Size, epoch: int) -> NDArray[np.integer[Any]]:
        """The pictures of a bucket in the order of one epoch."""
        pictures = self.members[bucket]
        order = torch.randperm(len(pictures), generator=generator(self.seed, "pictures", *bucket, epoch))
        shuffled: NDArray[np.integer[Any]] = pictures[order.numpy()]
        return shuffled


def _again(
    buckets: tuple[Size, ...],
    index: NDArray[np.integer[Any]],
    batch: int,
    seed: int,
    first_epoch: int,
    first_sample: int,
) -> BatchPlan:
    return BatchPlan(buckets, index, batch, seed, first_epoch=first_epoch, first_sample=first_sample)


def share_of(batch: MicroBatch, rank: int, world: int) -> tuple[Draw, ...]:
    """The draws of one device: the micro-batch is dealt out like cards."""
    return batch.draws[rank::world]
