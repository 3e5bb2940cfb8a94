"""The files of a manifest: opened, looked at, and cut into stretches of rows."""

from __future__ import annotations

import contextlib
import mmap
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainkit.errors import TrainkitError
from trainkit.prepared import SUMMARY, Prepared, is_prepared
from trainkit.table_part import DIGEST_BYTES, IMAGE_COLUMNS, PLACED, SIDES, Part, is_text

INDEX = (*IMAGE_COLUMNS, *SIDES, "id")
"""The few columns that say which pictures there are."""
_ARROW_SUFFIXES = frozenset({".arrow", ".feather", ".ipc"})
_SUFFIXES = _ARROW_SUFFIXES | {".parquet"}


def is_manifest(path: Path) -> bool:
    """Whether a path is a Parquet or Arrow file, a prepared folder, or a folder with such files in it."""
    if path.is_dir():
        return is_prepared(path) or bool(_shards(path))
    return path.suffix.lower() in _SUFFIXES


def _shards(folder: Path) -> list[Path]:
    """By name. What `datasets` saves are streams of its own, which captionkit reads."""
    if (folder / "dataset_info.json").exists() or (folder / "dataset_dict.json").exists():
        return []
    names = sorted(name for name in os.listdir(folder) if not name.startswith((".", "_")))
    files = [folder / name for name in names if os.path.splitext(name)[1].lower() in _SUFFIXES]
    return [file for file in files if file.is_file()]


def open_parts(path: Path, prepared: Prepared | None, columns: tuple[str, ...] | None) -> list[Part]:
    """All rows of a manifest with those of ``columns`` that it has, or with all columns.

    Raises TrainkitError for what is no table of pictures, has no rows, or is not what manifest.json says.
    """
    parts: list[Part] = []
    row = 0
    for file in files_of(path, prepared):
        before = row
        batches, opened = _batches(file, columns, placed=prepared is not None)
        for batch in batches:
            if batch.num_rows:
                parts.append(Part(file, batch, row, before, opened))
                row = parts[-1].end
        if prepared is not None:
            _check_rows(file, row - before, prepared)
    if not parts:
        raise TrainkitError(f"data.path: {path} holds no rows")
    return parts


def files_of(path: Path, prepared: Prepared | None) -> list[Path]:
    """The files of a manifest, in the order of their rows.

    Raises TrainkitError when one of a prepared folder is not there, or not as long as manifest.json says.
    """
    if prepared is None:
        return _shards(path) if path.is_dir() else [path]
    for part in prepared.parts:
        file = path / part.file
        try:
            size = file.stat().st_size
        except OSError as error:
            why = "is not there" if isinstance(error, FileNotFoundError) else error.strerror
            raise TrainkitError(
                f"data.path: {file} {why}, but {SUMMARY} names it: bring it back, or prepare again"
            ) from error
        if size != part.bytes:
            raise TrainkitError(
                f"data.path: {file} has {size:,} bytes, {SUMMARY} says {part.bytes:,}: it was cut short or "
                "changed; copy it again, or prepare again"
            )
    return [path / part.file for part in prepared.parts]


def _check_rows(file: Path, rows: int, prepared: Prepared) -> None:
    (said,) = [part.rows for part in prepared.parts if part.file == file.name]
    if rows != said:
        raise TrainkitError(
            f"data.path: {file} has {rows:,} rows, {SUMMARY} says {said:,}: prepare the folder again"
        )


def _batches(
    file: Path, columns: tuple[str, ...] | None, *, placed: bool
) -> tuple[list[Any], mmap.mmap | None]:
    """The record batches of a file, and its map if it has one."""
    import pyarrow as pa

    opened = None
    try:
        if placed or file.suffix.lower() in _ARROW_SUFFIXES:
            opened = _map(file)
            batches = _mapped(file, opened, placed=placed)
            if columns is not None:
                batches = [batch.select([n for n in columns if n in batch.schema.names]) for batch in batches]
        else:
            batches = _decoded(file, columns)
        for batch in batches:
            batch.validate()  # Whether buffers are as long as their rows need; the rest is seen cell by cell.
    except (OSError, pa.ArrowException, UnicodeDecodeError, OverflowError, ValueError) as error:
        if isinstance(error, TrainkitError):
            raise
        why = " ".join(str(error).split())[:300]
        raise TrainkitError(f"data.path: {file} cannot be read: {why}") from error
    return batches, opened


