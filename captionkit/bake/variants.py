"""The captions of one picture that are written to a file, and what is counted about them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property

from captionkit.changes import changes_over_the_run
from captionkit.pipeline import CaptionPipeline
from captionkit.record import Record
from captionkit.writers.pictures import Picture
from captionkit.writers.target import Losses


@dataclass(frozen=True, slots=True)
class Baked:
    """One picture with its captions."""

    id: str
    picture: Picture
    texts: tuple[str, ...]
    may_flip: bool
    """Whether a trainer that cannot change the text may mirror the picture."""
    repeats: int = 1
    """How often an epoch takes it, by the fact `kohya.num_repeats`."""
    is_reg: bool = False
    """Whether it is there for regularization, by the fact `kohya.is_reg`."""


@dataclass(frozen=True)
class Variants:
    """Which captions are written: draws 0 to `k` - 1 of one epoch of a pipeline.

    They are drawn as of pictures that are not mirrored, for whether a picture is mirrored will be drawn by
    the trainer, which cannot change the text with it. So a picture may be mirrored only when its record
    allows it and says the same of the mirrored picture: with `mirror = "swap"` not when it speaks of left
    or right.
    """

    pipeline: CaptionPipeline
    k: int
    epoch: int = 0
    samples: int = 0
    """Samples seen so far, for what follows over = samples."""

    @cached_property
    def _unmirrored(self) -> CaptionPipeline:
        return self.pipeline.with_settings({"flip.p": 0.0})

    def of(self, record: Record, picture: Picture) -> Baked:
        """The captions of one record."""
        drawn = self._unmirrored.render_many(record, self.k, epoch=self.epoch, samples=self.samples)
        flip = self.pipeline.flip
        may_flip = flip.may_flip(record) and flip.mirrored(record) == record
        repeats = record.fact("kohya.num_repeats")
        times = repeats if isinstance(repeats, int) and repeats > 1 else 1
        is_reg = record.fact("kohya.is_reg") is True
        return Baked(record.id, picture, tuple(one.text for one in drawn), may_flip, times, is_reg)

    @property
    def changes(self) -> bool:
        """Whether the recipe changes over the run, which files cannot."""
        return changes_over_the_run(self.pipeline)


class Tally:
    """What is counted while captions are written."""

    def __init__(self) -> None:
        self.count = Counts()
        self.losses = Losses()
        """Records that are left out."""

    def add(self, baked: Baked) -> None:
        """Count one picture."""
        count, texts = self.count, baked.texts
        empty = sum(not text.strip() for text in texts)
        count.pictures += 1
        count.texts += len(texts)
        count.distinct += len(set(texts))
        count.empty += empty
        count.all_empty += empty == len(texts)
        count.may_flip += baked.may_flip
        count.braces += sum("{" in text or "}" in text for text in texts)
        count.breaks += sum("\n" in text or "\r" in text for text in texts)

    def merge(self, other: Tally) -> None:
        """Take over what another process counted, which read later records."""
        for field in fields(Counts):
            setattr(
                self.count, field.name, getattr(self.count, field.name) + getattr(other.count, field.name)
            )
        self.losses.merge(other.losses)


@dataclass(slots=True)
class Counts:
    """Numbers of a baking."""

    pictures: int = 0
    texts: int = 0
    distinct: int = 0
    """Texts that differ from the others of their picture."""
    empty: int = 0
    """Texts of spaces alone, or of nothing."""
    all_empty: int = 0
    """Pictures all of whose texts are empty."""
    may_flip: int = 0
    """Pictures that a trainer may mirror."""
    braces: int = 0
    """Texts with a brace in them, which kohya's wildcards would read."""
    breaks: int = 0
    """Texts with a line break in them."""

    @property
    def k(self) -> int:
        """Texts of each picture."""
        return self.texts // self.pictures if self.pictures else 0

    @property
    def empty_share(self) -> float:
        """Of the texts of pictures that have others too, how many are empty."""
        texts_of_others = self.texts - self._texts_all_empty
        return (self.empty - self._texts_all_empty) / texts_of_others if texts_of_others else 0.0

    @property
    def _texts_all_empty(self) -> int:
        return self.all_empty * self.k
