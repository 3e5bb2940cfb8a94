"""A table with a column of lists: JSON Lines or Parquet."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from captionkit.bake.form import Form, percent
from captionkit.bake.variants import Baked, Counts
from captionkit.convert import moved, way
from captionkit.errors import DataError
from captionkit.needs import needed
from captionkit.record import Record
from captionkit.writers.parts import errors_of_writing
from captionkit.writers.pictures import Picture
from captionkit.writers.target import Losses, Sink
from captionkit.writers.whole_file import whole_file

SUFFIXES = (".jsonl", ".parquet")
ROWS_PER_GROUP = 10_000


@dataclass(frozen=True)
class TextLists(Form):
    """A row for each picture: `file_name`, `text` (all its captions, to the letter) and `may_flip`.

    `path` ends in .jsonl or .parquet. `file_name` is relative to the folder of the table. As `metadata.jsonl`
    or `metadata.parquet` in the folder of the pictures it is what `load_dataset("imagefolder")` reads, and
    with it the text-to-image scripts of diffusers, which draw one text of a list at each step.
    `may_flip` says whether the picture may be mirrored.
    """

    path: Path
    root: Path
    """The folder at which the records' paths begin."""

    def picture(self, record: Record, losses: Losses) -> Picture | None:
        """Where the record's picture goes; None, and a note, where it cannot."""
        image = moved(record, way(self.root, self.path.parent)).image
        if image is None or not image.strip():
            losses.leave_out("records without a picture", record.id)
            return None
        return Picture(image, image)

    def encode(self, baked: Iterable[Baked]) -> bytes:
        """The records as one chunk."""
        return b"".join(
            json.dumps(
                {"file_name": one.picture.place, "text": one.texts, "may_flip": one.may_flip},
                ensure_ascii=False,
            ).encode("utf-8", "replace")
            + b"\n"
            for one in baked
        )

    @contextmanager
    def open(self) -> Iterator[Sink]:
        """Open for writing; leaving the context finishes it."""
        suffix = self.path.suffix.lower()
        if suffix not in SUFFIXES:
            raise DataError(
                f"the suffix of a table is {' or '.join(SUFFIXES)}, not {suffix!r}", where=str(self.path)
            )
        with errors_of_writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(self.path) as file:
                if suffix == ".jsonl":
                    yield _Lines(file)
                    return
                sink = _Rows(file)
                try:
                    yield sink
                    sink.flush()
                finally:
                    sink.close()

    def advice(self, count: Counts) -> list[str]:
        """What to set in the trainer."""
        kind = "json" if self.path.suffix.lower() == ".jsonl" else "parquet"
        lines = [
            f'datasets: load_dataset("{kind}", data_files="{self.path}"); with the pictures: call it'
            f' metadata{self.path.suffix} in their folder, and load_dataset("imagefolder", data_dir=...)',
            "diffusers: train_text_to_image.py --train_data_dir FOLDER --caption_column text",
            "MosaicML diffusion: convert with the list as the caption, caption_selection: random",
        ]
        if count.may_flip < count.pictures:
            lines.append(
                f"{count.pictures - count.may_flip:,} of {count.pictures:,} pictures must not be mirrored"
                " (column may_flip): no --random_flip, or mirror in your own transform"
            )
        if count.empty:
            share = percent(count.empty / count.texts)
            lines.append(f"{share} of the captions are empty: no caption dropout of the trainer")
        return lines


class _Lines(Sink):
    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def append(self, chunk: bytes) -> None:
        """Write one chunk."""
        self._file.write(chunk)


class _Rows(Sink):
    """Parquet in groups of rows, which do not depend on how the records came."""

    def __init__(self, file: BinaryIO) -> None:
        self._arrow: Any = needed("pyarrow", "tables", "writing Parquet")
        parquet: Any = needed("pyarrow.parquet", "tables", "writing Parquet")
        texts = self._arrow.list_(self._arrow.string())
        self._schema: Any = self._arrow.schema(
            {"file_name": self._arrow.string(), "text": texts, "may_flip": self._arrow.bool_()}
        )
        self._writer: Any = parquet.ParquetWriter(file, self._schema, compression="zstd")
        self._rows: list[dict[str, object]] = []

    def append(self, chunk: bytes) -> None:
        """Write one chunk."""
        self._rows += map(json.loads, chunk.splitlines())
        while len(self._rows) >= ROWS_PER_GROUP:
            self._write(self._rows[:ROWS_PER_GROUP])
            del self._rows[:ROWS_PER_GROUP]

    def flush(self) -> None:
        """Write the last rows."""
        if self._rows:
            self._write(self._rows)

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()

    def _write(self, rows: list[dict[str, object]]) -> None:
        self._writer.write_table(self._arrow.Table.from_pylist(rows, self._schema))
