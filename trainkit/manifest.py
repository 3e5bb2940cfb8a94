"""A table of pictures that were measured before: opened in seconds however many there are.

A folder as ``trainkit prepare`` writes it, a Parquet or an Arrow IPC file, or a folder of such files. Arrow
files are memory-mapped: what is not looked at is not read, and processes share what is. Columns of a table:
``image`` (path, relative to the table), ``width`` and ``height`` (pixels, after EXIF orientation), ``id``
(optional), and tags, captions and facts as `captionkit.read_jsonl` takes them. No picture is opened here, and
a row becomes a record only when it is asked for.
"""

from __future__ import annotations

import bisect
import mmap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from captionkit import Record
from trainkit.cells import Cell, CellError, empty, missing, numbers
from trainkit.errors import PictureError, TrainkitError
from trainkit.keys import fingerprint_of, keys_of
from trainkit.place import Place
from trainkit.prepared import Prepared, is_prepared, read_prepared
from trainkit.table_files import files_of, frugal_memory, open_parts
from trainkit.table_part import IMAGE_COLUMNS, SIDES, Part

_MOST = 1_000_000
"""Wider or higher is no picture but a mistake."""
_STEM = r"^((?:(?s:.)*/)?\.*[^/.][^/]*)\.[^/.]*$"
"""What `os.path.splitext` leaves of a path, as RE2 understands it."""


