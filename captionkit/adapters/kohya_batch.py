"""One batch of kohya sd-scripts: while it is made, each picture's subset says what the recipe has drawn."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple

from captionkit.adapters.lookup import Records
from captionkit.draws import Draws
from captionkit.errors import CaptionkitError
from captionkit.pipeline import CaptionPipeline
from captionkit.readers.kohya_caption import parse_lines
from captionkit.readers.kohya_options import FACTS, facts_of
from captionkit.record import Record, Rendered

_PIXELS = "#pixels"  # No step can have this address: a name holds no `#`.


class Moment(NamedTuple):
    """When a batch is made."""

    epoch: int
    samples: int


@dataclass(frozen=True)
class Making:
    """What the captions are made of."""

    pipeline: CaptionPipeline
    unmirrored: CaptionPipeline
    """The same, for subsets whose pictures are never mirrored."""
    records: Records
    warn: Callable[[str, str], None]
    """Says a thing once for all that it is about."""


class DrawnSubset:
    """A subset as it is, but for `flip_aug`, which says whether this one picture is mirrored."""

    def __init__(self, subset: Any, rendered: Rendered) -> None:
        self.subset = subset
        self.rendered = rendered
        self.flip_aug = rendered.flip
        self.text_taken = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.subset, name)


class Batch(Mapping[str, Any]):
    """Stands for `dataset.image_to_subset` while one batch is made.

    sd-scripts asks it for the subset of each picture, then mirrors the picture if `subset.flip_aug` and
    `random.random() < 0.5`, and calls `process_caption(subset, caption)`. It gets a `DrawnSubset`, and the
    process's generator stands at the picture's own address; behind the batch it stands as before.
    """

    def __init__(
        self, making: Making, dataset: Any, index: int, moment: Moment, repeats: Callable[[int], list[int]]
    ) -> None:
        """`repeats`: of a bucket, for each of its places, which repeat of its picture stands there."""
        self.making, self.dataset, self.moment = making, dataset, moment
        at = dataset.buckets_indices[index]
        start = at.batch_index * at.bucket_batch_size
        places = slice(start, start + at.bucket_batch_size)
        self.keys_of_batch: list[str] = list(dataset.bucket_manager.buckets[at.bucket_index][places])
        several = any(dataset.image_data[key].num_repeats > 1 for key in self.keys_of_batch)
        self.draws = repeats(at.bucket_index)[places] if several else [0] * len(self.keys_of_batch)
        self.drawn: list[DrawnSubset] = []
        self.subsets: Mapping[str, Any] = dataset.image_to_subset

    def __enter__(self) -> Batch:
        self._state = random.getstate()
        self.dataset.image_to_subset = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.dataset.image_to_subset = self.subsets
        random.setstate(self._state)

    def __getitem__(self, key: str) -> DrawnSubset:
        place = len(self.drawn)
        if place >= len(self.keys_of_batch) or self.keys_of_batch[place] != key:
            raise CaptionkitError(
                f"sd-scripts asks for the pictures of a batch in another order than is known here: {key!r}"
            )
        subset, info = self.subsets[key], self.dataset.image_data[key]
        record = self._record(info, subset)
        pipeline = self.making.pipeline if subset.flip_aug else self.making.unmirrored
        epoch, draw = self.moment.epoch, self.draws[place]
        rendered = pipeline.render(record, epoch=epoch, draw=draw, samples=self.moment.samples)
        _seed(Draws(pipeline.seed, epoch, draw, record.id), below_half=rendered.flip)
        drawn = DrawnSubset(subset, rendered)
        self.drawn.append(drawn)
        return drawn

    def __iter__(self) -> Iterator[str]:
        return iter(self.subsets)

    def __len__(self) -> int:
        return len(self.subsets)

    def _record(self, info: Any, subset: Any) -> Record:
        records = self.making.records
        found = records.find(os.path.abspath(info.absolute_path)) if len(records) else None
        if found is not None:
            return found
        if len(records):
            self.making.warn(
                f"no record belongs to {info.absolute_path}: its caption is taken as sd-scripts has read it,"
                " and so are those of all others that are not found (this is said once)",
                "no record",
            )
        return record_of_caption(info.image_key, info.caption, subset)

    @staticmethod
    def text_of(dataset: Any, subset: Any, caption: str, original: Callable[[Any, Any, str], Any]) -> Any:
        """The text that was drawn for a picture; outside a batch, that of sd-scripts.

        What textual inversion replaces is replaced, as there, except in an empty text.
        """
        if not isinstance(subset, DrawnSubset):
            return original(dataset, subset, caption)
        subset.text_taken = True
        text = subset.rendered.text
        for old, new in getattr(dataset, "replacements", {}).items() if text else ():
            if old == "":
                text = random.choice(new) if isinstance(new, list) else new
            else:
                text = text.replace(old, new)
        return text

    def check(self, example: Mapping[str, Any]) -> None:
        """Raise `CaptionkitError` where what was drawn is not what will be trained."""
        if len(self.drawn) != len(self.keys_of_batch) or not all(one.text_taken for one in self.drawn):
            raise CaptionkitError(
                "sd-scripts made a batch without asking for captions, so the recipe would have no effect",
                hint="train without --cache_text_encoder_outputs, or bake the captions into files",
            )
        flips = example.get("flippeds")
        if flips is not None and [bool(flip) for flip in flips] != [one.flip_aug for one in self.drawn]:
            raise CaptionkitError(
                "sd-scripts mirrored other pictures than the recipe said; how it decides is not known here",
                hint="set flip_aug = false, or bake subsets with and without it",
            )


def record_of_caption(key: str, caption: str | None, subset: Any) -> Record:
    """The record of a caption that sd-scripts has read: its id is the image key, its facts the subset's.

    As `KohyaDatasetSource` makes it: of several lines the first gives tags and sentences, without
    `enable_wildcard` it is the only one.
    """
    lines = (caption or "").split("\n")
    text = parse_lines(
        lines if getattr(subset, "enable_wildcard", False) else lines[:1],
        getattr(subset, "caption_separator", None) or ",",
        getattr(subset, "keep_tokens_separator", None) or "",
    )
    values = {name: getattr(subset, name, None) for name in FACTS}
    name = getattr(subset, "metadata_file", None) or subset.image_dir
    facts = facts_of(values, str(name)) | text.facts()
    return Record(key.replace("\\", "/"), text.tags, text.prose, info=facts)


def _seed(draws: Draws, *, below_half: bool) -> None:
    """Seed the process's generator from an address; its first number is below 0.5 if that is asked for."""
    number = int(draws.child(_PIXELS).random() * 2**53)
    random.seed(number)
    while below_half and random.random() >= 0.5:
        number += 1 << 53
        random.seed(number)
    if below_half:
        random.seed(number)
