"""What is counted over every record, exactly: a value that can be pickled and added to others."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from captionkit.patterns import compile_patterns
from captionkit.pipeline import CaptionPipeline
from captionkit.policies.fact_tags import written
from captionkit.prose.sides import speaks_of_sides
from captionkit.readers.source import Block, Report
from captionkit.record import Record, fold
from captionkit.stats import oddities
from captionkit.stats.chosen import Chosen, id_hash, share_of_sample
from captionkit.stats.examples import Examples
from captionkit.stats.mentions import mentions
from captionkit.stats.tag_numbers import TagNumbers


@dataclass
class Scan:
    """The counts of some records. `merge` adds those of others; the order does not matter."""

    chosen: Chosen
    """The records that captions are drawn of."""
    num_records: int = 0
    num_without_tags: int = 0
    num_without_prose: int = 0
    num_repeated: int = 0
    """Records that kohya takes several times in an epoch."""
    spellings: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    """How often a tag is there by this name and category."""
    twice: Counter[str] = field(default_factory=Counter)
    """By folded name: how often a tag is there again, on a record that has it already."""
    alone: Counter[str] = field(default_factory=Counter)
    """By folded name: records that have the tag and nothing that it implies."""
    forbidden: Counter[str] = field(default_factory=Counter)
    """By what forbids it: records that may not be mirrored."""
    tag_sources: Counter[str] = field(default_factory=Counter)
    prose_sources: Counter[str] = field(default_factory=Counter)
    facts: Counter[str] = field(default_factory=Counter)
    """By name, and by `name=value` for the facts that the recipe asks after: records."""
    in_prose: set[str] = field(default_factory=set)
    """The patterns of `flip.prose_patterns` that found something."""
    hashes: array[int] = field(default_factory=lambda: array("Q"))
    """Of every record's id."""
    odd: dict[str, Examples] = field(default_factory=dict)
    """What is odd about records and captions, by kind."""
    odd_tags: dict[str, Counter[str]] = field(default_factory=dict)
    """What is odd about the tags of pictures that may be mirrored, by kind and folded name."""

    def merge(self, other: Scan) -> None:
        """Add the counts of other records."""
        self.chosen.merge(other.chosen)
        self.num_records += other.num_records
        self.num_without_tags += other.num_without_tags
        self.num_without_prose += other.num_without_prose
        self.num_repeated += other.num_repeated
        self.spellings.update(other.spellings)
        self.twice.update(other.twice)
        self.alone.update(other.alone)
        self.forbidden.update(other.forbidden)
        self.tag_sources.update(other.tag_sources)
        self.prose_sources.update(other.prose_sources)
        self.facts.update(other.facts)
        self.in_prose |= other.in_prose
        self.hashes.extend(other.hashes)
        for kind, examples in other.odd.items():
            self.odd.setdefault(kind, Examples()).merge(examples)
        for kind, tags in other.odd_tags.items():
            self.odd_tags.setdefault(kind, Counter()).update(tags)

    def note(self, kind: str, example: str) -> None:
        """Count something odd."""
        self.odd.setdefault(kind, Examples()).add(example)

    def counts(self) -> dict[str, int]:
        """In how many records each tag is, by folded name."""
        counts: dict[str, int] = {}
        for (name, _), number in self.spellings.items():
            folded = fold(name)
            counts[folded] = counts.get(folded, 0) + number
        for folded, number in self.twice.items():
            counts[folded] -= number
        return counts

    def num_texts(self) -> int:
        """How many captions with text there are."""
        return sum(self.prose_sources.values())


