"""Additions brought into the rows of a prepared manifest: the same rows, with other tags and captions.

As in `prepare`, there are two passes: what columns there are, only the last record tells. Rows are read in
blocks by one process or several, of additions 40 bytes a line are in memory.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from captionkit import Record
from captionkit.readers import map_blocks
from captionkit.readers.source import Block, Report, Source, strict
from captionkit.writers.arrow_parts import ArrowParts, encode_arrow
from captionkit.writers.fields import TAKEN
from captionkit.writers.parts import parts_beside
from captionkit.writers.target import Losses
from trainkit.additions.addition import PERSON, Addition
from trainkit.additions.lines import Lines, lines_of
from trainkit.additions.places import additions_in, file_of
from trainkit.additions.rows import NO_ROW, RowIndex, newest
from trainkit.additions.rule import with_additions
from trainkit.errors import PictureError, TrainkitError
from trainkit.manifest import Manifest
from trainkit.prepare.fingerprint import Fingerprint, content_of
from trainkit.prepare.folder import file_digest
from trainkit.prepare.parts import Part, PartWriter
from trainkit.prepare.scan import COLUMNS
from trainkit.prepared import Added

_PER_BLOCK = 1024
"""Rows that one process takes at a time."""


@dataclass(frozen=True, slots=True)
class MergedRows:
    """What was written."""

    parts: tuple[Part, ...]
    fingerprint: str
    additions: dict[str, Added]
    damaged: tuple[str, ...]
    """The places of additions' lines that cannot be read."""

    def told(self) -> dict[str, object]:
        """What it changes in manifest.json."""
        additions = {name: added.model_dump() for name, added in self.additions.items()}
        return {"parts": self.parts, "fingerprint": self.fingerprint, "additions": additions}


def merge_rows(
    base: Path,
    kept_in: Path,
    before: Set[str],
    work: Path,
    writer: PartWriter,
    *,
    processes: int,
    done: Callable[[int], None],
) -> MergedRows:
    """Write the rows of the prepared folder ``base`` with the additions that are kept in the folder
    ``kept_in``; ``before`` are the names of those that it had until now. ``work`` is a folder for spools.

    Raises TrainkitError when a row or an addition's file cannot be read.
    """
    manifest = Manifest(base)
    additions = _found(manifest, kept_in)
    owned = frozenset({*before, *(addition.name for addition in additions)} - {PERSON})
    counts: Counter[tuple[str, str]] = Counter()
    fingerprint = Fingerprint()
    with parts_beside(work / "merged") as spool:
        records = ArrowParts(spool)
        contents = bytearray()
        damaged: list[tuple[str, str]] = []
        merge = _Merge(manifest, tuple(file_of(kept_in, a.name) for a in additions), owned)
        rows = _Rows(manifest, tuple(additions))
        for amount, block in map_blocks(merge, rows, processes=processes, report=strict):
            records.append(block.records)
            contents += block.contents
            counts.update(block.counts)
            damaged += block.damaged
            done(amount)
        batches = records.batches(marked=True, rows=1)  # So many at most: every chunk by itself.
        every = np.frombuffer(contents, "V16")
        for first, old in _old_blocks(manifest):
            fingerprint.update(every[first : first + old.num_rows], *_pictures(old))
            writer.append(_joined(next(batches), old))
        writer.finish()
    told = {addition.name: addition.counted(counts, damaged) for addition in additions}
    places = [*(place for a in additions for place in a.damaged), *(place for _, place in damaged)]
    return MergedRows(tuple(writer.parts), fingerprint.hexdigest(), told, tuple(places))


@dataclass(frozen=True, slots=True)
class _Lines:
    """The lines of one addition that count."""

    name: str
    digest: str
    rows: NDArray[np.int64]
    """[L], ascending."""
    found: NDArray[np.void]
    """[L] of LINE."""
    stale: int
    gone: int
    damaged: tuple[str, ...]

    def counted(self, counts: Counter[tuple[str, str]], damaged: list[tuple[str, str]]) -> Added:
        """What became of it, by what was counted under its name."""
        unread = sum(name == self.name for name, _ in damaged)
        return Added(
            digest=self.digest,
            pictures=len(self.rows) - unread,
            tags=counts[self.name, "tags"],
            captions=counts[self.name, "captions"],
            known=counts[self.name, "known"],
            denied=counts[self.name, "denied"],
            stale=self.stale,
            gone=self.gone,
            damaged=len(self.damaged) + unread,
        )


def _found(manifest: Manifest, kept_in: Path) -> list[_Lines]:
    """The finished additions, and for which rows their lines are."""
    index = RowIndex.of(manifest)
    additions = []
    for name in additions_in(kept_in):
        path = file_of(kept_in, name)
        lines: Lines = lines_of([path])
        found = lines.found
        rows = index.rows(found["key"])
        fits = index.fit(rows, found["digest"])
        chosen = newest(found["key"], fits)
        rows, fits, found = rows[chosen], fits[chosen], found[chosen]
        gone = int((rows == NO_ROW).sum())
        stale = len(rows) - int(fits.sum()) - gone
        rows, found = rows[fits], found[fits]
        order = np.argsort(rows, kind="stable")
        digest = file_digest(path)
        additions.append(_Lines(name, digest, rows[order], found[order], stale, gone, lines.damaged))
    return additions


