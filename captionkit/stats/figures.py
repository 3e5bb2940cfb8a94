"""From counts to figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from captionkit.changes import changes_over_the_run
from captionkit.patterns import compile_patterns
from captionkit.pipeline import CaptionPipeline
from captionkit.policies.important import ImportantFirst, MarkImportant
from captionkit.record import Record, fold
from captionkit.stats.lengths import lengths
from captionkit.stats.mentions import mentions, policies
from captionkit.stats.names import name_oddities, record_oddities
from captionkit.stats.renames import Renames
from captionkit.stats.result import Alone, Budget, Flips, Neighbour, Oddity, Share, Stats, TagStats
from captionkit.stats.sample import CUT, EMPTY, MIRRORED, Captions, Draw, Hits
from captionkit.stats.scan import Scan
from captionkit.stats.spread import spread
from captionkit.stats.typos import typos
from captionkit.stats.universe import introduced
from captionkit.stats.unmatched import There, unmatched

MOST_LOST = 20
"""So many of the tags that the budget cut are named."""
MOST_OPENINGS = 20
"""And so many of the words with which captions begin."""


@dataclass(frozen=True)
class Gathered:
    """All counts of one recipe over one set of data."""

    scan: Scan
    chosen: list[Record]
    """The records that captions were drawn of."""
    neighbours: Mapping[str, tuple[str, int]]
    """By folded name: the commonest neighbour, and on how many of the chosen records both are."""
    captions: Captions


class Shares:
    """Shares over drawn captions, each with how alike the draws of one record are."""

    def __init__(self, captions: Captions, draws: int, part: float) -> None:
        self._draws, self._records, self._part = draws, captions.num_records, part

    def of_all(self, hits: Hits, name: str) -> Share:
        """Of all captions."""
        return self.of_records(hits, name, self._records)

    def of_records(self, hits: Hits, name: str, records: int) -> Share:
        """Of the captions of some records, among which are all that have hits."""
        number, draws = hits.hits[name], self._draws
        return Share(
            number,
            draws * records,
            spread=spread(
                hits=number,
                of=draws * records,
                squares=hits.squares[name],
                of_squares=draws * draws * records,
                crossed=draws * number,
                records=records,
                part=self._part,
            ),
        )

    def of_hits(self, hits: Hits, among: Hits, crossed: Counter[str], name: str) -> Share:
        """Of those captions that are hits of something else."""
        return Share(
            hits.hits[name],
            among.hits[name],
            spread=spread(
                hits=hits.hits[name],
                of=among.hits[name],
                squares=hits.squares[name],
                of_squares=among.squares[name],
                crossed=crossed[name],
                records=among.records[name],
                part=self._part,
            ),
        )


def figures(
    draw: Draw, gathered: Gathered, *, data: str, recipe: str, num_skipped: int, top: int | None
) -> Stats:
    """All figures."""
    scan, captions, pipeline = gathered.scan, gathered.captions, draw.pipeline
    counts, categories = scan.counts(), commonest_categories(scan)
    shares = Shares(captions, draw.draws, captions.num_records / scan.num_records)
    made = introduced(pipeline, categories)
    known = counts.keys() | captions.said.hits.keys() | made
    names = sorted(known, key=lambda name: (-counts.get(name, 0), name))
    kinds = Counter[str | None]()
    for (_, category), number in scan.spellings.items():
        kinds[category] += number
    return Stats(
        recipe=recipe,
        data=data,
        seed=pipeline.seed,
        epoch=draw.epoch,
        samples=draw.samples or 0,
        changes=changes_over_the_run(pipeline),
        num_records=scan.num_records,
        num_repeated=scan.num_repeated,
        num_skipped=num_skipped,
        num_without_tags=scan.num_without_tags,
        num_without_prose=scan.num_without_prose,
        num_sampled=captions.num_records,
        draws=draw.draws,
        tags=_tags(names[:top], counts, categories, draw, gathered, shares),
        num_tags=len(counts),
        sources=tuple(
            (source, shares.of_all(captions.sources, source))
            for source, _ in sorted(captions.sources.hits.items(), key=_most_first)
        ),
        empty=shares.of_all(captions.events, EMPTY),
        lengths=lengths(captions.tokens, pipeline),
        budget=_budget(pipeline, captions, shares),
        flips=_flips(pipeline, scan, captions, shares),
        unmatched=unmatched(mentions(pipeline), _there(scan, names)),
        typos=typos(counts, categories, _vouched(pipeline)),
        oddities=_oddities(pipeline, gathered, shares),
        openings=_openings(captions),
        num_tags_on_records=scan.spellings.total(),
        categories=tuple(sorted(kinds.items(), key=lambda item: (-item[1], item[0] or ""))),
        prose_sources=tuple(sorted(scan.prose_sources.items(), key=_most_first)),
    )


def commonest_categories(scan: Scan) -> dict[str, str | None]:
    """The category of each tag, by folded name: the commonest, then the first by name."""
    best: dict[str, tuple[int, str]] = {}
    found: dict[str, str | None] = {}
    together = Counter[tuple[str, str | None]]()
    for (name, category), number in scan.spellings.items():
        together[fold(name), category] += number
    for (name, category), number in together.items():
        rank = (-number, category or "")
        if name not in best or rank < best[name]:
            best[name], found[name] = rank, category
    return found


def _tags(
    names: list[str],
    counts: Mapping[str, int],
    categories: Mapping[str, str | None],
    draw: Draw,
    gathered: Gathered,
    shares: Shares,
) -> tuple[TagStats, ...]:
    scan, captions = gathered.scan, gathered.captions
    whole = captions.num_records == scan.num_records
    important = _important(draw.pipeline, names, categories) | captions.important
    renames = Renames(draw.pipeline)

    def alone(name: str) -> Alone | None:
        if name not in draw.implied:
            return None
        after = shares.of_hits(captions.alone, captions.said, captions.alone_crossed, name)
        before = Share(scan.alone[name], counts.get(name, 0), exact=True)
        return Alone(tuple(sorted(draw.implied[name])), before, after)

    def neighbour(name: str) -> Neighbour | None:
        if name not in gathered.neighbours:
            return None
        other, both = gathered.neighbours[name]
        after = shares.of_hits(captions.beside, captions.said, captions.beside_crossed, name)
        return Neighbour(other, Share(both, captions.had[name], exact=whole), after)

    return tuple(
        TagStats(
            name=name,
            category=categories.get(name),
            count=counts.get(name, 0),
            data=Share(counts.get(name, 0), scan.num_records, exact=True),
            trained=shares.of_all(captions.said, name),
            kept=shares.of_records(captions.kept, name, captions.had[name]),
            important=name in important,
            alone=alone(name),
            neighbour=neighbour(name),
            becomes=renames.becomes(name, categories.get(name)),
        )
        for name in names
    )


def _important(
    pipeline: CaptionPipeline, names: list[str], categories: Mapping[str, str | None]
) -> frozenset[str]:
    """The tags that the recipe's lists call important, wherever in the recipe they stand."""
    found: set[str] = set()
    for _, policy in policies(pipeline):
        if isinstance(policy, MarkImportant | ImportantFirst) and policy.patterns:
            found |= compile_patterns(policy.patterns).among(set(names))
        if isinstance(policy, MarkImportant) and policy.categories:
            found.update(name for name in names if categories.get(name) in policy.categories)
    return frozenset(found)