class Scanner:
    """Counts records as one recipe asks for it; what it finds out about a tag it remembers.

    Called with a block it counts that. It can be pickled, so that several processes may count.
    """

    def __init__(self, pipeline: CaptionPipeline, *, sample: int, total: int | None = None) -> None:
        self.sample, self.total = sample, total
        """How many records to choose, and the amount of all blocks."""
        self._flip = pipeline.flip
        self._mirrors = pipeline.flip.ever()
        self._reads_prose = pipeline.flip.mirror != "keep" or bool(pipeline.flip.prose_patterns)
        asked = [(one.answer, name) for one in mentions(pipeline) for name in one.what]
        self._facts = {name.partition("=")[0] for answer, name in asked if answer == "fact"}
        self._values = {name.partition("=")[0] for answer, name in asked if answer == "fact" and "=" in name}
        self._sources = any(answer == "tag source" for answer, _ in asked)
        self._unsaid = {name for answer, name in asked if answer == "prose pattern"}
        self._tags = TagNumbers(pipeline)

    def __call__(self, block: Block, report: Report) -> Scan:
        """The counts of one block, with no more of its records than may be needed."""
        scan = self.scan(block.records(report))
        scan.chosen.cut(share_of_sample(self.sample, block.amount, self.total))
        return scan

    def scan(self, records: Iterable[Record]) -> Scan:
        """The counts of some records."""
        scan = Scan(Chosen(self.sample))
        chosen, hashes, of_category = scan.chosen, scan.hashes, self._tags.of_category
        counts = Counter[int]()
        waiting: list[int] = []
        alone: list[int] = []
        for record in records:
            scan.num_records += 1
            hashed = id_hash(record.id)
            hashes.append(hashed)
            if hashed < chosen.below:
                chosen.add(hashed, record)
            numbers = [of_category[tag.category][tag.name] for tag in record.tags]
            waiting += numbers
            if len(waiting) > _AT_ONCE:  # Counting a long list at once is faster than short ones.
                counts.update(waiting)
                waiting.clear()
            self._count(record, numbers, alone, scan)
        counts.update(waiting)
        scan.spellings.update({self._tags.spelled[number]: count for number, count in counts.items()})
        scan.alone.update({self._tags.folded[number]: count for number, count in Counter(alone).items()})
        return scan

    def _count(self, record: Record, numbers: list[int], alone: list[int], scan: Scan) -> None:
        """Count one record, but for the spellings of its tags; `alone` gets the tags that are."""
        tags, here = self._tags, set(numbers)
        if len(here) < len(numbers) or not here.isdisjoint(tags.respelled):
            here = self._once_each(record, numbers, scan)
        if tags.implying:
            implied = tags.implied
            alone += [number for number in here & tags.implying if here.isdisjoint(implied[number])]
        forbidden = None
        asked = not here.isdisjoint(tags.suspicious) or (record.prose and self._reads_prose)
        if asked or self._flip.facts:
            forbidden = self._flip.forbidden_by(record)
        if forbidden is not None:
            scan.forbidden[forbidden[0]] += 1
        may = self._mirrors and forbidden is None
        if may and not here.isdisjoint(tags.odd):
            for number in here & tags.odd:
                for kind in tags.kinds[number]:
                    scan.odd_tags.setdefault(kind, Counter())[tags.folded[number]] += 1
        num_texts = self._count_prose(record, scan, may) if record.prose else 0
        if not num_texts:
            scan.num_without_prose += 1
            if len(here) < 2:
                scan.note(oddities.ONE_TAG if here else oddities.NO_TEXT, record.id)
        if not here:
            scan.num_without_tags += 1
        if record.info:
            scan.num_repeated += _repeated(record)
            if self._facts:
                scan.facts.update(self._told(record))
        if self._sources:
            scan.tag_sources.update([tag.source for tag in record.tags if tag.source is not None])

    def _once_each(self, record: Record, numbers: list[int], scan: Scan) -> set[int]:
        """The numbers of the folded names, of tags that may be there in several spellings."""
        first = self._tags.first
        folded = [first.get(number, number) for number in numbers]
        here = set(folded)
        if len(here) < len(folded):
            again = Counter(folded)
            again.subtract(here)
            scan.twice.update({self._tags.folded[number]: count for number, count in (+again).items()})
            scan.note(oddities.TWICE, record.id)
        return here

    def _count_prose(self, record: Record, scan: Scan, may_flip: bool) -> int:
        """Count the captions of one record; how many of them have text."""
        untold = may_flip and self._flip.mirror == "keep"
        num_texts = 0
        for piece in record.prose:
            text = piece.text
            if not text or text.isspace():
                continue
            num_texts += 1
            scan.prose_sources[piece.source] += 1
            if oddities.unreadable(text):
                scan.note(oddities.CONTROL_TEXT, record.id)
            if oddities.placeholder(text):
                scan.note(oddities.PLACEHOLDER, record.id)
            if untold and speaks_of_sides(text):
                scan.note(oddities.SIDES, record.id)
            if self._unsaid:
                said = {one for one in self._unsaid if compile_patterns((one,)).in_prose(text)}
                scan.in_prose |= said
                self._unsaid -= said
        return num_texts

    def _told(self, record: Record) -> set[str]:
        """The facts that the recipe asks after, as `name` and as `name=value`."""
        told: set[str] = set()
        for name in self._facts:
            if (value := record.fact(name)) is not None:
                told.add(name)
                if name in self._values:
                    told.add(f"{name}={written(value)}")
        return told


def _repeated(record: Record) -> bool:
    repeats = record.fact("kohya.num_repeats")
    return isinstance(repeats, int) and repeats > 1


_AT_ONCE = 4096
