"""Rows of the manifest as Arrow files of one record batch each, to be mapped into memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

import pyarrow as pa

from trainkit.prepare.folder import file_digest

_LARGE_BYTES = 1 << 30
"""A part of more bytes is closed early: offsets into its texts have 32 bits."""
_FIRST = ("image", "container", "offset", "length", "digest", "mtime_ns", "width", "height", "id", "key",
          "phash", "flags")  # fmt: skip


class Part(TypedDict):
    """A part as manifest.json names it."""

    file: str
    rows: int
    bytes: int
    digest: str
    """BLAKE2b of 16 bytes over the file, hex."""


class PartWriter:
    """Takes rows and writes a part whenever there are enough."""

    def __init__(self, folder: Path, rows_per_part: int, *, by_content: bool = False) -> None:
        self._folder = folder
        self._rows_per_part = rows_per_part
        self._by_content = by_content
        """Whether names tell what is in a part, so that it can lie beside one of the same rows that says
        something else."""
        self._waiting: list[Any] = []
        self._rows = self._bytes = 0
        self.parts: list[Part] = []

    def append(self, batch: Any) -> None:
        """Add the rows of a record batch, whose schema is that of all before."""
        for piece in _pieces(batch, self._rows_per_part):
            if self._bytes + piece.nbytes > _LARGE_BYTES:
                self._write(self._rows)
            self._waiting.append(piece)
            self._rows += piece.num_rows
            self._bytes += piece.nbytes
            if self._rows >= self._rows_per_part:
                self._write(self._rows_per_part)

    def finish(self) -> None:
        """Write what is left."""
        self._write(self._rows)

    def _write(self, rows: int) -> None:
        if not rows:
            return
        whole = pa.concat_batches(self._waiting)
        rest = whole.slice(rows)
        self._waiting = [rest] if rest.num_rows else []
        self._rows, self._bytes = rest.num_rows, rest.nbytes
        batch = _encoded(pa.concat_batches([whole.slice(0, rows)]))
        path = self._folder / f"part-{len(self.parts):05d}.arrow"
        with path.open("wb") as file:
            with pa.ipc.new_file(file, batch.schema) as out:
                out.write_batch(batch)
            file.flush()
            os.fsync(file.fileno())
        digest = file_digest(path)
        if self._by_content:
            path = path.rename(path.with_name(f"{path.stem}-{digest[:8]}{path.suffix}"))
        self.parts.append(Part(file=path.name, rows=rows, bytes=path.stat().st_size, digest=digest))


def _pieces(batch: Any, rows: int) -> Iterator[Any]:
    for at in range(0, batch.num_rows, rows):
        yield batch.slice(at, rows)


def _encoded(batch: Any) -> Any:
    """The columns in their order, texts that recur as numbers into a list of them. The batch is no slice."""
    names = [*_FIRST, *(name for name in batch.schema.names if name not in _FIRST)]
    fields, columns = [], []
    for name in names:
        field, column = batch.schema.field(name), batch.column(name)
        if name == "container":
            column = column.dictionary_encode()
        elif name in ("tags", "flags"):
            column = pa.ListArray.from_arrays(column.offsets, _numbered(column.values))
        fields.append(pa.field(name, column.type, metadata=field.metadata))
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))


def _numbered(values: Any) -> Any:
    if not pa.types.is_struct(values.type):
        return values.dictionary_encode()
    children = [values.field(at) for at in range(values.type.num_fields)]
    names = [child.name for child in values.type]
    children = [c.dictionary_encode() if pa.types.is_string(c.type) else c for c in children]
    return pa.StructArray.from_arrays(children, names=names)
