"""Two recipes over the same draws of the same records: sums that can be added, so that any process counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import sqrt

from captionkit.compare.result import Difference, Example
from captionkit.pipeline import CaptionPipeline
from captionkit.readers.source import Block, Report
from captionkit.record import Caption, Drawn, Record, Source, folded_names
from captionkit.render import estimate_tokens

TOKENS, EMPTY, CUT, MIRRORED = "mean tokens", "empty", "cut by the budget", "mirrored"
FROM = "from "
"""Stands before a `Source`: the share of captions that come from it."""


@dataclass
class Sums:
    """Sums over records, by the name of what is counted."""

    a: Counter[str] = field(default_factory=Counter)
    b: Counter[str] = field(default_factory=Counter)
    squares: Counter[str] = field(default_factory=Counter)
    """Of each record's difference."""

    def add(self, a: Counter[str], b: Counter[str]) -> None:
        """Add what one record's draws came to under both recipes."""
        self.a.update(a)
        self.b.update(b)
        for name in a.keys() | b.keys():
            if by := b[name] - a[name]:
                self.squares[name] += by * by

    def merge(self, other: Sums) -> None:
        """Add those of other records."""
        self.a.update(other.a)
        self.b.update(other.b)
        self.squares.update(other.squares)

    def difference(self, name: str, num_records: int, draws: int, z: float) -> Difference:
        """The two means per draw, and where the true difference lies.

        The records are what is independent, not their draws, so that the spread is that of the records'
        differences. Two made-up records, one draw up and one down, keep it above 0 where all records agree
        (as Agresti & Min 2005 do for paired shares).
        """
        of = num_records * draws
        a, b = self.a[name] / of, self.b[name] / of
        n = num_records + 2
        mean = (self.b[name] - self.a[name]) / n
        variance = (self.squares[name] + 2) / n - mean * mean
        half = z * sqrt(max(0.0, variance) / n) / draws
        return Difference(name, a, b, mean / draws - half, mean / draws + half, num_records)


@dataclass
class Pairs:
    """What two recipes came to over some records."""

    num_records: int = 0
    texts_changed: int = 0
    flips_changed: int = 0
    may_flip_a: int = 0
    may_flip_b: int = 0
    figures: Sums = field(default_factory=Sums)
    had: Counter[str] = field(default_factory=Counter)
    """By folded name: records that have the tag."""
    tags: Sums = field(default_factory=Sums)
    """By folded name: captions that say it, of records that have it."""
    new_tags: Sums = field(default_factory=Sums)
    """The same, of records that do not."""
    examples: list[Example] = field(default_factory=list)

    def merge(self, other: Pairs, examples: int) -> None:
        """Add those of other records, and keep so many examples."""
        self.num_records += other.num_records
        self.texts_changed += other.texts_changed
        self.flips_changed += other.flips_changed
        self.may_flip_a += other.may_flip_a
        self.may_flip_b += other.may_flip_b
        self.had.update(other.had)
        for mine, theirs in zip(self._sums(), other._sums(), strict=True):
            mine.merge(theirs)
        self.examples = [*self.examples, *other.examples][:examples]

    def _sums(self) -> tuple[Sums, Sums, Sums]:
        return self.figures, self.tags, self.new_tags


@dataclass(frozen=True)
class Pairing:
    """Draws under both recipes; called with a block of records."""

    a: CaptionPipeline
    b: CaptionPipeline
    draws: int
    epoch: int
    samples: int | None
    examples: int

    def __call__(self, block: Block, report: Report) -> Pairs:
        """What the two came to over the block."""
        pairs = Pairs()
        for record in block.records(report):
            self._add(pairs, record)
        return pairs

    def _add(self, pairs: Pairs, record: Record) -> None:
        had = set(folded_names(record.tags))
        pairs.num_records += 1
        pairs.had.update(had)
        pairs.may_flip_a += self.a.may_flip(record)
        pairs.may_flip_b += self.b.may_flip(record)
        figures: tuple[Counter[str], Counter[str]] = Counter(), Counter()
        said: tuple[Counter[str], Counter[str]] = Counter(), Counter()
        shown = False
        for draw in range(self.draws):
            both = [self._drawn(pipeline, record, draw) for pipeline in (self.a, self.b)]
            for drawn, counted, names in zip(both, figures, said, strict=True):
                counted.update(_figures(drawn))
                names.update(set(folded_names(drawn.caption.tags)))
            a, b = both
            pairs.flips_changed += a.rendered.flip is not b.rendered.flip
            if a.rendered.text != b.rendered.text:
                pairs.texts_changed += 1
                if not shown and len(pairs.examples) < self.examples:
                    pairs.examples.append(self._example(record, draw, a, b))
                    shown = True  # One draw of a record says enough.
        pairs.figures.add(*figures)
        pairs.tags.add(*(_only(names, had) for names in said))
        pairs.new_tags.add(*(_only(names, names.keys() - had) for names in said))

    def _drawn(self, pipeline: CaptionPipeline, record: Record, draw: int) -> Drawn:
        return pipeline.draw_caption(record, epoch=self.epoch, draw=draw, samples=self.samples)

    def _example(self, record: Record, draw: int, a: Drawn, b: Drawn) -> Example:
        return Example(
            record.id,
            draw,
            a.rendered.text,
            b.rendered.text,
            tuple(map(self.a.text.spell, (tag.name for tag in a.caption.tags))),
            tuple(map(self.b.text.spell, (tag.name for tag in b.caption.tags))),
            _prose(a.caption),
            _prose(b.caption),
            b.caption.source is Source.BOTH_CAPTION_FIRST,
        )


def _figures(drawn: Drawn) -> Counter[str]:
    """What is counted of one caption."""
    counted = Counter({FROM + drawn.rendered.source: 1, TOKENS: estimate_tokens(drawn.rendered.text)})
    counted[EMPTY] += not drawn.rendered.text
    counted[CUT] += drawn.caption is not drawn.whole
    counted[MIRRORED] += drawn.rendered.flip
    return counted


def _only(counts: Counter[str], names: Iterable[str]) -> Counter[str]:
    return Counter({name: counts[name] for name in names if name in counts})


def _prose(caption: Caption) -> str:
    words = " ".join(piece.text for piece in caption.prose)
    return " ".join(f"{caption.before}{words}{caption.after}".split()) if caption.prose else ""
