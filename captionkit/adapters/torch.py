"""Captions in your PyTorch data set: the text of the epoch, and the picture mirrored where that is drawn."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from operator import index as whole
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeAlias

from captionkit.adapters.epoch import SharedEpoch
from captionkit.adapters.pictures import mirrored as mirrored
from captionkit.adapters.sampler import EpochSampler as EpochSampler
from captionkit.adapters.sampler import Pick as Pick
from captionkit.adapters.samples import Captioned, Place
from captionkit.errors import DataError
from captionkit.needs import needed
from captionkit.pipeline import CaptionPipeline
from captionkit.record import Record

RecordOf: TypeAlias = Callable[[Any], Record]
"""From a sample to its record."""

_MOST_NAMES = 10_000
"""Among so many names the nearest is looked for, when one is unknown."""


if TYPE_CHECKING:
    from torch.utils.data import Dataset, IterableDataset

    MapStyle: TypeAlias = Dataset[Any]
else:
    # The loader calls the methods and asks for no class; so PyTorch need not be imported for it.
    MapStyle = object


class CaptionDataset(MapStyle):
    """A map-style data set whose samples carry a text, and pictures mirrored where the draw says so.

    `records` has the record of every sample: a sequence in the data set's order, a mapping (by `key`: where
    the key stands in a sample, or a function of the sample), or a function of the sample. What a sample
    becomes is said by `captioned`.

    Which draw a sample gets:

    - an index `i`: the epoch of `epoch`, which workers share (`set_epoch`), and draw 0. With `repeats=n` the
      data set is n times as long, entry `i` is sample `i % size` with draw `i // size`.
    - a `Pick`, from an `EpochSampler`: its own epoch and draw. A sampler that gives an index twice in one
      epoch needs this: an index alone cannot tell the second time from the first, which gives the same text.
    """

    def __init__(
        self,
        dataset: Any,
        records: Sequence[Record] | Mapping[Any, Record] | RecordOf,
        pipeline: CaptionPipeline,
        *,
        key: Place | Callable[[Any], Hashable] | None = None,
        epoch: SupportsIndex = 0,
        repeats: int = 1,
        captioned: Captioned = Captioned(),  # noqa: B008  # A frozen value.
    ) -> None:
        """Raises `DataError` for a sequence of another length than the data set, for a mapping without
        `key`, and for `repeats` below 1."""
        self.dataset = dataset
        self.records = records
        self.pipeline = pipeline
        self.key = key
        self.epoch = SharedEpoch.of(epoch)
        self.repeats = repeats
        self.captioned = captioned
        if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 1:
            raise DataError(f"repeats must be a whole number from 1 on, got {repeats!r}")
        if isinstance(records, Mapping):
            if key is None:
                raise DataError(
                    "records by name need `key`",
                    hint='say where the name stands in a sample, such as key="file_name"',
                )
        elif key is not None:
            raise DataError("`key` needs records by name, a mapping", hint="leave it out")
        elif not callable(records) and len(records) != len(dataset):
            raise DataError(
                f"there are {len(records)} records for {len(dataset)} samples",
                hint="give the records in the data set's order, or a mapping and `key`",
            )

    def set_epoch(self, epoch: SupportsIndex) -> None:
        """The epoch for this process and for all workers; call it before the loop over the loader."""
        self.epoch.set(epoch)

    def __len__(self) -> int:
        return self.repeats * len(self.dataset)

    def __getitem__(self, key: SupportsIndex | Pick) -> Any:
        pick = self._pick(key)
        return self._captioned(self.dataset[pick.place], pick)

    def __getitems__(self, keys: list[SupportsIndex | Pick]) -> list[Any]:
        """Several samples at once, as the loader asks for them: at once too from a data set that can."""
        picks = [self._pick(key) for key in keys]
        indices = [pick.place for pick in picks]
        at_once = getattr(self.dataset, "__getitems__", None)
        samples = [self.dataset[i] for i in indices] if at_once is None else at_once(indices)
        return [self._captioned(sample, pick) for sample, pick in zip(samples, picks, strict=True)]

    def _pick(self, key: SupportsIndex | Pick) -> Pick:
        """The draw that an index or a pick stands for; its index is one of the data set inside."""
        pick = key if isinstance(key, Pick) else Pick(whole(key), self.epoch.get())
        size = len(self.dataset)
        index = pick.place + len(self) if pick.place < 0 else pick.place
        if not 0 <= index < len(self):
            raise IndexError(f"there is no sample {pick.place}; there are {len(self)}")
        return pick._replace(place=index % size, draw=pick.draw * self.repeats + index // size)

    def _captioned(self, sample: Any, pick: Pick) -> Any:
        where = f"sample {pick.place}"
        records = self.records
        if not isinstance(records, Mapping) and not callable(records):
            record = records[pick.place]
        else:
            record = _record(records, self.key, sample, where)
        rendered = self.pipeline.render(record, epoch=pick.epoch, draw=pick.draw, samples=pick.samples)
        return self.captioned.add(sample, rendered, where)


class CaptionStream:
    """What `CaptionIterable` does; that one is an `IterableDataset` besides, as the loader wants."""

    def __init__(
        self,
        dataset: Iterable[Any],
        records: Mapping[Any, Record] | RecordOf,
        pipeline: CaptionPipeline,
        *,
        key: Place | Callable[[Any], Hashable] | None = None,
        epoch: SupportsIndex = 0,
        draw: Place | Callable[[Any], int] | None = None,
        captioned: Captioned = Captioned(),  # noqa: B008  # A frozen value.
    ) -> None:
        """`draw` says which repeat within the epoch a sample is: where it stands in the sample, or a function
        of the sample. Without it, all of an epoch are draw 0: a worker cannot count what others give out."""
        if isinstance(records, Mapping) == (key is None):
            raise DataError("give records by name and `key`, or a function from sample to record")
        self.dataset = dataset
        self.records = records
        self.pipeline = pipeline
        self.key = key
        self.epoch = SharedEpoch.of(epoch)
        self.draw = draw
        self.captioned = captioned
        self._num_given, self._ended = 0, False
        self._pass_epoch: int | None = None
        self._restored: dict[str, Any] | None = None

    def set_epoch(self, epoch: SupportsIndex) -> None:
        """The epoch for this process and for all workers; handed on to a data set that has `set_epoch`."""
        self.epoch.set(epoch)
        if callable(hand_on := getattr(self.dataset, "set_epoch", None)):
            hand_on(self.epoch.get())

    def __iter__(self) -> Iterator[Any]:
        # Not a generator itself: a state belongs to the pass that begins next, though nothing be taken of it.
        restored, self._restored = self._restored, None
        self._num_given = 0 if restored is None else restored["num_given"]
        self._ended = restored is not None and restored["ended"]
        return iter(()) if self._ended else self._pass(restored)

    def _pass(self, restored: dict[str, Any] | None) -> Iterator[Any]:
        skip = restored["num_given"] if restored is not None and restored["inner"] is None else 0
        begun_at = self.epoch.get()
        for sample in islice(self.dataset, skip, None):
            epoch = self.epoch.get()
            # The pass that goes on is in the epoch of its state, until somebody sets another.
            if restored is not None and epoch == begun_at:
                epoch = restored["epoch"]
            self._pass_epoch = epoch
            captioned = self._captioned(sample, epoch)
            self._num_given += 1
            yield captioned
        self._ended = True

    def state_dict(self) -> dict[str, Any]:
        """The epoch, how many samples of it this worker has given, and the data set's own state if it has
        one. Without one, going on passes over that many samples, unrendered."""
        save = getattr(self.dataset, "state_dict", None)
        return {
            "epoch": self.epoch.get() if self._pass_epoch is None else self._pass_epoch,
            "num_given": self._num_given,
            "ended": self._ended,
            "inner": save() if callable(save) else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The next pass goes on where the state was saved, in its epoch."""
        if state["inner"] is not None and not state["ended"]:
            self.dataset.load_state_dict(state["inner"])  # type: ignore[attr-defined]
        self._restored = state

    def _captioned(self, sample: Any, epoch: int) -> Any:
        where = "a sample of the stream"
        record = _record(self.records, self.key, sample, where)
        draw = 0 if self.draw is None else whole(_at(self.draw, sample, where))
        return self.captioned.add(sample, self.pipeline.render(record, epoch=epoch, draw=draw), where)


