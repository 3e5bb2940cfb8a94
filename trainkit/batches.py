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
from dataclasses import dataclass

import torch

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
    """The whole run's micro-batches.

    ``buckets[i]`` is the bucket of picture i; ``batch`` the number of samples in a micro-batch over all
    devices. A bucket with fewer pictures than ``batch`` waits until several epochs fill one; then a picture
    can stand twice in a micro-batch, each time with its own caption and noise.
    """

    def __init__(self, buckets: list[Size], batch: int, seed: int) -> None:
        self._buckets = buckets
        self.batch = batch
        self.seed = seed
        self.num_pictures = len(buckets)
        members: dict[Size, list[int]] = {}
        for picture, bucket in enumerate(buckets):
            members.setdefault(bucket, []).append(picture)
        self.members = dict(sorted(members.items()))
        self._order = functools.lru_cache(maxsize=2)(self._shuffled_epoch)
        self._permutation = functools.lru_cache(maxsize=4 * len(self.members) + 4)(self._shuffled_bucket)

    def __reduce__(self) -> tuple[type[BatchPlan], tuple[list[Size], int, int]]:
        """A copy in a worker process is made anew; caches cannot be pickled."""
        return BatchPlan, (self._buckets, self.batch, self.seed)

    def batches_before(self, epoch: int) -> int:
        """Number of micro-batches in all epochs before ``epoch``."""
        return sum(len(pictures) * epoch // self.batch for pictures in self.members.values())

    def epoch_of(self, number: int) -> int:
        """The epoch that micro-batch ``number`` belongs to."""
        # An epoch can be empty when all buckets are smaller than a batch; bisect finds the last epoch that
        # starts here.
        upper = (number + 1 + len(self.members)) * self.batch // max(1, self.num_pictures) + 1
        return bisect.bisect_right(range(upper + 1), number, key=self.batches_before) - 1

    def __getitem__(self, number: int) -> MicroBatch:
        """Micro-batch ``number``, counted from 0 over the whole run."""
        epoch = self.epoch_of(number)
        bucket, index = self._order(epoch)[number - self.batches_before(epoch)]
        pictures = self.members[bucket]
        first = index * self.batch
        draws = []
        for place in range(self.batch):
            turn, at = divmod(first + place, len(pictures))
            draws.append(Draw(self._permutation(bucket, turn)[at], turn, number * self.batch + place))
        return MicroBatch(bucket, tuple(draws))

    def _shuffled_epoch(self, epoch: int) -> list[tuple[Size, int]]:
        """(bucket, number of the batch within its bucket's stream) for every batch of an epoch, in order of
        training."""
        batches = [
            (bucket, index)
            for bucket, pictures in self.members.items()
            for index in range(len(pictures) * epoch // self.batch, len(pictures) * (epoch + 1) // self.batch)
        ]
        order = torch.randperm(len(batches), generator=generator(self.seed, "batch order", epoch))
        return [batches[i] for i in order.tolist()]

    def _shuffled_bucket(self, bucket: Size, epoch: int) -> list[int]:
        """The pictures of a bucket in the order of one epoch."""
        pictures = self.members[bucket]
        order = torch.randperm(len(pictures), generator=generator(self.seed, "pictures", *bucket, epoch))
        return [pictures[i] for i in order.tolist()]


def share_of(batch: MicroBatch, rank: int, world: int) -> tuple[Draw, ...]:
    """The draws of one device: the micro-batch is dealt out like cards."""
    return batch.draws[rank::world]
