"""Parquet and Arrow tables: one record a row, one column per fact."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from captionkit.readers.arrow_columns import pyarrow
from captionkit.readers.arrow_table import ARROW_SUFFIXES
from captionkit.record import Record
from captionkit.writers.arrow_parts import ArrowParts, encode_arrow
from captionkit.writers.parts import errors_of_writing, parts_beside
from captionkit.writers.target import Losses, Sink, Target
from captionkit.writers.whole_file import whole_file

ROWS_PER_GROUP = 1 << 16
"""So many rows are a Parquet row group: small enough to be read one by one."""
ROWS_PER_BATCH = 1 << 14
"""So many rows are a batch of an Arrow file."""


@dataclass(frozen=True)
class ArrowTarget(Target):
    """A Parquet file, or an Arrow file where the suffix is .arrow, .feather or .ipc.

    Columns: id, image; tags, a list of names, or of structs (name, category, source, score) where more is
    known of any tag; caption, a text, or captions, a list of structs (text, source), where any record has
    several or one that is not by a human. Each fact has a column of its own name and kind. Where a fact is
    text in one record and a number in another, or under a name such as "text" that means something else, it
    stands in the column info, a JSON object. A table with width and height is a manifest of trainkit.

    A record with neither tags nor captions is left out. Memory does not grow with the number of records.
    """

    path: Path
    format: Literal["parquet", "arrow"] | None = None
    """None for what the suffix says."""

    @property
    def home(self) -> Path:
        """The folder at which relative paths of pictures begin."""
        return self.path.parent

    def encode(self, records: Iterable[Record], losses: Losses) -> bytes:
        """The records as one chunk."""
        return encode_arrow(records, losses)

    @contextmanager
    def open(self) -> Iterator[Sink]:
        """Open for writing; leaving the context finishes it."""
        with whole_file(self.path) as file, parts_beside(self.path) as parts:
            sink = ArrowParts(parts)
            yield sink
            schema = sink.schema(marked=True)
            with errors_of_writing(self.path), self._writer(file, schema) as writer:
                for batch in sink.batches(marked=True, rows=self._rows_at_once):
                    writer.write_batch(batch)

    @property
    def _is_arrow(self) -> bool:
        if self.format is not None:
            return self.format == "arrow"
        return self.path.suffix.lower() in ARROW_SUFFIXES

    @property
    def _rows_at_once(self) -> int:
        return ROWS_PER_BATCH if self._is_arrow else ROWS_PER_GROUP

    def _writer(self, file: BinaryIO, schema: Any) -> Any:
        pa = pyarrow()
        if self._is_arrow:
            return pa.ipc.new_file(file, schema)  # Uncompressed, to be mapped into memory.
        return pa.parquet.ParquetWriter(file, schema, compression="zstd")
