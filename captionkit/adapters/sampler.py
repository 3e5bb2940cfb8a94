"""The order of an epoch with what every draw needs: which epoch it is, and which repeat of the picture."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence, Sized
from operator import index as whole
from typing import Any, NamedTuple, SupportsIndex, TypeAlias

from captionkit.errors import DataError

Indices: TypeAlias = Iterable[int] | Iterable[Sequence[int]]
"""A sampler (indices) or a batch sampler (lists of them); each pass over it is an epoch."""


_NO_GENERATOR = object()


class Pick(NamedTuple):
    """One draw of an epoch, as `CaptionDataset` takes it in place of an index."""

    place: int
    """The index in the data set."""
    epoch: int
    draw: int = 0
    """How often this index came before in the same epoch."""
    samples: int | None = None
    """How many samples of the run came before, where that is known."""


class EpochSampler:
    """A sampler or batch sampler of yours, handing out `Pick`s in place of indices.

    Made in the main process, where the whole order is known, so that any number of workers agree, and so that
    an index that comes twice in an epoch gets two texts. Nothing has to be shared with the workers.

    It works as `sampler=` or `batch_sampler=` of PyTorch's `DataLoader` and of torchdata's
    `StatefulDataLoader`, which saves and restores its place: the epoch and how much of it is done. For that,
    `sampler` must give one order for one epoch: by itself, by `set_epoch` (as `DistributedSampler`), or by a
    `generator` whose state is then part of ours (`RandomSampler(dataset, generator=torch.Generator())`).

    `rank` of `num_ranks`: give these where several ranks may be dealt the same index in one epoch, as by a
    `WeightedRandomSampler` on each; the repeats of one rank then never draw what another rank draws.
    `samples_per_epoch`, by all ranks together, is what recipes that follow the samples seen need; by default
    the length of `sampler` times `num_ranks`, and unknown for a batch sampler.
    """

    def __init__(
        self,
        sampler: Indices,
        *,
        epoch: int = 0,
        rank: int = 0,
        num_ranks: int = 1,
        samples_per_epoch: int | None = None,
    ) -> None:
        if not 0 <= rank < num_ranks:
            raise DataError(f"rank is {rank} of {num_ranks}, must be between 0 and {num_ranks - 1}")
        self.sampler = sampler
        self.rank, self.num_ranks = rank, num_ranks
        self.samples_per_epoch = samples_per_epoch
        self.epoch = epoch

    def set_epoch(self, epoch: int) -> None:
        """The next pass is this epoch; handed on to a sampler that has `set_epoch` too."""
        self.epoch = whole(epoch)
        self.hand_on(self.epoch)

    def hand_on(self, epoch: int) -> None:
        """Tell the samplers inside which epoch it is, those that ask."""
        for inner in _chain(self.sampler):
            if callable(set_epoch := getattr(inner, "set_epoch", None)):
                set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.sampler)  # type: ignore[arg-type]  # Its error is the caller's.

    def __iter__(self) -> Picks:
        return Picks(self)


class Picks(Iterator[Any]):
    """One pass over an `EpochSampler`, picks or lists of them; its place can be saved and restored."""

    def __init__(self, of: EpochSampler) -> None:
        self._of = of
        self._restart(of.epoch)

    def _restart(self, epoch: int) -> None:
        self._epoch = epoch
        self._entries: Iterator[Any] | None = None
        self._generator: Any = None  # The state of the sampler's generator before the pass.
        self._num_yielded = 0
        self._num_samples = 0
        self._times = array("I")  # How often each index came; a number each, also for millions of them.

    def __next__(self) -> Pick | list[Pick]:
        if self._entries is None:
            self._of.hand_on(self._epoch)
            generator = _generator(self._of.sampler)
            self._generator = None if generator is None else generator.get_state()
            self._entries = iter(self._of.sampler)
        entry = next(self._entries)
        self._num_yielded += 1
        per_epoch = self._of.samples_per_epoch
        if isinstance(entry, list | tuple):
            return [self._pick(index, per_epoch) for index in entry]
        if per_epoch is None and isinstance(self._of.sampler, Sized):
            per_epoch = len(self._of.sampler) * self._of.num_ranks
        return self._pick(entry, per_epoch)

    def _pick(self, index: Any, per_epoch: int | None) -> Pick:
        if not isinstance(index, SupportsIndex) or isinstance(index, bool) or whole(index) < 0:
            raise DataError(f"a sampler must give indices, whole numbers from 0 on, got {index!r}")
        of, times, place = self._of, self._times, whole(index)
        if place >= len(times):
            times.extend([0] * (place + 1 - len(times) + len(times) // 2))
        draw = times[place] * of.num_ranks + of.rank
        times[place] += 1
        before = None if per_epoch is None else self._epoch * per_epoch + self._num_samples * of.num_ranks
        self._num_samples += 1
        return Pick(place, self._epoch, draw, before)

    def state_dict(self) -> dict[str, Any]:
        """The epoch, how many entries of it were given out, and the state of the sampler's generator.

        Raises `DataError` for a random sampler without a generator: no one could find its order again.
        """
        generator = _generator(self._of.sampler, restorable=True)
        state = generator.get_state() if generator is not None and self._entries is None else self._generator
        return {"epoch": self._epoch, "num_yielded": self._num_yielded, "generator": state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the state was saved; the epoch becomes the sampler's.

        Raises `DataError` when the sampler's epoch is over before that place.
        """
        self._of.set_epoch(state["epoch"])
        generator = _generator(self._of.sampler, restorable=True)
        if generator is not None and state["generator"] is not None:
            generator.set_state(state["generator"])
        self._restart(state["epoch"])
        for passed in range(state["num_yielded"]):
            try:
                next(self)
            except StopIteration:
                raise DataError(
                    f"the state was saved after {state['num_yielded']} entries of an epoch, "
                    f"which has {passed} here",
                    hint="go on with the same data and sampler, or begin a new epoch",
                ) from None


def _chain(sampler: Any) -> Iterator[Any]:
    """The sampler, and those that it draws from: a batch sampler has one."""
    while sampler is not None:
        yield sampler
        sampler = getattr(sampler, "sampler", None)


def _generator(sampler: Any, *, restorable: bool = False) -> Any:
    """The torch generator that decides the order; None when none does."""
    for inner in _chain(sampler):
        generator = getattr(inner, "generator", _NO_GENERATOR)
        if generator is None and restorable:
            raise DataError(
                f"the order of a {type(inner).__name__} without a generator cannot be restored",
                hint="give it one: generator=torch.Generator().manual_seed(1)",
            )
        if generator is not _NO_GENERATOR:
            return generator
    return None
