"""What every reader is: a source of records, read block by block, by one process or by several."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias, final

from captionkit.errors import CaptionkitError
from captionkit.record import Record

Report: TypeAlias = Callable[[CaptionkitError], None]
"""Takes note of a record that cannot be read; may raise it instead, and then nothing more is read."""


class Block(ABC):
    """A piece of a source that can be read by itself. It can be pickled, so that any process may read it."""

    @property
    @abstractmethod
    def amount(self) -> int:
        """How much of the source this is, in the source's unit."""

    @abstractmethod
    def records(self, report: Report) -> Iterator[Record]:
        """The records of this piece in order; those that are bad are reported and skipped."""


class Source(ABC):
    """Where records come from. Its blocks are cheap to make; the work is in reading them."""

    @property
    @abstractmethod
    def unit(self) -> str:
        """What amounts are counted in: "rows", "pictures", "bytes"."""

    @property
    @abstractmethod
    def root(self) -> Path:
        """The folder at which relative paths of pictures begin."""

    @abstractmethod
    def total(self) -> int | None:
        """The amount of all blocks together; None when only reading tells."""

    @abstractmethod
    def blocks(self, report: Report) -> Iterator[Block]:
        """The pieces in order, each small enough that a few of them fit into memory (a few thousand records).

        Raises `DataError` at the end when there was nothing at all in the source.
        """

    @final
    def records(self, report: Report) -> Iterator[Record]:
        """All records in order, read in this process."""
        for block in self.blocks(report):
            yield from block.records(report)


def strict(error: CaptionkitError) -> None:
    """The report of those who want every record: raises."""
    raise error
