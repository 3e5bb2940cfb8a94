"""Hugging Face datasets: a folder that `datasets.load_from_disk` opens."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captionkit.errors import DataError
from captionkit.needs import needed
from captionkit.readers.arrow_columns import pyarrow
from captionkit.readers.hf_dataset import STATE_FILE
from captionkit.record import Record
from captionkit.writers.arrow_parts import ArrowParts, encode_arrow
from captionkit.writers.parts import errors_of_writing, parts_beside, replaced_folder
from captionkit.writers.target import Losses, Sink, Target

ROWS_PER_BATCH = 1000
"""As `datasets` itself writes them."""
SHARD_BYTES = 500_000_000
"""The size of a shard at which `datasets` begins the next."""


@dataclass(frozen=True)
class HfTarget(Target):
    """A folder as `Dataset.save_to_disk` writes it, of one split, with the columns of `ArrowTarget`.

    A fact that is a whole number in one record and a decimal one in another stands in the column info, since
    `datasets` keeps no marks on columns. Memory does not grow with the number of records.
    """

    path: Path

    @property
    def home(self) -> Path:
        """The folder at which relative paths of pictures begin."""
        return self.path

    def encode(self, records: Iterable[Record], losses: Losses) -> bytes:
        """The records as one chunk."""
        return encode_arrow(records, losses)

    @contextmanager
    def open(self) -> Iterator[Sink]:
        """Open for writing; leaving the context finishes it."""
        path = Path(self.path)
        _check_replaceable(path)
        datasets = needed("datasets", "datasets", "writing Hugging Face datasets")
        with replaced_folder(path) as partial, parts_beside(path) as parts:
            sink = ArrowParts(parts)
            yield sink
            schema = sink.schema(marked=False)
            features = datasets.Features.from_arrow_schema(schema)
            with errors_of_writing(path):
                files = _write_shards(partial, features.arrow_schema, sink)
                _write_state(partial, features, files, sink.fingerprint)


def _check_replaceable(path: Path) -> None:
    """Raises `DataError` for a folder that something else lies in: it would be deleted."""
    if path.is_dir() and any(path.iterdir()) and not (path / STATE_FILE).is_file():
        raise DataError(
            "is a folder of something else", where=str(path), hint="choose a name that is not there yet"
        )
    if path.exists() and not path.is_dir():
        raise DataError("is a file, not a folder", where=str(path), hint="choose another name")


def _write_shards(folder: Path, schema: Any, sink: ArrowParts) -> list[str]:
    """The rows as Arrow streams; the names of their files."""
    pa = pyarrow()
    files: list[Path] = []
    stream: Any = None
    written = 0
    try:
        for batch in sink.batches(marked=False, rows=ROWS_PER_BATCH):
            if stream is not None and written + batch.nbytes > SHARD_BYTES:
                stream.close()
                stream = None
            if stream is None:
                files.append(folder / f"data-{len(files):05}")
                stream, written = pa.ipc.new_stream(str(files[-1]), schema), 0
            stream.write_batch(batch.cast(schema))
            written += batch.nbytes
    finally:
        if stream is not None:
            stream.close()
    # Their names tell how many there are, which only the last one knows.
    return [file.rename(f"{file}-of-{len(files):05}.arrow").name for file in files]


def _write_state(folder: Path, features: Any, files: list[str], fingerprint: str) -> None:
    """What `load_from_disk` reads: made by `datasets` itself for a table without rows, and then filled in."""
    datasets = needed("datasets", "datasets", "writing Hugging Face datasets")
    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        datasets.Dataset(features.arrow_schema.empty_table()).save_to_disk(str(folder))
    finally:
        if shown:
            datasets.enable_progress_bars()
    state = json.loads((folder / STATE_FILE).read_text("utf-8"))
    state |= {"_data_files": [{"filename": name} for name in files], "_fingerprint": fingerprint}
    (folder / STATE_FILE).write_text(json.dumps(state, indent=2, sort_keys=True), "utf-8")