@dataclass(frozen=True)
class Manifest:
    """A table of pictures, opened when it is first asked for something.

    A copy in another process opens the files anew; of mapped files that costs milliseconds and no memory.
    """

    path: Path
    columns: tuple[str, ...] | None = None
    """The columns that are read, as far as they are there; None reads all. Records need all."""
    allow_empty: bool = False
    """Whether a row of a plain table may have neither tags nor captions. Rows of a prepared folder may:
    `prepare` was asked for them."""

    def __reduce__(self) -> tuple[type[Manifest], tuple[Path, tuple[str, ...] | None, bool]]:
        return Manifest, (self.path, self.columns, self.allow_empty)

    @cached_property
    def prepared(self) -> Prepared | None:
        """What manifest.json says of a prepared folder; None for other tables."""
        return read_prepared(self.path) if self.path.is_dir() and is_prepared(self.path) else None

    @property
    def folder(self) -> Path:
        """The folder of the table."""
        return self.path if self.path.is_dir() else self.path.parent

    @cached_property
    def root(self) -> str:
        """The path or URL at which the paths of pictures begin."""
        return str(self.folder) if self.prepared is None else self.prepared.root_from(self.folder)

    @property
    def mapped(self) -> bool:
        """Whether rows stay in their files until they are asked for."""
        return not any(file.suffix.lower() == ".parquet" for file in files_of(self.path, self.prepared))

    def __len__(self) -> int:
        return self._ends[-1]

    def where(self, row: int) -> str:
        """The place of a row, counted from 0, as errors name it."""
        return self._part(row).where(row)

    def record(self, row: int) -> Record:
        """The record of a row. Raises PictureError when none can be made of it."""
        return self._part(row).record(row, allow_empty=self.allow_empty or self.prepared is not None)

    def size(self, row: int) -> tuple[int, int]:
        """Width and height of a row, 0 where the table says nothing."""
        return self._part(row).size(row)

    def place(self, row: int, image: str | None) -> Place:
        """Where the picture of a row lies, ``image`` being the path that its record gives.

        Raises PictureError when it would lie outside of the root, or nowhere.
        """
        return self._part(row).place(row, image, self.root)

    def digest(self, row: int) -> bytes:
        """BLAKE2b of 16 bytes over the picture of a row, as `prepare` found it; empty where nobody knows."""
        return self._part(row).digest(row)

    def release(self) -> None:
        """Give back the pages of mapped files that were looked at.

        They stay in the system's cache, and come back when they are looked at again; but until then they do
        not count as this process's memory.
        """
        advice = getattr(mmap, "MADV_DONTNEED", None)
        for opened in {id(part.opened): part.opened for part in self._parts}.values():
            if opened is not None and advice is not None:
                opened.madvise(advice)

    def sizes(self) -> NDArray[np.int32]:
        """[N, 2]: width and height of every row, 0 where the table says nothing; cut at 2^31 - 1."""
        sizes = np.empty((len(self), 2), dtype=np.int32)
        for part in self._parts:
            for i, side in enumerate(SIDES):
                sizes[part.first : part.end, i] = _whole_numbers(part.batch.column(side))
        return sizes

    def batches(self) -> Iterator[tuple[int, Any]]:
        """The rows as pyarrow record batches, each with the number of its first row, looked at whole before.

        Raises TrainkitError for one that pyarrow could not read without harm.
        """
        import pyarrow as pa

        for part in self._parts:
            try:
                part.batch.validate(full=True)
            except pa.ArrowInvalid as error:
                why = " ".join(str(error).split())[:300]
                raise TrainkitError(f"data.path: {part.where(part.first)} and after: {why}") from error
            yield part.first, part.batch

    def images(self) -> Iterator[Any]:
        """The pictures' paths, as pyarrow arrays of text, each for a stretch of rows."""
        return (_texts(part, IMAGE_COLUMNS) for part in self._parts)

    def ids(self) -> Iterator[Any]:
        """The records' ids in the same way: the id, or the picture's path without its suffix."""
        import pyarrow.compute as pc

        for part in self._parts:
            given = _texts(part, ("id",))
            if given.null_count:
                images = _texts(part, IMAGE_COLUMNS)
                stems = pc.replace_substring_regex(images, pattern=_STEM, replacement=r"\1")
                given = pc.coalesce(given, stems)
            yield given

    @property
    def keys(self) -> NDArray[np.uint64]:
        """[N]: the key of every record's id (`keys_of`); 0 where there is none."""
        if self.prepared is None:
            return self._hashed
        keys = np.empty(len(self), dtype=np.uint64)
        for part in self._parts:
            keys[part.first : part.end] = numbers(part.batch.column("key"))
        return keys

    @property
    def digests(self) -> NDArray[np.void]:
        """[N] of 16 bytes: the digests that a prepared folder has, in the order of its rows."""
        digests = np.zeros(len(self), dtype="V16")
        for part in self._parts:
            column = part.batch.column("digest")
            stored = np.frombuffer(column.buffers()[1] or b"", dtype="V16")
            digests[part.first : part.end] = stored[column.offset : column.offset + len(column)]
        return digests

    @cached_property
    def _hashed(self) -> NDArray[np.uint64]:
        """The keys of a table that has none: seconds for millions."""
        import pyarrow as pa

        keys = np.zeros(len(self), dtype=np.uint64)
        for part, ids in zip(self._parts, self.ids(), strict=True):
            named = part.first + np.flatnonzero(~missing(ids))
            keys[named] = keys_of(ids.drop_null().cast(pa.binary()).to_pylist())
        return keys

    def key(self, row: int) -> int:
        """The key that a prepared folder has for a row."""
        part = self._part(row)
        return int(part.cells["key"](row - part.first) or 0)

    def fingerprint(self, sizes: NDArray[np.int32]) -> str:
        """What a prepared folder says of itself; else a hash of ids and ``sizes``, those of all rows."""
        return fingerprint_of(self.keys, sizes) if self.prepared is None else self.prepared.fingerprint

    def num_untold(self) -> int:
        """How many rows of a prepared folder have neither tags nor captions; 0 for other tables, where such a
        row is bad."""
        if self.prepared is None:
            return 0
        untold = 0
        for part in self._parts:
            texts = [name for name in ("tags", "captions", "caption") if name in part.batch.schema.names]
            nothing = np.ones(part.batch.num_rows, dtype=np.bool_)
            for name in texts:
                nothing &= empty(part.batch.column(name))
            untold += int(nothing.sum())
        return untold

    def bad_rows(self, sizes: NDArray[np.int32]) -> dict[int, str]:
        """Rows that name no picture or no size, each with what is wrong; ``sizes`` are the rows'."""
        bad: dict[int, str] = {}
        if self.prepared is None:
            for part, images in zip(self._parts, self.images(), strict=True):
                for row in np.flatnonzero(missing(images)).tolist():
                    bad[part.first + row] = self._why_nameless(part.first + row)
        for row in np.flatnonzero(((sizes <= 0) | (sizes > _MOST)).any(axis=1)).tolist():
            width, height = self.size(row)
            bad.setdefault(
                row, f"width and height are {width} and {height}, must be pixels from 1 to {_MOST}"
            )
        return bad

    def twice(self) -> list[str]:
        """Ids that stand there more than once. A prepared folder's are distinct where it says so."""
        if self.prepared is not None and self.prepared.ids_distinct:
            return []
        ordered = np.sort(self.keys)
        twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
        if not len(twice):
            return []
        counted: Counter[str] = Counter()
        for part, ids in zip(self._parts, self.ids(), strict=True):
            rows = np.flatnonzero(np.isin(self.keys[part.first : part.end], twice))
            counted.update(id for id in ids.take(rows).to_pylist() if id is not None)
        return [id for id, count in counted.items() if count > 1]

    def _why_nameless(self, row: int) -> str:
        try:
            self.record(row)
        except PictureError as error:
            if error.reason.startswith("column "):
                return error.reason
        return "the row names no picture"

    def _part(self, row: int) -> Part:
        return self._parts[bisect.bisect_right(self._ends, row)]

    @cached_property
    def _ends(self) -> list[int]:
        return [part.end for part in self._parts]

    @cached_property
    def _parts(self) -> list[Part]:
        try:
            with frugal_memory():
                return open_parts(self.path, self.prepared, self.columns)
        except TrainkitError:
            if self.prepared is None or read_prepared(self.path) == self.prepared:
                raise
            raise TrainkitError(
                f"data.path: {self.path} was written anew just as it was opened, as by a tagger that ends: "
                "run the same command again"
            ) from None


def _whole_numbers(column: Any) -> NDArray[np.integer[Any]]:
    """Values of a column within 32 bits, larger ones cut; 0 for what is missing or cannot be read."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        try:
            column.validate(full=True)
        except pa.ArrowInvalid:
            return np.zeros(len(column), dtype=np.int32)
        column = column.dictionary_decode()
    values, limits = numbers(column), np.iinfo(np.int32)
    if values.dtype.itemsize < limits.dtype.itemsize or values.dtype == limits.dtype:
        return values
    return values.clip(max(limits.min, np.iinfo(values.dtype).min), limits.max)


def _texts(part: Part, names: tuple[str, ...]) -> Any:
    """A column of a part as text; null where there is none, and where it cannot be read."""
    import pyarrow as pa

    name = next((n for n in names if n in part.batch.schema.names), None)
    # A shard without the column holds nothing there; the others' rows still do.
    if name is None:
        return pa.nulls(part.batch.num_rows, pa.string())
    column = part.batch.column(name)
    try:
        column.validate(full=True)
        return column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        cell = part.cells[name]
        return pa.array([_text(cell, row) for row in range(part.batch.num_rows)], pa.string())


def _text(cell: Cell, row: int) -> str | None:
    try:
        value = cell(row)
    except (CellError, IndexError):
        return None
    return None if value is None else str(value)
