"""What every writer is: records become bytes in any process, and the bytes are written in order by one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

from captionkit.record import Record


class Losses:
    """What a format cannot hold: how often each thing was left out or changed, and one record it befell."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self.left_out = 0
        """Records that are not there at all."""

    def add(self, what: str, record_id: str) -> None:
        """Take note of one: `losses.add("categories of tags", record.id)`."""
        self.counts[what] += 1
        self.examples.setdefault(what, record_id)

    def leave_out(self, what: str, record_id: str) -> None:
        """Take note of a record that is not written: `losses.leave_out("records without a picture", id)`."""
        self.add(f"{what}, left out", record_id)
        self.left_out += 1

    def merge(self, other: Losses) -> None:
        """Take over what another process noted, which read later records."""
        self.counts.update(other.counts)
        self.left_out += other.left_out
        for what, record_id in other.examples.items():
            self.examples.setdefault(what, record_id)

    def lines(self) -> list[str]:
        """What there is to say, the most frequent first; nothing when nothing was lost."""
        return [
            f"lost: {what}, of {count:,} record{'' if count == 1 else 's'}, such as {self.examples[what]!r}"
            for what, count in self.counts.most_common()
        ]


class Sink(ABC):
    """An opened target, to which encoded chunks are appended in order."""

    @abstractmethod
    def append(self, chunk: bytes) -> None:
        """Write one chunk, as `Target.encode` made it."""


class Target(ABC):
    """A place and a format to write records to. It can be pickled; `encode` touches no file but pictures.

    Nothing stands under the final name until everything is written: `open` writes to a temporary name beside
    it, and renames when the context is left without an error. Raises `DataError` where it cannot be written.
    """

    @property
    @abstractmethod
    def home(self) -> Path:
        """The folder at which the relative paths of pictures begin that `encode` is given.

        Where pictures go along, it is their own folder; else the one at which paths begin when what was
        written is read again.
        """

    @abstractmethod
    def encode(self, records: Iterable[Record], losses: Losses) -> bytes:
        """The records as one chunk in the target's format; what it cannot hold is noted."""

    @abstractmethod
    def open(self) -> AbstractContextManager[Sink]:
        """Open for writing; leaving the context finishes the file. An error leaves what was there before."""
