"""From two recipes and data to what differs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import NormalDist

from captionkit.compare.paired import CUT, EMPTY, FROM, MIRRORED, TOKENS, Pairing, Pairs
from captionkit.compare.result import Comparison, Difference
from captionkit.compare.settings import changed_settings
from captionkit.errors import DataError
from captionkit.pipeline import CaptionPipeline
from captionkit.progress import progress
from captionkit.readers.parallel import map_blocks
from captionkit.readers.source import Block, Report, Source, strict
from captionkit.record import Source as TextSource
from captionkit.stats.chosen import Chosen, id_hash, share_of_sample
from captionkit.stats.gather import InMemory

CONFIDENCE = 0.95


def compare(
    a: CaptionPipeline,
    b: CaptionPipeline,
    source: Source,
    *,
    recipes: tuple[str, str] = ("a", "b"),
    data: str = "data",
    sample: int = 20_000,
    draws: int = 4,
    epoch: int = 0,
    samples: int | None = None,
    processes: int = 1,
    examples: int = 4,
    report: Report = strict,
) -> Comparison:
    """What the second recipe makes different, over the same draws of the same `sample` records.

    Draws hang on addresses, so that whatever the change does not touch comes out the same in both: a text
    that differs, differs by the change. With another seed everything is drawn anew.

    Bad records are reported and skipped. Raises `DataError` when no record could be read.
    """
    num_records, chosen = _chosen(source, sample, processes, report)
    if num_records == 0:
        raise DataError("no record could be read", where=data, hint="what is wrong with each was reported")
    pairing = Pairing(a, b, draws, epoch, samples, examples)
    pairs, held = Pairs(), InMemory(chosen.records())
    with progress("drawing", held.unit, held.total()) as done:
        for amount, part in map_blocks(pairing, held, processes=processes, report=strict):
            pairs.merge(part, examples)
            done(amount)
    tags = list(_tags(pairs, draws))
    return Comparison(
        *recipes,
        data,
        changed_settings(a, b),
        num_records,
        pairs.num_records,
        draws,
        pairs.num_records * draws,
        pairs.texts_changed,
        pairs.flips_changed,
        pairs.may_flip_a,
        pairs.may_flip_b,
        tuple(_figures(pairs, draws)),
        tuple(sorted((tag for tag in tags if tag.clear), key=lambda tag: (-abs(tag.by), tag.name))),
        len(tags),
        tuple(pairs.examples),
    )


def _figures(pairs: Pairs, draws: int) -> Iterator[Difference]:
    known = [*(FROM + source for source in TextSource), EMPTY, CUT, MIRRORED, TOKENS]
    for name in known:
        yield pairs.figures.difference(name, pairs.num_records, draws, _z(1))


def _tags(pairs: Pairs, draws: int) -> Iterator[Difference]:
    """Every tag that is said under one of the recipes or that a record has."""
    new = (pairs.new_tags.a.keys() | pairs.new_tags.b.keys()) - pairs.had.keys()
    z = _z(len(pairs.had) + len(new))
    for name in pairs.had:
        yield pairs.tags.difference(name, pairs.had[name], draws, z)
    for name in new:
        yield pairs.new_tags.difference(name, pairs.num_records, draws, z)


def _z(number: int) -> float:
    """How many standard deviations wide an interval is to each side, so that all of `number` intervals
    together hold the truth in 95 cases of 100 (Bonferroni)."""
    return NormalDist().inv_cdf(1.0 - (1.0 - CONFIDENCE) / (2 * max(1, number)))


def _chosen(source: Source, sample: int, processes: int, report: Report) -> tuple[int, Chosen]:
    """How many records there are, and those to look at: the same that `stats` looks at."""
    num_records, chosen = 0, Chosen(sample)
    with progress("reading", source.unit, source.total()) as done:
        choosing = _Choosing(sample, source.total())
        for amount, part in map_blocks(choosing, source, processes=processes, report=report):
            num_records += part.num_records
            chosen.merge(part.chosen)
            done(amount)
    return num_records, chosen


@dataclass
class _Part:
    """How many records a block holds, and those of it that may be chosen."""

    chosen: Chosen = field(default_factory=lambda: Chosen(0))
    num_records: int = 0


@dataclass(frozen=True)
class _Choosing:
    """Chooses among the records of a block."""

    sample: int
    total: int | None

    def __call__(self, block: Block, report: Report) -> _Part:
        part = _Part(Chosen(self.sample))
        for record in block.records(report):
            part.num_records += 1
            part.chosen.add(id_hash(record.id), record)
        part.chosen.cut(share_of_sample(self.sample, block.amount, self.total))
        return part