def _budget(pipeline: CaptionPipeline, captions: Captions, shares: Shares) -> Budget:
    lost = sorted(captions.lost_tags.items(), key=_most_first)
    return Budget(
        max_tokens=pipeline.text.max_tokens,
        cut=shares.of_all(captions.events, CUT),
        tags_lost=captions.lost_tags.total(),
        sentences_lost=captions.lost_sentences,
        most_lost=tuple(lost[:MOST_LOST]),
        examples=tuple(captions.cut_ids.names),
    )


def _openings(captions: Captions) -> tuple[tuple[str, Share], ...]:
    total = captions.openings.total()
    most = sorted(captions.openings.items(), key=_most_first)[:MOST_OPENINGS]
    return tuple((words, Share(count, total)) for words, count in most if count > 1 and words)


def _flips(pipeline: CaptionPipeline, scan: Scan, captions: Captions, shares: Shares) -> Flips:
    may = scan.num_records - scan.forbidden.total() if pipeline.may_flip(Record("nothing known")) else 0
    return Flips(
        may=Share(may, scan.num_records, exact=True),
        forbidden_by=tuple(
            (what, Share(number, scan.num_records, exact=True))
            for what, number in sorted(scan.forbidden.items(), key=_most_first)
        ),
        mirrored=shares.of_all(captions.events, MIRRORED),
    )


def _there(scan: Scan, names: list[str]) -> There:
    return There(
        names=dict.fromkeys(names),
        categories={category for _, category in scan.spellings if category is not None},
        tag_sources=scan.tag_sources.keys(),
        prose_sources=scan.prose_sources.keys(),
        facts=scan.facts.keys(),
        in_prose=scan.in_prose,
    )


def _vouched(pipeline: CaptionPipeline) -> frozenset[str]:
    """Names that the recipe's tables and lists know: they are no typos."""
    known = (one.what for one in mentions(pipeline) if one.answer in ("tag", "pattern"))
    return frozenset(fold(name) for what in known for name in what)


def _oddities(pipeline: CaptionPipeline, gathered: Gathered, shares: Shares) -> tuple[Oddity, ...]:
    found = (*record_oddities(gathered.scan, gathered.chosen), *name_oddities(pipeline, gathered.scan))
    return tuple(sorted((one for one in found if one.share.hits), key=lambda one: one.kind))


def _most_first(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]
