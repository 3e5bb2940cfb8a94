"""Which pictures are trained together, as a pure function of (seed, micro-batch number).

Micro-batches are cut from the streams of the buckets, so a remainder that does not fill a batch at the end of
a pass opens the bucket's first batch of the next: nothing is dropped, nothing is repeated, no small batch
counts for more. Within a pass the batches of all buckets are shuffled. A micro-batch has one shape over all
devices; each device takes its slice.

Nothing here is stateful. Resuming means asking for the next number. Where something changes (another batch,
other devices, the buckets of another phase) a new plan begins with what the old one owes: `owed_after`.
"""

from __future__ import annotations

import bisect
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trainkit.buckets import Size
from trainkit.draw import Draw
from trainkit.draws import generator
from trainkit.quota import Indices, Quota
from trainkit.streams import Owed, Streams, Visits, joined
from trainkit.windows import POOL, Window


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """The draws of one micro-batch over all devices, all of one bucket."""

    bucket: Size
    draws: tuple[Draw, ...]


class BatchPlan:
    """The micro-batches of a stretch of a run, numbered from 0.

    ``buckets[index[i]]`` is the bucket of picture i; ``batch`` the number of samples in a micro-batch over
    all devices; ``weights[i]`` how often picture i is drawn in a pass, on average (None: once each). A bucket
    with fewer draws in a pass than ``batch`` waits until several passes fill one; then a picture can stand
    twice in a micro-batch, each time with its own caption and noise. A later stretch begins with what the one
    before it owes, and counts samples from ``first_sample``.
    """

    def __init__(
        self,
        buckets: Sequence[Size],
        index: Sequence[int] | NDArray[np.integer[Any]],
        batch: int,
        seed: int,
        *,
        weights: NDArray[np.float32] | None = None,
        owed: Owed | None = None,
        first_sample: int = 0,
        window: Window | None = None,
    ) -> None:
        quota = Quota(seed, weights)
        self._streams = Streams(buckets, np.asarray(index), quota, owed or Owed())
        self._given = (tuple(buckets), np.asarray(index), batch, seed, weights, owed, first_sample, window)
        self.batch = batch
        self.seed = seed
        self.first_sample = first_sample
        self.num_pictures = self._streams.num_pictures
        self.mean_pass = quota.mean_pass(self.num_pictures)
        self.window = window
        self._order = functools.lru_cache(maxsize=2)(self._shuffled_pass)
        self._sorted = functools.lru_cache(maxsize=2 * POOL)(self._sorted_window)

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy in a worker process is made anew; caches cannot be pickled."""
        return _again, self._given

    @property
    def weights(self) -> NDArray[np.float32] | None:
        """[N]: how often each picture is drawn in a pass, on average; None: each once."""
        return self._streams.quota.weights

    @property
    def members(self) -> dict[Size, Indices]:
        """The pictures of every bucket that has any."""
        return dict(zip(self._streams.sizes, self._streams.members, strict=True))

    def batches_before(self, epoch: int) -> int:
        """Number of this plan's micro-batches before pass ``epoch`` of the run."""
        return int((self._streams.ends_before(epoch) // self.batch).sum())

    def epoch_of(self, number: int) -> int:
        """The pass of the run that micro-batch ``number`` belongs to."""
        # A pass can be empty when all buckets are smaller than a batch; bisect finds the last one that starts
        # here.
        oldest, owed = self._streams.oldest, self._streams.owed
        needed = (number + 1 + len(self._streams.sizes)) * self.batch + self.num_pictures
        upper = owed.first_epoch + math.ceil(needed / self.mean_pass) + 1
        return oldest + bisect.bisect_right(range(oldest, upper + 1), number, key=self.batches_before) - 1

    def __getitem__(self, number: int) -> MicroBatch:
        """Micro-batch ``number``, counted from 0."""
        epoch = self.epoch_of(number)
        buckets, indices = self._order(epoch)
        at = number - self.batches_before(epoch)
        bucket, index = int(buckets[at]), int(indices[at])
        if self.window is None:
            visits = self._streams.at(bucket, index * self.batch, self.batch, epoch)
        else:
            first = int(self._first_and_end(epoch)[0][bucket])
            turn, place = divmod(index - first, self.window.size)
            visits = self._sorted(epoch, bucket, turn).take(
                slice(place * self.batch, (place + 1) * self.batch)
            )
        sample = self.first_sample + number * self.batch
        return MicroBatch(self._streams.sizes[bucket], _draws(visits, range(sample, sample + self.batch)))

    def prepare(self, number: int) -> None:
        """Work out what all micro-batches of the pass of ``number`` need, so that worker processes that are
        forked from here share it."""
        epoch = self.epoch_of(number)
        self._order(epoch)
        self._streams.prepare(epoch)

    def owed_after(self, number: int) -> Owed:
        """What the passes that have begun owe after micro-batches 0 to ``number - 1``."""
        if number == 0:
            return self._streams.owed
        epoch = self.epoch_of(number - 1)
        buckets, indices = self._order(epoch)
        used = number - self.batches_before(epoch)
        # Taken so far, and in this pass: batches of one bucket are taken in any order within a pass.
        order = np.argsort(buckets[:used], kind="stable")
        ends = np.cumsum(np.bincount(buckets[:used], minlength=len(self._streams.sizes)))
        taken = np.split(indices[:used][order], ends[:-1])
        after = max(epoch + 1, self._streams.owed.first_epoch)
        left = [self._left(bucket, epoch, after, part) for bucket, part in enumerate(taken)]
        return Owed(joined(left), after)

    def _left(self, bucket: int, epoch: int, after: int, taken: NDArray[np.int64]) -> Visits:
        """What is left of a bucket's visits before pass ``after``, when of pass ``epoch`` the batches
        ``taken`` are gone, and all those before it."""
        first, end = (int(found[bucket]) for found in self._first_and_end(epoch))
        gone = np.zeros(end - first, dtype=np.bool_)
        gone[taken - first] = True
        # What is gone at the beginning need not be looked at: at the end of a pass that is nearly all.
        size = 1 if self.window is None else self.window.size
        skipped = int(np.argmin(gone)) if not gone.all() else len(gone)
        skipped -= skipped % size if skipped < len(gone) else 0
        begin = (first + skipped) * self.batch
        count = int(self._streams.ends_before(after)[bucket]) - begin
        visits = self._streams.at(bucket, begin, count, after - 1)
        gone = gone[skipped:]
        if self.window is not None:
            visits = self._with_sorted(visits, bucket, epoch, skipped // size, gone)
        rest = np.ones(len(visits), dtype=np.bool_)
        rest[: len(gone) * self.batch] = np.repeat(~gone, self.batch)
        return visits.take(rest)

    def _with_sorted(
        self, visits: Visits, bucket: int, epoch: int, first_turn: int, gone: NDArray[np.bool_]
    ) -> Visits:
        """The visits in the order that their windows give them, as far as it matters which are left: a window
        of which nothing or everything is gone need not be sorted."""
        assert self.window is not None
        parts: list[Visits] = []
        size = self.window.size
        for turn in range(-(-len(gone) // size)):
            of_window = gone[turn * size : (turn + 1) * size]
            place = slice(turn * size * self.batch, (turn * size + len(of_window)) * self.batch)
            half = of_window.any() and not of_window.all()
            parts.append(self._sorted(epoch, bucket, first_turn + turn) if half else visits.take(place))
        return joined([*parts, visits.take(slice(len(gone) * self.batch, None))])

    def _first_and_end(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """[buckets] each: which of every stream's batches stand in a pass."""
        ends = self._streams.ends_before
        return ends(epoch) // self.batch, ends(epoch + 1) // self.batch

    def _shuffled_pass(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The bucket of every batch of a pass, and its number in the bucket's stream, in order of
        training."""
        first, end = self._first_and_end(epoch)
        counts = end - first
        buckets = np.repeat(np.arange(len(counts)), counts)
        begins = np.cumsum(counts) - counts
        places = np.arange(len(buckets)) - np.repeat(begins, counts)
        rng = generator(self.seed, "batch order", epoch)
        order = torch.randperm(len(buckets), generator=rng, dtype=torch.int32).numpy()
        if self.window is not None:
            # Whole windows are shuffled; then the batches of every few of them.
            turns = places // self.window.size
            window = np.cumsum(
                (turns != np.roll(turns, 1)) | (buckets != np.roll(buckets, 1)) | (places == 0)
            )
            shuffled = torch.randperm(int(window[-1]) + 1 if len(window) else 1, generator=rng).numpy()
            order = order[np.argsort(shuffled[window[order]] // POOL, kind="stable")]
        return buckets[order], (places + first[buckets])[order]

    def _sorted_window(self, epoch: int, bucket: int, turn: int) -> Visits:
        """The visits of the ``turn``-th window of a bucket in a pass, in the order of their chunks.

        They are counted as if all were drawn where the pass begins: a curve over samples may make a caption
        shorter or longer by the time it is trained.
        """
        assert self.window is not None
        first, end = (int(found[bucket]) for found in self._first_and_end(epoch))
        begin = first + turn * self.window.size
        size = min(self.window.size, end - begin)
        visits = self._streams.at(bucket, begin * self.batch, size * self.batch, epoch)
        sample = self.first_sample + self.batches_before(epoch) * self.batch
        chunks = [self.window.chunks(draw) for draw in _draws(visits, [sample] * len(visits))]
        return visits.take(np.argsort(np.array(chunks), kind="stable"))


def _draws(visits: Visits, samples: Sequence[int]) -> tuple[Draw, ...]:
    columns = (visits.pictures.tolist(), visits.epochs.tolist(), visits.draws.tolist(), samples)
    return tuple(Draw(*row) for row in zip(*columns, strict=True))


def _again(
    buckets: tuple[Size, ...],
    index: NDArray[np.integer[Any]],
    batch: int,
    seed: int,
    weights: NDArray[np.float32] | None,
    owed: Owed | None,
    first_sample: int,
    window: Window | None,
) -> BatchPlan:
    return BatchPlan(
        buckets, index, batch, seed, weights=weights, owed=owed, first_sample=first_sample, window=window
    )


def share_of(batch: MicroBatch, rank: int, world: int) -> tuple[Draw, ...]:
    """The draws of one device: the micro-batch is dealt out like cards."""
    return batch.draws[rank::world]
