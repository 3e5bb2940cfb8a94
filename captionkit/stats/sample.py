"""What is counted over drawn captions: a value that can be pickled and added to others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields

from captionkit.pipeline import CaptionPipeline
from captionkit.prose.sentences import split_sentences
from captionkit.readers.source import Block, Report
from captionkit.record import Caption, Drawn, Record, folded_names
from captionkit.stats.examples import Examples

CUT, EMPTY, MIRRORED = "cut", "empty", "mirrored"
"""Events of a caption: the token budget took something, there is no text, the picture is mirrored."""


@dataclass
class Hits:
    """How often something is so, by name, and how alike the draws of one record are."""

    hits: Counter[str] = field(default_factory=Counter)
    squares: Counter[str] = field(default_factory=Counter)
    """The sum of the squares of each record's hits."""
    records: Counter[str] = field(default_factory=Counter)
    """Records that have any."""

    def add(self, of_record: Mapping[str, int]) -> None:
        """Add the hits of one record's draws."""
        hits, squares = self.hits, self.squares
        for name, count in of_record.items():
            hits[name] += count
            squares[name] += count * count
        self.records.update(of_record.keys())

    def merge(self, other: Hits) -> None:
        """Add those of other records."""
        self.hits.update(other.hits)
        self.squares.update(other.squares)
        self.records.update(other.records)


@dataclass
class Captions:
    """The counts of the captions drawn of some records."""

    num_records: int = 0
    had: Counter[str] = field(default_factory=Counter)
    """By folded name: records that have the tag."""
    said: Hits = field(default_factory=Hits)
    """By folded name: captions that say the tag."""
    kept: Hits = field(default_factory=Hits)
    """The same, of records that have it."""
    alone: Hits = field(default_factory=Hits)
    """By folded name: captions that say the tag and nothing that it implies."""
    alone_crossed: Counter[str] = field(default_factory=Counter)
    """Over the records, the sum of captions that say it times those that say it alone."""
    beside: Hits = field(default_factory=Hits)
    """By folded name: captions that say the tag and its neighbour."""
    beside_crossed: Counter[str] = field(default_factory=Counter)
    sources: Hits = field(default_factory=Hits)
    """By source: captions."""
    events: Hits = field(default_factory=Hits)
    """`CUT`, `EMPTY` and `MIRRORED`: captions."""
    tokens: Counter[int] = field(default_factory=Counter)
    """By number of tokens: captions."""
    lost_tags: Counter[str] = field(default_factory=Counter)
    """By folded name: how often the budget took it."""
    lost_sentences: int = 0
    important: set[str] = field(default_factory=set)
    """Folded names of tags that counted as important."""
    openings: Counter[str] = field(default_factory=Counter)
    """The first words of the captions in sentences: captions drawn."""
    cut_ids: Examples = field(default_factory=Examples)
    """Records of which a caption was cut."""

    def merge(self, other: Captions) -> None:
        """Add the counts of other records."""
        self.num_records += other.num_records
        self.lost_sentences += other.lost_sentences
        self.important |= other.important
        for one in fields(self):
            mine, theirs = getattr(self, one.name), getattr(other, one.name)
            if isinstance(mine, Counter):
                mine.update(theirs)
            elif isinstance(mine, Hits | Examples):
                mine.merge(theirs)


@dataclass(frozen=True)
class Draw:
    """Draws captions as one recipe does, at one place of the run; called with a block, of its records."""

    pipeline: CaptionPipeline
    draws: int
    epoch: int
    samples: int | None
    implied: Mapping[str, frozenset[str]]
    """By folded name: what a tag implies."""
    neighbours: Mapping[str, str]
    """By folded name: the tag that most often comes with a tag."""

    def __call__(self, block: Block, report: Report) -> Captions:
        """The counts of one block."""
        return self.captions(block.records(report))

    def captions(self, records: Iterable[Record]) -> Captions:
        """The counts of some records' captions."""
        counted = Captions()
        for record in records:
            self._add(record, counted)
        return counted

    def _add(self, record: Record, counted: Captions) -> None:
        had = set(folded_names(record.tags))
        said: Counter[str] = Counter()
        alone: Counter[str] = Counter()
        beside: Counter[str] = Counter()
        sources: Counter[str] = Counter()
        events: Counter[str] = Counter()
        for draw in range(self.draws):
            drawn = self.pipeline.draw_caption(record, epoch=self.epoch, draw=draw, samples=self.samples)
            names = set(folded_names(drawn.caption.tags))
            said.update(names)
            alone.update(
                [name for name in names & self.implied.keys() if names.isdisjoint(self.implied[name])]
            )
            beside.update([name for name in names if self.neighbours.get(name) in names])
            sources[drawn.rendered.source] += 1
            self._look(record, drawn, events, counted)
        counted.num_records += 1
        counted.had.update(had)
        counted.said.add(said)
        counted.kept.add({name: count for name, count in said.items() if name in had})
        counted.alone.add(alone)
        counted.beside.add(beside)
        counted.sources.add(sources)
        counted.events.add(events)
        for name, count in alone.items():
            counted.alone_crossed[name] += count * said[name]
        for name, count in beside.items():
            counted.beside_crossed[name] += count * said[name]

    def _look(self, record: Record, drawn: Drawn, events: Counter[str], counted: Captions) -> None:
        """Count what one caption is besides its tags."""
        caption, text = drawn.caption, drawn.rendered.text
        counted.tokens[self.pipeline.counter(text)] += 1
        if not text:
            events[EMPTY] += 1
        if drawn.rendered.flip:
            events[MIRRORED] += 1
        if caption.important:
            counted.important.update(
                folded_names([tag for tag in caption.tags if tag.name in caption.important])
            )
        if caption.prose:
            counted.openings[opening(caption.prose[0].text)] += 1
        if caption is not drawn.whole:
            events[CUT] += 1
            counted.cut_ids.add(record.id)
            counted.lost_tags.update(
                Counter(folded_names(drawn.whole.tags)) - Counter(folded_names(caption.tags))
            )
            counted.lost_sentences += _num_sentences(drawn.whole) - _num_sentences(caption)


def opening(text: str) -> str:
    """The first three words of a text, without case and marks: what boilerplate is known by.

    >>> opening("The image, showcases: a fox")
    'the image showcases'
    """
    words = [part.strip(_MARKS).casefold() for part in text[:80].split()[:3]]
    return " ".join(filter(None, words))


_MARKS = ".,:;!?*#-\"'"


def _num_sentences(caption: Caption) -> int:
    return sum(len(split_sentences(piece.text)) for piece in caption.prose)
