"""Consecutive rows of one file of a manifest: single rows as records and places."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from captionkit import CaptionkitError, Record, record_of
from trainkit.cells import Cell, CellError, cell_of
from trainkit.errors import PictureError
from trainkit.place import Place, place_of

IMAGE_COLUMNS = ("image", "file", "file_name")
SIDES = ("width", "height")
PLACED = ("container", "offset", "length", "digest")
"""The columns that say where a picture's bytes lie; a table has all of them or none."""
DIGEST_BYTES = 16

_NO_FACTS = frozenset({*PLACED, *SIDES, "mtime_ns", "key", "phash", "flags"})
"""What `prepare` adds to a record."""
_WHOLE = (b"captionkit", b"decimals without a fraction are whole numbers")
"""What captionkit's writer notes at a column of decimals in which whole numbers keep their kind."""


@dataclass(frozen=True)
class Part:
    """A pyarrow record batch and where it stands."""

    file: Path
    batch: Any
    first: int
    """The number of its first row, counted over all files from 0."""
    before: int
    """How many rows stand in the files before this one."""
    opened: mmap.mmap | None
    """The map of its file; None when the rows were decoded."""

    @property
    def end(self) -> int:
        """The number of the row behind its last."""
        return self.first + int(self.batch.num_rows)

    def where(self, row: int) -> str:
        """The place of a row as errors name it: rows count from 1 within their file."""
        return f"{self.file}: row {row - self.before + 1}"

    def record(self, row: int, *, allow_empty: bool = False) -> Record:
        """The record of a row, counted over all files; with ``allow_empty`` it may have neither tags nor
        captions. Raises PictureError when none can be made of it."""
        where, at, name = self.where(row), row - self.first, ""
        fields: dict[str, Any] = {}
        try:
            for name, cell in self._fields:
                fields[name] = cell(at)
        except (CellError, IndexError) as error:
            raise _broken(where, name, error) from error
        for name in self._whole:
            if isinstance(value := fields[name], float) and value.is_integer():
                fields[name] = int(value)
        try:
            return record_of(fields, where, allow_empty=allow_empty)
        except CaptionkitError as error:
            raise PictureError(where, str(error).removeprefix(f"{where}: ")) from error

    def size(self, row: int) -> tuple[int, int]:
        """Width and height of a row; 0 where the table says nothing."""
        width, height = (self.cells[side](row - self.first) for side in SIDES)
        return int(width or 0), int(height or 0)

    def place(self, row: int, image: str | None, root: str) -> Place:
        """Where the picture of a row lies, ``image`` being the path that its record gives.

        Raises PictureError when it would lie outside of the root, or nowhere.
        """
        where, at, name = self.where(row), row - self.first, ""
        if image is None:
            raise PictureError(where, "the row names no picture")
        if not self._placed:
            return place_of(where, root, image, absolute=True)
        found: list[Any] = []
        try:
            for name in PLACED:
                found.append(self.cells[name](at))
        except (CellError, IndexError) as error:
            raise _broken(where, name, error) from error
        container, offset, length, digest = found
        if (offset or 0) < 0 or (length or 0) < 0:
            raise PictureError(where, f"offset and length are {offset} and {length}, must be 0 or more")
        return place_of(where, root, image, container, offset or 0, length, digest)

    def digest(self, row: int) -> bytes:
        """The digest of a row's picture; empty where the table has none, or one that cannot be read."""
        if not self._placed:
            return b""
        try:
            return self.cells["digest"](row - self.first) or b""
        except (CellError, IndexError):
            return b""

    @cached_property
    def cells(self) -> dict[str, Cell]:
        """What reads single values, by column."""
        return {name: cell_of(self.batch.column(name)) for name in self.batch.schema.names}

    @cached_property
    def _placed(self) -> bool:
        return has_places(self.batch.schema)

    @cached_property
    def _fields(self) -> list[tuple[str, Cell]]:
        """The columns that make the record."""
        passed_over = _NO_FACTS if self._placed else frozenset()
        return [(name, cell) for name, cell in self.cells.items() if name not in passed_over]

    @cached_property
    def _whole(self) -> list[str]:
        fields = [field for field in self.batch.schema if field.metadata is not None]
        names = {field.name for field in fields if field.metadata.get(_WHOLE[0]) == _WHOLE[1]}
        return [name for name, _ in self._fields if name in names]


def _broken(where: str, column: str, error: Exception) -> PictureError:
    why = str(error) if isinstance(error, CellError) else "is cut short"
    return PictureError(where, f"column {column!r} {why}")


def has_places(schema: Any) -> bool:
    """Whether a table says where its pictures' bytes lie, as `prepare` writes it."""
    import pyarrow as pa

    types = dict(zip(schema.names, schema.types, strict=True))
    return (
        all(name in types for name in PLACED)
        and is_text(types["container"])
        and types["offset"] == types["length"] == pa.int64()
        and types["digest"] == pa.binary(DIGEST_BYTES)
    )


def is_text(kind: Any) -> bool:
    """Whether a type is text, or numbers into a list of texts."""
    import pyarrow as pa

    t = pa.types
    kind = kind.value_type if t.is_dictionary(kind) else kind
    return bool(t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind))
