"""How fast a recipe is on your own records, beside a plain loop over the same tags in the same run."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from captionkit.draws import Draws
from captionkit.pipeline import CaptionPipeline
from captionkit.record import Caption, Record
from captionkit.steps import segments, take_step

NUM_ROUNDS = 5
"""Rounds, of which the middle one counts: a machine that others use has slow ones and fast ones."""


@dataclass(frozen=True, slots=True)
class Speed:
    """Captions per second of one thread, over all records of the sample."""

    num_records: int
    tags_per_record: float
    """Mean number of tags."""
    captions: float
    """Captions per second: the middle of the rounds."""
    slowest: float
    fastest: float
    plain: float
    """Captions per second of `plain_caption` over the same tags, in turns with the pipeline."""
    steps: tuple[tuple[str, float], ...]
    """Microseconds a caption spends in each step, by its address, and in the text; in their order."""

    @property
    def ratio(self) -> float:
        """How many captions the pipeline makes in the time in which the plain loop makes one."""
        return self.captions / self.plain


def measure(pipeline: CaptionPipeline, records: Sequence[Record], *, num_rounds: int = NUM_ROUNDS) -> Speed:
    """Time the pipeline and the plain loop in turns; a first round that nobody counts warms both."""
    texts = [", ".join(tag.name for tag in record.tags) for record in records]
    rates: list[tuple[float, float]] = []
    for round_ in range(-1, num_rounds):

        def ours(epoch: int = round_) -> None:
            for record in records:
                pipeline.render(record, epoch=epoch, samples=0)

        def theirs() -> None:
            for text in texts:
                plain_caption(text)

        rates.append((len(records) / _seconds(ours), len(records) / _seconds(theirs)))
    captions = [rate for rate, _ in rates[1:]]
    return Speed(
        num_records=len(records),
        tags_per_record=sum(len(record.tags) for record in records) / len(records),
        captions=median(captions),
        slowest=min(captions),
        fastest=max(captions),
        plain=median(rate for _, rate in rates[1:]),
        steps=_by_step(pipeline, records),
    )


def plain_caption(text: str, *, keep: int = 3, rate: float = 0.15) -> str:
    """What the most used trainer does to a caption, from its documentation, with nothing around it: split at
    commas, keep the first tags, shuffle the others, drop some, join; with draws from the global generator.
    """
    tags = [tag.strip() for tag in text.split(",")]
    fixed, loose = tags[:keep], tags[keep:]
    random.shuffle(loose)
    kept = []
    for tag in loose:
        if random.random() >= rate:
            kept.append(tag)
    return ", ".join(fixed + kept)


def _by_step(pipeline: CaptionPipeline, records: Sequence[Record]) -> tuple[tuple[str, float], ...]:
    """Microseconds for each step of the pipeline and for the text: every step over all records at once, so
    that the clock itself does not count."""
    draws = [Draws(pipeline.seed, 0, 0, record.id, 0) for record in records]
    captions = [Caption.of(record) for record in records]
    spent: list[tuple[str, float]] = []
    for segment, step in zip(segments(pipeline.steps), pipeline.steps, strict=True):
        start = time.perf_counter()
        captions = [
            take_step(step, segment, caption, draw) for caption, draw in zip(captions, draws, strict=True)
        ]
        spent.append((segment, _microseconds(start, len(records))))
    start = time.perf_counter()
    for caption in captions:
        pipeline.write(caption)
    spent.append(("text", _microseconds(start, len(records))))
    start = time.perf_counter()
    for record in records:
        pipeline.may_flip(record)
    spent.append(("may flip", _microseconds(start, len(records))))
    return tuple(spent)


def _microseconds(start: float, count: int) -> float:
    return (time.perf_counter() - start) / count * 1e6


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