@dataclass(frozen=True, slots=True)
class _Some(Block):
    """A stretch of rows, and the lines that are for them."""

    first: int
    count: int
    lines: tuple[tuple[str, NDArray[np.int64], NDArray[np.void]], ...]
    """For each addition its name, rows and lines."""

    @property
    def amount(self) -> int:
        """Rows."""
        return self.count

    def records(self, report: Report) -> Iterator[Record]:
        """Nobody asks: they are read by whoever has the manifest open."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class _Rows(Source):
    """The rows of a prepared folder."""

    manifest: Manifest
    additions: tuple[_Lines, ...]

    @property
    def unit(self) -> str:
        """Rows."""
        return "rows"

    @property
    def root(self) -> Path:
        """The prepared folder."""
        return self.manifest.folder

    def total(self) -> int:
        """How many there are."""
        return len(self.manifest)

    def blocks(self, report: Report) -> Iterator[Block]:
        """Stretches that lie within one part each."""
        for first, old in _old_blocks(self.manifest):
            lines = []
            for addition in self.additions:
                begin, end = np.searchsorted(addition.rows, (first, first + old.num_rows))
                lines.append((addition.name, addition.rows[begin:end], addition.found[begin:end]))
            yield _Some(first, old.num_rows, tuple(lines))


@dataclass(slots=True)
class _Done:
    """What became of one block."""

    records: bytes
    contents: bytes
    """16 bytes a row: `content_of` the record."""
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    damaged: list[tuple[str, str]] = field(default_factory=list)
    """Additions' names, each with the place of a line that cannot be read."""


@dataclass(frozen=True)
class _Merge:
    """What a process does with every block. It can be pickled."""

    manifest: Manifest
    files: tuple[Path, ...]
    """Of the additions, in the order in which blocks name them."""
    owned: frozenset[str]

    def __call__(self, block: Block, report: Report) -> _Done:
        """Raises TrainkitError for a row that holds no record."""
        assert isinstance(block, _Some)
        done = _Done(b"", b"")
        said: dict[int, list[tuple[str, Addition]]] = {}
        for path, (name, rows, found) in zip(self.files, block.lines, strict=True):
            for row, addition in _read(path, name, rows, found, done.damaged):
                said.setdefault(row, []).append((name, addition))
        records, contents = [], []
        for row in range(block.first, block.first + block.count):
            try:
                record = self.manifest.record(row)
            except PictureError as error:
                raise TrainkitError(f"{error}: the folder is damaged; prepare it again") from error
            record = with_additions(record, self.owned, said.get(row, ()), done.counts)
            records.append(record)
            contents.append(content_of(record))
        self.manifest.release()
        done.records = encode_arrow(records, Losses(), TAKEN | COLUMNS, keep_empty=True)
        done.contents = b"".join(contents)
        return done


def _read(
    path: Path,
    name: str,
    rows: NDArray[np.int64],
    found: NDArray[np.void],
    damaged: list[tuple[str, str]],
) -> Iterator[tuple[int, Addition]]:
    """The lines of an addition for some rows."""
    if not len(rows):
        return
    with path.open("rb") as file:
        places = zip(rows.tolist(), found["offset"].tolist(), found["length"].tolist(), strict=True)
        for row, offset, length in places:
            text = os.pread(file.fileno(), length, offset)
            try:
                yield row, Addition.of_line(text, f"{path}: at byte {offset:,}")
            except TrainkitError as error:
                damaged.append((name, str(error)))


def _old_blocks(manifest: Manifest) -> Iterator[tuple[int, Any]]:
    """Stretches of rows as they are, each with the number of its first."""
    for first, batch in manifest.batches():
        for at in range(0, batch.num_rows, _PER_BLOCK):
            yield first + at, batch.slice(at, _PER_BLOCK)


def _pictures(old: Any) -> tuple[NDArray[np.void], NDArray[np.int32], NDArray[np.int32]]:
    digests = np.frombuffer(b"".join(old.column("digest").to_pylist()), "V16")
    width, height = (np.asarray(old.column(side).to_pylist(), np.int32) for side in ("width", "height"))
    return digests, width, height


def _joined(records: Any, old: Any) -> Any:
    """New records with what the old rows say of their pictures; texts are plain."""
    fields, columns = list(records.schema), list(records.columns)
    for place in old.schema:
        if place.name in COLUMNS:
            column = _plain(old.column(place.name))
            fields.append(pa.field(place.name, column.type, metadata=place.metadata))
            columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))


def _plain(column: Any) -> Any:
    """A column without lists of recurring texts."""
    if pa.types.is_dictionary(column.type):
        return column.dictionary_decode()
    if pa.types.is_list(column.type) and pa.types.is_dictionary(column.type.value_type):
        return pa.array(column.to_pylist(), pa.list_(column.type.value_type.value_type))
    return column