if TYPE_CHECKING:

    class CaptionIterable(CaptionStream, IterableDataset[Any]):
        """An iterable data set whose samples carry a text, and pictures mirrored where the draw says so.

        `records` is a mapping, by `key`, or a function of the sample. How the samples are shared among
        workers is the inner data set's business. For torchdata's `StatefulDataLoader` it can save and restore
        its place.
        """


def __getattr__(name: str) -> Any:
    """`CaptionIterable`, made when it is first asked for: PyTorch's class must be its parent."""
    if name != "CaptionIterable":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    data = needed("torch.utils.data", "train", "an iterable data set for PyTorch")
    made = type(
        name,
        (CaptionStream, data.IterableDataset),
        {"__module__": __name__, "__qualname__": name, "__doc__": CaptionStream.__doc__},
    )
    globals()[name] = made
    return made


def collate(samples: Sequence[Any]) -> Any:
    """A batch of samples: tensors and arrays stacked, numbers and flips as one tensor, all else as lists.

    Texts stay texts, PIL images stay images. Raises `DataError` for pictures of different sizes.
    """
    first = samples[0]
    if isinstance(first, Mapping):
        return {name: _joined([sample[name] for sample in samples], repr(name)) for name in first}
    if isinstance(first, tuple | list):
        columns = zip(*samples, strict=True)
        return tuple(_joined(list(column), f"entry {place}") for place, column in enumerate(columns))
    return _joined(list(samples), "the sample")


