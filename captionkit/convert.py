"""From one format to another: every record read, placed and written, by one process or by several."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from captionkit.errors import DataError
from captionkit.progress import progress
from captionkit.readers.parallel import map_blocks
from captionkit.readers.source import Block, Report, Source
from captionkit.record import Record
from captionkit.writers.target import Losses, Target


@dataclass(frozen=True)
class Converted:
    """What came of a conversion."""

    num_records: int
    """How many were written."""
    losses: Losses
    """What the format could not hold."""


def convert(source: Source, target: Target, *, processes: int = 1, report: Report) -> Converted:
    """Write all records of a source to a target, in order; the result does not depend on `processes`.

    Relative paths of pictures are written so that they lead to the same pictures from where the target lies.
    Bad records are reported and skipped. Raises `DataError` when no record could be read, and what source and
    target raise; then nothing stands under the target's name that was not there before.
    """
    num_records, losses = 0, Losses()
    encode = Encode(target, way(source.root, target.home))
    with target.open() as sink, progress("converting", source.unit, source.total()) as done:
        for amount, encoded in map_blocks(encode, source, processes=processes, report=report):
            sink.append(encoded.chunk)
            num_records += encoded.num_records
            losses.merge(encoded.losses)
            done(amount)
        if num_records == 0:
            raise DataError(
                "no record could be read", where=str(source.root), hint="what is wrong with each stands above"
            )
    return Converted(num_records - losses.left_out, losses)


@dataclass(frozen=True)
class Encoded:
    """One block as the bytes of the target's format."""

    chunk: bytes
    num_records: int
    losses: Losses


@dataclass(frozen=True)
class Encode:
    """What each process does with a block."""

    target: Target
    way: str
    """From the target's folder to the source's; empty where it is the same."""

    def __call__(self, block: Block, report: Report) -> Encoded:
        losses, count = Losses(), 0

        def placed() -> Iterator[Record]:
            nonlocal count
            for record in block.records(report):
                count += 1
                yield moved(record, self.way)

        chunk = self.target.encode(placed(), losses)
        return Encoded(chunk, count, losses)


def way(source: Path, target: Path) -> str:
    """The path from the target's folder to the source's; empty when it is the same.

    >>> way(Path("data/pictures"), Path("data"))
    'pictures'
    """
    try:
        # By their true places: `x/..` is not the folder of x where x is a link.
        path = os.path.relpath(os.path.realpath(source), os.path.realpath(target))
    except ValueError:  # On two drives of Windows.
        path = os.path.abspath(source)
    return "" if path == "." else Path(path).as_posix()


def moved(record: Record, way: str) -> Record:
    """The record with its picture's relative path as seen from another folder; its id stays.

    >>> moved(Record("1", image="../a.png"), "data/tables").image
    'data/a.png'
    """
    image = record.image
    if not way or image is None or os.path.isabs(image) or "://" in image:
        return record
    return replace(record, image=posixpath.normpath(f"{way}/{image}"))
