"""From a recipe and data to all their figures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from captionkit.errors import CaptionkitError, DataError
from captionkit.pipeline import CaptionPipeline
from captionkit.progress import progress
from captionkit.readers.grouped import Grouped
from captionkit.readers.parallel import map_blocks
from captionkit.readers.source import Block, Report, Source, strict
from captionkit.record import Record, fold, folded_names
from captionkit.stats.chosen import Chosen
from captionkit.stats.figures import Gathered, figures
from captionkit.stats.mentions import graphs
from captionkit.stats.neighbours import commonest
from captionkit.stats.result import Stats
from captionkit.stats.sample import Captions, Draw
from captionkit.stats.scan import Scan, Scanner
from captionkit.stats.universe import introduced

SAMPLE = 20_000
"""Records of which captions are drawn, where nobody says otherwise."""
DRAWS = 4
"""Captions of each."""
FIRST = 3
"""So many of the messages about bad records are kept."""
TOGETHER = 4
"""So many blocks of the data are counted before a process sends its counts: most tags of a few records are
different ones, and each costs as much to send as to count."""


def gather(
    pipeline: CaptionPipeline,
    records: Source | Iterable[Record],
    *,
    data: str,
    recipe: str,
    sample: int = SAMPLE,
    draws: int = DRAWS,
    epoch: int = 0,
    samples: int | None = None,
    processes: int = 1,
    top: int | None = None,
    report: Report = strict,
) -> Stats:
    """The figures of one recipe over one set of data.

    Every record is counted; captions are drawn of `sample` of them (the same ones for every recipe and any
    `processes`), `draws` of each, as in `epoch` and after so many `samples` of a run. `top` keeps the most
    frequent tags only; all of them without. `data` and `recipe` are what they are called.

    Bad records are reported, counted and skipped. Raises `DataError` when no record could be read.
    """
    source = records if isinstance(records, Source) else InMemory(records)
    skipped = _Counted(report)
    scan = _scan(Scanner(pipeline, sample=sample, total=source.total()), source, processes, skipped)
    if scan.num_records == 0:
        raise DataError("no record could be read", where=data, hint="what is wrong with each was reported")
    chosen = scan.chosen.records()
    implied = _implied(pipeline, scan)
    neighbours = commonest(
        [set(folded_names(one.tags)) for one in chosen], lambda name: implied.get(name, _NONE)
    )
    beside = {name: other for name, (other, _) in neighbours.items()}
    draw = Draw(pipeline, draws, epoch, samples, implied, beside)
    gathered = Gathered(scan, chosen, neighbours, _draw(draw, chosen, processes))
    found = figures(draw, gathered, data=data, recipe=recipe, num_skipped=skipped.count, top=top)
    return replace(found, skipped=tuple(skipped.first))


_NONE: frozenset[str] = frozenset()


def _scan(scanner: Scanner, source: Source, processes: int, report: Report) -> Scan:
    """The counts of all records."""
    scan = Scan(Chosen(scanner.sample))
    with progress("counting", source.unit, source.total()) as done:
        grouped = Grouped(source, TOGETHER)
        for amount, part in map_blocks(scanner, grouped, processes=processes, report=report):
            scan.merge(part)
            done(amount)
    return scan


def _draw(draw: Draw, records: list[Record], processes: int) -> Captions:
    """The counts of the captions of some records."""
    captions = Captions()
    source = InMemory(records)
    with progress("drawing", source.unit, len(records)) as done:
        for amount, part in map_blocks(draw, source, processes=processes, report=strict):
            captions.merge(part)
            done(amount)
    return captions


def _implied(pipeline: CaptionPipeline, scan: Scan) -> dict[str, frozenset[str]]:
    """What each tag implies that is in the data or that the recipe makes."""
    names = {fold(name): category for name, category in scan.spellings}
    known = graphs(pipeline)
    found = {
        name: _NONE.union(*(graph.implied_by(name) for graph in known))
        for name in (*names, *introduced(pipeline, names))
    }
    return {name: implied for name, implied in found.items() if implied}


class _Counted:
    """A report that counts what it passes on, and keeps the first few messages."""

    def __init__(self, report: Report) -> None:
        self._report, self.count = report, 0
        self.first: list[str] = []

    def __call__(self, error: CaptionkitError) -> None:
        self.count += 1
        if self.count <= FIRST:
            self.first.append(str(error))
        self._report(error)


@dataclass(frozen=True)
class _Some(Block):
    """A few records in memory."""

    held: tuple[Record, ...]

    @property
    def amount(self) -> int:
        """How many they are."""
        return len(self.held)

    def records(self, report: Report) -> Iterator[Record]:
        """They themselves; none of them is bad."""
        return iter(self.held)


class InMemory(Source):
    """A source of records that are read already."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._records = records

    @property
    def unit(self) -> str:
        """Records."""
        return "records"

    @property
    def root(self) -> Path:
        """The present folder."""
        return Path()

    def total(self) -> int | None:
        """How many there are; None for an iterator."""
        return len(self._records) if isinstance(self._records, Sized) else None

    def blocks(self, report: Report) -> Iterator[Block]:
        """The records, a few at a time."""
        records = iter(self._records)
        while some := tuple(islice(records, _A_FEW)):
            yield _Some(some)


_A_FEW = 256
