"""Several blocks of a source as one, for work of which every result costs something by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from captionkit.readers.source import Block, Report, Source
from captionkit.record import Record


@dataclass(frozen=True)
class Blocks(Block):
    """Some blocks, one after the other."""

    blocks: tuple[Block, ...]

    @property
    def amount(self) -> int:
        """Of all of them."""
        return sum(block.amount for block in self.blocks)

    def records(self, report: Report) -> Iterator[Record]:
        """The records of all of them, in order."""
        for block in self.blocks:
            yield from block.records(report)


@dataclass(frozen=True)
class Grouped(Source):
    """The same source in blocks of several of its own."""

    source: Source
    size: int
    """How many of its blocks make one."""

    @property
    def unit(self) -> str:
        """That of the source."""
        return self.source.unit

    @property
    def root(self) -> Path:
        """That of the source."""
        return self.source.root

    def total(self) -> int | None:
        """That of the source."""
        return self.source.total()

    def blocks(self, report: Report) -> Iterator[Block]:
        """The blocks of the source, several at a time."""
        blocks = self.source.blocks(report)
        while some := tuple(islice(blocks, self.size)):
            yield Blocks(some)
