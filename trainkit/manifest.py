"""A table of pictures that were measured before: opened in seconds however many there are.

Parquet, a folder of Parquet shards, or an Arrow IPC file (which is memory-mapped). Columns: ``image`` (path,
relative to the table), ``width`` and ``height`` (pixels, after EXIF orientation), ``id`` (optional), and
tags, captions and facts as `captionkit.read_jsonl` takes them. No picture is opened here, and a row becomes
a record only when it is asked for.
"""

from __future__ import annotations

import bisect
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from captionkit import CaptionkitError, Record, record_of
from trainkit.errors import PictureError, TrainkitError

_ARROW_SUFFIXES = frozenset({".arrow", ".feather", ".ipc"})
_IMAGE_COLUMNS = ("image", "file", "file_name")
_SIDES = ("width", "height")
_MOST = 1_000_000
"""Wider or higher is no picture but a mistake."""
_STEM = r"^((?:(?s:.)*/)?\.*[^/.][^/]*)\.[^/.]*$"
"""What `os.path.splitext` leaves of a path, as RE2 understands it."""


def is_manifest(path: Path) -> bool:
    """Whether a path is a Parquet or Arrow file, or a folder with Parquet files directly in it."""
    if path.is_dir():
        return bool(_shards(path))
    return path.suffix.lower() in _ARROW_SUFFIXES | {".parquet"}


def _shards(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("*.parquet") if p.is_file() and not p.name.startswith("."))


INDEX = (*_IMAGE_COLUMNS, *_SIDES, "id")
"""The few columns that say which pictures there are."""


@dataclass(frozen=True)
class Manifest:
    """A table of pictures, read when it is first asked for something.

    A copy in another process reads the files anew, as what was read cannot be pickled.
    """

    path: Path
    columns: tuple[str, ...] | None = None
    """The columns that are read, as far as they are there; None reads all. Records need all."""

    def __reduce__(self) -> tuple[type[Manifest], tuple[Path, tuple[str, ...] | None]]:
        return Manifest, (self.path, self.columns)

    @property
    def folder(self) -> Path:
        """Where the paths of pictures start."""
        return self.path if self.path.is_dir() else self.path.parent

    def __len__(self) -> int:
        return self._parts[-1].end

    def where(self, row: int) -> str:
        """The place of a row as errors name it: rows count from 1 within their file."""
        part = _part_with(self._parts, row)
        return f"{part.file}: row {row - part.before + 1}"

    def record(self, row: int) -> Record:
        """The record of a row, counted from 0. Raises PictureError when none can be made of it."""
        part = _part_with(self._parts, row)
        (fields,) = part.batch.slice(row - part.first, 1).to_pylist(maps_as_pydicts="strict")
        where = f"{part.file}: row {row - part.before + 1}"
        try:
            return record_of(fields, where)
        except CaptionkitError as error:
            raise PictureError(where, str(error).removeprefix(f"{where}: ")) from error

    def sizes(self) -> NDArray[np.int64]:
        """[N, 2]: width and height of every row, 0 where the table says nothing."""
        import pyarrow as pa
        import pyarrow.compute as pc

        columns = []
        for side in _SIDES:
            parts = [pc.fill_null(part.batch.column(side).cast(pa.int64()), 0) for part in self._parts]
            columns.append(np.concatenate([part.to_numpy(zero_copy_only=False) for part in parts]))
        return np.stack(columns, axis=1)

    def images(self) -> Any:
        """The pictures' paths as a pyarrow column of text."""
        return self._texts(_IMAGE_COLUMNS)

    def ids(self) -> Any:
        """The records' ids as a pyarrow column of text: the id, or the picture's path without its suffix."""
        import pyarrow.compute as pc

        stems = pc.replace_substring_regex(self.images(), pattern=_STEM, replacement=r"\1")
        given = self._texts(("id",))
        return stems if given is None else pc.coalesce(given, stems)

    def bad_rows(self) -> dict[int, str]:
        """Rows that name no picture or no size, each with what is wrong."""
        import pyarrow.compute as pc

        nameless = np.flatnonzero(pc.is_null(self.images()).to_numpy())
        bad = dict.fromkeys(nameless.tolist(), "the row names no picture")
        sizes = self.sizes()
        for row in np.flatnonzero(((sizes <= 0) | (sizes > _MOST)).any(axis=1)).tolist():
            width, height = sizes[row]
            bad.setdefault(
                row, f"width and height are {width} and {height}, must be pixels from 1 to {_MOST}"
            )
        return bad

    def twice(self) -> list[str]:
        """Ids that stand there more than once."""
        import pyarrow.compute as pc

        with _frugal_memory():
            ids = self.ids()
            if pc.count_distinct(ids).as_py() == len(ids) - ids.null_count:
                return []
            counted = pc.value_counts(ids.drop_null())
            many = counted.filter(pc.greater(pc.struct_field(counted, [1]), 1))
            return [entry["values"] for entry in many.to_pylist()]

    def _texts(self, names: tuple[str, ...]) -> Any:
        import pyarrow as pa

        parts, found = [], False
        for part in self._parts:
            name = next((n for n in names if n in part.batch.schema.names), None)
            found = found or name is not None
            # A shard without the column holds nothing there; the others' rows still do.
            texts = pa.nulls(part.batch.num_rows) if name is None else part.batch.column(name)
            parts.append(texts.cast(pa.string()))
        return pa.chunked_array(parts, pa.string()) if found else None

    @cached_property
    def _parts(self) -> list[_Part]:
        with _frugal_memory():
            return _read(self.path, self.columns)


