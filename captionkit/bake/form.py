"""What every form of baked captions is: pictures with texts become bytes anywhere, and one process writes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

from captionkit.bake.variants import Baked, Counts
from captionkit.record import Record
from captionkit.writers.pictures import Picture
from captionkit.writers.target import Losses, Sink


class Form(ABC):
    """A place and a form to write captions to. It can be pickled."""

    @abstractmethod
    def picture(self, record: Record, losses: Losses) -> Picture | None:
        """A record's picture, and where it goes; None, and noted, where it cannot be written."""

    @abstractmethod
    def encode(self, baked: Iterable[Baked]) -> bytes:
        """The captions of some pictures as one chunk."""

    @abstractmethod
    def open(self) -> AbstractContextManager[Sink]:
        """Open for writing; nothing of what was there changes unless the context is left without an error."""

    @abstractmethod
    def advice(self, count: Counts) -> list[str]:
        """What to set in the trainer, a line each."""


def percent(share: float) -> str:
    """A share as people write it.

    >>> percent(0.0512), percent(0.0)
    ('5.1 %', '0 %')
    """
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"


def quoted(path: Path) -> str:
    """A path as a TOML string."""
    text = path.as_posix().replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