def _joined(values: list[Any], what: str) -> Any:
    torch = needed("torch", "train", "a batch of tensors")
    first = values[0]
    if type(first).__module__ == "numpy":
        values = [torch.as_tensor(value) for value in values]
        first = values[0]
    if isinstance(first, torch.Tensor):
        if len(shapes := {tuple(value.shape) for value in values}) > 1:
            raise DataError(
                f"the tensors of one batch have different shapes: {', '.join(map(str, sorted(shapes)))}",
                where=what,
                hint="crop or resize pictures to one size, or sort them into buckets with a batch sampler",
            )
        return torch.stack(values)
    if isinstance(first, bool | int | float) and all(type(value) is type(first) for value in values):
        return torch.tensor(values)
    return values


def _record(
    records: Mapping[Any, Record] | RecordOf,
    key: Place | Callable[[Any], Hashable] | None,
    sample: Any,
    where: str,
) -> Record:
    if not isinstance(records, Mapping):
        made = records(sample)
        if not isinstance(made, Record):
            raise DataError(
                f"the function of records gave a {type(made).__name__}, must be a Record", where=where
            )
        return made
    assert key is not None
    name = _at(key, sample, where)
    record = records.get(name)
    if record is None:
        near = get_close_matches(str(name), map(str, islice(records, _MOST_NAMES)), 1)
        raise DataError(
            f"there is no record {name!r} among {len(records)}",
            where=where,
            hint=f"the nearest is {near[0]!r}" if near else "`key` must give the names that `records` has",
        )
    return record


def _at(place: Place | Callable[[Any], Any], sample: Any, where: str) -> Any:
    if callable(place):
        return place(sample)
    try:
        return sample[place]
    except (KeyError, IndexError, TypeError):
        there = ", ".join(map(repr, sample)) if isinstance(sample, Mapping) else type(sample).__name__
        raise DataError(f"there is nothing at {place!r}; the sample is {there}", where=where) from None
