"""Captions before and after cleaning: records with the cleaned ones in place, and what each rule did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import final

from captionkit.marked_prose import MarkedWords, ProseMarks
from captionkit.policies.clean import CleanCaptions
from captionkit.prose.cleaner import Change
from captionkit.readers.source import Block, Report, Source
from captionkit.record import Caption, Prose, Record


@dataclass(frozen=True, slots=True)
class BeforeAfter:
    """One caption that the rules change."""

    where: str
    """The record's id, or the number of the line."""
    before: str
    after: str
    """Empty when nothing is left of it."""
    changes: tuple[Change, ...]
    """What the rules did, one after the other."""

    def words(self) -> tuple[MarkedWords, ...]:
        """Both texts as one: words that stay, that leave and that come."""
        marks = ProseMarks((Prose(self.before),))
        left = (Prose(self.after),) if self.after else ()
        return marks.result(Caption(prose=left), "clean_captions")[0].words


@dataclass
class Cleaning:
    """Cleans captions one after the other and counts what happens."""

    rules: CleanCaptions
    most: int
    """So many changed captions are kept to be shown, the first ones."""
    num_texts: int = 0
    num_changed: int = 0
    num_emptied: int = 0
    by_rule: Counter[str] = field(default_factory=Counter)
    """How many captions each rule changed, as far as they are kept to be shown."""
    shown: list[BeforeAfter] = field(default_factory=list)

    def clean(self, text: str, where: str) -> str:
        """The text, cleaned."""
        if not text.strip():
            return text
        self.num_texts += 1
        after = self.rules.clean(text)
        if after != text:
            self.num_changed += 1
            self.num_emptied += not after
            if len(self.shown) < self.most:
                changes = tuple(self.rules.changes(text))
                self.by_rule.update({change.rule for change in changes})
                self.shown.append(BeforeAfter(where, text, after, changes))
        return after

    def clean_record(self, record: Record) -> None:
        """All captions of a record that the rules are for."""
        for piece in record.prose:
            if self.rules.sources is None or piece.source in self.rules.sources:
                self.clean(piece.text, record.id)


@final
@dataclass(frozen=True)
class CleanedSource(Source):
    """The records of another source, their captions cleaned; one of which nothing is left is left out."""

    source: Source
    rules: CleanCaptions

    @property
    def unit(self) -> str:
        """As the source's."""
        return self.source.unit

    @property
    def root(self) -> Path:
        """As the source's."""
        return self.source.root

    def total(self) -> int | None:
        """As the source's."""
        return self.source.total()

    def blocks(self, report: Report) -> Iterator[Block]:
        """The source's blocks, each of which cleans what it reads."""
        return (CleanedBlock(block, self.rules) for block in self.source.blocks(report))


@final
@dataclass(frozen=True)
class CleanedBlock(Block):
    """A piece of a source, cleaned where it is read."""

    block: Block
    rules: CleanCaptions

    @property
    def amount(self) -> int:
        """As the block's."""
        return self.block.amount

    def records(self, report: Report) -> Iterator[Record]:
        """The block's records, cleaned."""
        for record in self.block.records(report):
            prose = self.rules.rewrite(Caption(prose=record.prose)).prose
            yield record if prose == record.prose else replace(record, prose=prose)
