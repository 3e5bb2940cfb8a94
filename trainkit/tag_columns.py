"""The tags of a whole data set as numbers: what millions of records say is looked at without making one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from captionkit import Record
from trainkit.errors import PictureError
from trainkit.manifest import Manifest
from trainkit.picture import Picture

_AT_ONCE = 4096
"""Records that are made in one go where tags do not stand in columns of their own."""


@dataclass(frozen=True, slots=True)
class TagBatch:
    """The tags of consecutive rows, T in all."""

    first: int
    """The number of the first row."""
    offsets: NDArray[np.int64]
    """[rows + 1]: where each row's tags begin."""
    names: NDArray[np.int32]
    """[T]: each tag's place in ``vocabulary``."""
    vocabulary: Sequence[str]
    categories: NDArray[np.int32]
    """[T]: each tag's place in ``known_categories``; -1 where nobody said."""
    known_categories: Sequence[str]

    def __len__(self) -> int:
        return len(self.offsets) - 1


def tags_of_manifest(manifest: Manifest) -> Iterator[TagBatch]:
    """The tags of all rows. Columns that hold lists of names, or of structs with names, are taken as they
    are; of others records are made, a thousand times slower. Rows without a record have no tags."""
    for first, batch in manifest.batches():
        found = _from_columns(first, batch)
        if found is not None:
            yield found
            continue
        for begin in range(first, first + batch.num_rows, _AT_ONCE):
            rows = range(begin, min(begin + _AT_ONCE, first + batch.num_rows))
            yield tags_of_records(begin, (_record(manifest, row) for row in rows))


def tags_of_pictures(pictures: Sequence[Picture]) -> Iterator[TagBatch]:
    """The same for pictures that are in memory; rows are their places."""
    for first in range(0, len(pictures), _AT_ONCE):
        yield tags_of_records(first, (p.record for p in pictures[first : first + _AT_ONCE]))


def tags_of_records(first: int, records: Iterable[Record | None]) -> TagBatch:
    """The tags of a few records; None has none."""
    names: dict[str, int] = {}
    categories: dict[str, int] = {}
    tags: list[tuple[int, int]] = []
    offsets = [0]
    for record in records:
        for tag in () if record is None else record.tags:
            category = -1 if tag.category is None else categories.setdefault(tag.category, len(categories))
            tags.append((names.setdefault(tag.name, len(names)), category))
        offsets.append(len(tags))
    both = np.array(tags, dtype=np.int32).reshape(-1, 2)
    return TagBatch(
        first, np.array(offsets, dtype=np.int64), both[:, 0], tuple(names), both[:, 1], tuple(categories)
    )


def _record(manifest: Manifest, row: int) -> Record | None:
    try:
        return manifest.record(row)
    except PictureError:
        return None


def _from_columns(first: int, batch: Any) -> TagBatch | None:
    """The tags of a record batch; None when they do not stand there as lists of names."""
    import pyarrow as pa

    if "tags" not in batch.schema.names:
        return _nothing(first, batch.num_rows)
    column = batch.column("tags")
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return None
    if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
        return None
    lengths = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths, dtype=np.int64)])
    flat = column.flatten()
    kinds = pa.types.is_struct(flat.type)
    if kinds and flat.type.get_field_index("name") < 0:
        return None
    names = _numbered(flat.field("name") if kinds else flat)
    has_category = kinds and flat.type.get_field_index("category") >= 0
    categories = _numbered(flat.field("category")) if has_category else None
    if names is None or flat.null_count or (names[0] < 0).any():
        return None
    none = np.full(len(flat), -1, dtype=np.int32)
    return TagBatch(first, offsets, *names, *(categories or (none, ())))


def _numbered(column: Any) -> tuple[NDArray[np.int32], list[str]] | None:
    """A column of text as places in a list of texts, -1 for null; None for a column of something else."""
    import pyarrow as pa

    if not pa.types.is_dictionary(column.type):
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            return None
        column = column.dictionary_encode()
    elif not (pa.types.is_string(column.type.value_type) or pa.types.is_large_string(column.type.value_type)):
        return None
    numbers = column.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
    return numbers, column.dictionary.to_pylist()


def _nothing(first: int, rows: int) -> TagBatch:
    none = np.zeros(0, dtype=np.int32)
    return TagBatch(first, np.zeros(rows + 1, dtype=np.int64), none, (), none, ())