def _map(file: Path) -> mmap.mmap:
    """The bytes of a file in memory, read where they are looked at."""
    with file.open("rb") as opened:
        # Where Python can, it keeps no descriptor: there may be thousands of parts.
        untracked = {"trackfd": False} if sys.version_info >= (3, 13) else {}
        return mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ, **untracked)


def _mapped(file: Path, opened: mmap.mmap, *, placed: bool) -> list[Any]:
    """Nothing is read but where columns begin; those of compressed files are unpacked."""
    import pyarrow as pa
    import pyarrow.ipc

    reader = pyarrow.ipc.open_file(pa.BufferReader(pa.py_buffer(opened)))
    _check_schema(file, reader.schema, placed=placed)
    return [reader.get_batch(i) for i in range(reader.num_record_batches)]


def _decoded(file: Path, columns: tuple[str, ...] | None) -> list[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.ParquetFile(file)
    _check_schema(file, table.schema_arrow, placed=False)
    # Tags recur: as numbers into a list of names they take a third of the memory.
    table = pq.ParquetFile(file, read_dictionary=_tag_columns(table.schema))
    names = None if columns is None else [name for name in columns if name in table.schema_arrow.names]
    batches = []
    for group in range(table.num_row_groups):
        # All groups at once take half as much memory again.
        batches += table.read_row_group(group, columns=names).to_batches()
        pa.default_memory_pool().release_unused()
    return batches


def _tag_columns(schema: Any) -> list[str]:
    """The Parquet columns that hold texts of tags, by their full path."""
    columns = [schema.column(i) for i in range(len(schema))]
    return [c.path for c in columns if c.path.startswith("tags.") and c.physical_type == "BYTE_ARRAY"]


@contextlib.contextmanager
def frugal_memory() -> Iterator[None]:
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


def _check_schema(file: Path, schema: Any, *, placed: bool) -> None:
    """Raises TrainkitError for a column that lacks, is there twice, or is of a wrong type."""
    names = schema.names
    for kind in schema.types:
        _read_names(kind)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise TrainkitError(f"data.path: {file} has more than one column {twice!r}; keep one of them")
    if len(paths := [name for name in IMAGE_COLUMNS if name in names]) > 1:
        raise TrainkitError(
            f"data.path: {file} has columns {' and '.join(map(repr, paths))}; keep one of them"
        )
    for columns, allowed in ((IMAGE_COLUMNS, "text"), *(((side,), "whole numbers") for side in SIDES)):
        name = next((n for n in columns if n in names), None)
        if name is None:
            raise TrainkitError(
                f"data.path: {file} has no column {columns[0]!r}; a manifest needs image (text), width and "
                f"height (whole numbers, pixels), and has {', '.join(names)}"
            )
        _check_type(file, schema.field(name), allowed)
    if "id" in names:
        _check_type(file, schema.field("id"), "text or whole numbers")
    if placed:
        _check_placed(file, schema)


def _read_names(kind: Any) -> None:
    """Raises UnicodeDecodeError for a name inside of a type that is no text."""
    for i in range(kind.num_fields):
        field = kind.field(i)
        assert isinstance(field.name, str)
        _read_names(field.type)


def _check_placed(file: Path, schema: Any) -> None:
    needed = (*PLACED, "id", "key")
    if missing := [name for name in needed if name not in schema.names]:
        raise TrainkitError(
            f"data.path: {file} has no column {missing[0]!r}: it is no part of a prepared folder, though "
            f"{SUMMARY} names it; prepare the folder again"
        )
    for name, allowed in (
        ("id", "text"),
        ("container", "text"),
        ("offset", "int64"),
        ("length", "int64"),
        ("digest", f"fixed_size_binary[{DIGEST_BYTES}]"),
        ("key", "uint64"),
    ):
        _check_type(file, schema.field(name), allowed)


def _check_type(file: Path, field: Any, allowed: str) -> None:
    import pyarrow as pa

    t = pa.types
    kind = field.type.value_type if t.is_dictionary(field.type) else field.type
    if not (
        ("text" in allowed and is_text(kind))
        or ("whole" in allowed and t.is_integer(kind))
        or str(kind) == allowed
    ):
        raise TrainkitError(f"data.path: {file}: column {field.name!r} is {field.type}, must be {allowed}")