@contextlib.contextmanager
def _frugal_memory() -> Iterator[None]:
    """Arrow's own allocator keeps what was freed, a third of all after 3.3 million rows; the system's gives
    it back."""
    import pyarrow as pa

    before, pool = pa.default_memory_pool(), pa.system_memory_pool()
    pa.set_memory_pool(pool)
    try:
        yield
    finally:
        pa.set_memory_pool(before)
        pool.release_unused()


@dataclass(frozen=True, slots=True)
class _Part:
    """Consecutive rows of one file."""

    file: Path
    batch: Any
    """A pyarrow record batch."""
    first: int
    """The number of its first row, counted over all files from 0."""
    before: int
    """How many rows stand in the files before this one."""

    @property
    def end(self) -> int:
        return self.first + int(self.batch.num_rows)


def _part_with(parts: list[_Part], row: int) -> _Part:
    return parts[bisect.bisect_right(parts, row, key=lambda part: part.end)]


def _read(path: Path, columns: tuple[str, ...] | None) -> list[_Part]:
    """All rows of a manifest with those of ``columns`` that it has, or with all columns.

    Raises TrainkitError for what is no table of pictures, or has no rows.
    """
    parts: list[_Part] = []
    row = 0
    for file in _shards(path) if path.is_dir() else [path]:
        before = row
        for batch in _batches(file, columns):
            if batch.num_rows:
                parts.append(_Part(file, batch, row, before))
                row = parts[-1].end
    if not parts:
        raise TrainkitError(f"data.path: {path} holds no rows")
    return parts


def _batches(file: Path, columns: tuple[str, ...] | None) -> list[Any]:
    import pyarrow as pa
    import pyarrow.ipc
    import pyarrow.parquet as pq

    try:
        if file.suffix.lower() in _ARROW_SUFFIXES:
            reader = pyarrow.ipc.open_file(pa.memory_map(str(file)))
            _check_schema(file, reader.schema)
            batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
            return batches if columns is None else [_only(batch, columns) for batch in batches]
        table = pq.ParquetFile(file)
        _check_schema(file, table.schema_arrow)
        # Tags recur: as numbers into a list of names they take a third of the memory.
        table = pq.ParquetFile(file, read_dictionary=_tag_columns(table.schema))
        names = None if columns is None else [name for name in columns if name in table.schema_arrow.names]
        batches = []
        for group in range(table.num_row_groups):
            # All groups at once take half as much memory again.
            batches += table.read_row_group(group, columns=names).to_batches()
            pa.default_memory_pool().release_unused()
        return batches
    except (OSError, pa.ArrowException) as error:
        raise TrainkitError(f"data.path: {file} cannot be read: {error}") from error


def _only(batch: Any, columns: tuple[str, ...]) -> Any:
    return batch.select([name for name in columns if name in batch.schema.names])


def _tag_columns(schema: Any) -> list[str]:
    """The Parquet columns that hold texts of tags, by their full path."""
    columns = [schema.column(i) for i in range(len(schema))]
    return [c.path for c in columns if c.path.startswith("tags.") and c.physical_type == "BYTE_ARRAY"]


def _check_schema(file: Path, schema: Any) -> None:
    """Raises TrainkitError for a column that lacks or is of a wrong type."""
    if len(paths := [name for name in _IMAGE_COLUMNS if name in schema.names]) > 1:
        raise TrainkitError(
            f"data.path: {file} has columns {' and '.join(map(repr, paths))}; keep one of them"
        )
    for names, allowed in ((_IMAGE_COLUMNS, "text"), *(((side,), "whole numbers") for side in _SIDES)):
        name = next((n for n in names if n in schema.names), None)
        if name is None:
            raise TrainkitError(
                f"data.path: {file} has no column {names[0]!r}; a manifest needs image (text), width and "
                f"height (whole numbers, pixels), and has {', '.join(schema.names)}"
            )
        _check_type(file, schema.field(name), allowed)
    if "id" in schema.names:
        _check_type(file, schema.field("id"), "text or whole numbers")


def _check_type(file: Path, field: Any, allowed: str) -> None:
    import pyarrow as pa

    t = pa.types
    kind = field.type.value_type if t.is_dictionary(field.type) else field.type
    is_text = t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind)
    if not (("text" in allowed and is_text) or ("whole" in allowed and t.is_integer(kind))):
        raise TrainkitError(f"data.path: {file}: column {field.name!r} is {field.type}, must be {allowed}")
