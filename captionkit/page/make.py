"""From a recipe and data to the page: the figures, the gallery that fits beside them, one file."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from captionkit.lint.rules import lint
from captionkit.page.build import Frame, frame, page
from captionkit.page.cards import Cards
from captionkit.page.gallery import Gallery, gallery
from captionkit.pictures import PictureFolders
from captionkit.pipeline import CaptionPipeline
from captionkit.progress import progress
from captionkit.readers.source import Source
from captionkit.record import Record
from captionkit.render import estimate_tokens
from captionkit.stats.result import Stats

LEAST_BYTES = 350
"""No card is smaller, so that this says how many records need to be looked at."""

MARGIN = 1.15
"""Records that are not on the page are taken to need so much more than those that were measured."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of a page."""

    pictures: tuple[Path, ...] = ()
    """Folders that pictures may lie in, besides the data's own."""
    max_mb: float = 5.0
    """The page has at most so many megabytes (of 1,000,000 bytes)."""
    samples: int | None = None
    """After so many samples of a run."""
    made_by: str = "captionkit report"


@dataclass(frozen=True, slots=True)
class Made:
    """A page, and what is on it."""

    html: bytes
    num_records: int
    num_cards: int
    num_findings: int
    broken: tuple[str, ...]
    mb_for_all: float
    """About how large a page with all records would be, in megabytes."""


def make(pipeline: CaptionPipeline, stats: Stats, source: Source, wanted: Wanted) -> Made:
    """The page of the figures of one recipe over one set of data, with the pictures of the data.

    Bad records are passed over: who gathered the figures was told of them.
    """
    findings = lint(stats, pipeline)
    outline = frame(stats, findings, made_by=wanted.made_by, max_mb=wanted.max_mb)
    cards = Cards(pipeline, estimate_tokens, draws=stats.draws, epoch=stats.epoch, samples=wanted.samples)
    room = int(wanted.max_mb * 1e6) - len(page(outline, None, None).encode("utf-8", "replace"))
    shown, html = _fitting(outline, cards, source, stats.num_records, wanted, room)
    missing = (stats.num_records - len(shown.cards)) * shown.bytes_each * MARGIN
    if missing:  # A larger page also has more rows of the table.
        missing += len(outline.tags.encode()) * (stats.num_tags / max(1, outline.num_tags) - 1)
    return Made(
        html,
        stats.num_records,
        len(shown.cards),
        len(findings),
        shown.broken,
        (len(html) + missing) / 1e6,
    )


def _fitting(
    outline: Frame, cards: Cards, source: Source, num_records: int, wanted: Wanted, room: int
) -> tuple[Gallery, bytes]:
    """The gallery that fits into so many bytes, and the page with it."""
    looked_at = _every(source, num_records, max(1, room // LEAST_BYTES))
    folders = PictureFolders(source.root, wanted.pictures)
    while True:
        # Names and causes that recur come on top of the cards; how many there are is known afterwards.
        with progress("drawing pictures", "pictures", len(looked_at)) as done:
            shown = gallery(cards, looked_at, num_records, folders, max(0, room), done)
        html = page(outline, cards, shown).encode("utf-8", "replace")
        over = len(html) - int(wanted.max_mb * 1e6)
        if over <= 0 or not shown.cards:
            return shown, html
        room -= over + 1000


def _every(source: Source, num_records: int, at_most: int) -> list[Record]:
    """An even sample of the records; all where they are no more than `at_most`."""
    step = max(1, -(-num_records // at_most))
    return list(islice(source.records(lambda error: None), 0, None, step))
