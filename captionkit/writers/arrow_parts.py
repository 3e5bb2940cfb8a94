"""Arrow chunks with columns of their own, as batches of one schema that holds them all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from captionkit.readers.arrow_columns import pyarrow
from captionkit.readers.arrow_rows import column_values
from captionkit.readers.facts import ID_KEY, INFO_KEY
from captionkit.readers.fields import TAGS_KEY
from captionkit.record import Fact, Record
from captionkit.writers.arrow_batch import (
    CAPTION_KEY,
    CAPTIONS_KEY,
    FIRST,
    IMAGE_KEY,
    batch_of,
    caption_type,
    fact_field,
    info_json,
    tag_type,
)
from captionkit.writers.fact_columns import FactUse, columns, from_json, merged, to_json
from captionkit.writers.fields import HUMAN, TAKEN, as_unicode, readable
from captionkit.writers.parts import Parts
from captionkit.writers.target import Losses, Sink

_USES = b"captionkit.facts"
_LARGE_BYTES = 1 << 26
"""So much Arrow data is gathered into one row group or batch at most."""


def encode_arrow(
    records: Iterable[Record],
    losses: Losses,
    taken: frozenset[str] = TAKEN,
    *,
    keep_empty: bool = False,
) -> bytes:
    """The records as Arrow IPC bytes, compressed, with the use of their facts in the schema's metadata.

    Facts whose names are `taken` stand in the column info. Records without tags and captions are left out
    unless `keep_empty`.
    """
    pa = pyarrow()
    rows = readable(records, losses, taken, keep_empty=keep_empty)
    try:
        batch, uses = batch_of(rows)
    except UnicodeEncodeError:
        batch, uses = batch_of(as_unicode(rows, losses))
    batch = batch.replace_schema_metadata({_USES: to_json(uses)})
    out = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_stream(out, batch.schema, options=options) as stream:
        stream.write_batch(batch)
    data: bytes = out.getvalue().to_pybytes()
    return data


class ArrowParts(Sink):
    """Takes the chunks of `encode_arrow`, and gives them back as batches of one schema."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._digest = hashlib.blake2b(digest_size=8)
        self._uses: dict[str, FactUse] = {}
        self._has_info = self._has_captions = self._has_details = False

    def append(self, chunk: bytes) -> None:
        """Write one chunk."""
        schema = pyarrow().ipc.open_stream(chunk).schema
        self._digest.update(chunk)
        self._uses = merged(self._uses, from_json(schema.metadata[_USES].decode("utf-8")))
        self._has_info |= INFO_KEY in schema.names
        self._has_captions |= CAPTIONS_KEY in schema.names
        self._has_details |= pyarrow().types.is_struct(schema.field(TAGS_KEY).type.value_type)
        self._parts.append(chunk)

    @property
    def fingerprint(self) -> str:
        """A short text that differs where the chunks differ."""
        return self._digest.hexdigest()

    def schema(self, *, marked: bool) -> Any:
        """The schema that holds all chunks. `marked` says whether metadata of a column survives in the
        format, so that whole numbers may stand among decimals."""
        return self._shape(marked).schema

    def batches(self, *, marked: bool, rows: int) -> Iterator[Any]:
        """All rows in order, as record batches of `schema` with so many rows at most."""
        pa = pyarrow()
        shape = self._shape(marked)
        waiting: list[Any] = []
        for chunk in self._parts:
            batch = shape.fitted(pa.ipc.open_stream(chunk).read_next_batch())
            num_bytes = sum(each.nbytes for each in [*waiting, batch])
            num_rows = sum(each.num_rows for each in [*waiting, batch])
            if waiting and (num_rows > rows or num_bytes > _LARGE_BYTES):
                yield pa.concat_batches(waiting)
                waiting = []
            waiting.append(batch)
        if waiting:
            yield pa.concat_batches(waiting)

    def _shape(self, marked: bool) -> _Shape:
        pa = pyarrow()
        kinds = columns(self._uses)
        if not marked:
            kinds |= {name: "mixed" for name, use in self._uses.items() if use.numbers_mixed}
        text = pa.string()
        captions = (CAPTIONS_KEY, pa.list_(caption_type())) if self._has_captions else (CAPTION_KEY, text)
        tags = pa.list_(tag_type() if self._has_details else text)
        fields = [pa.field(*pair) for pair in ((ID_KEY, text), (IMAGE_KEY, text), (TAGS_KEY, tags), captions)]
        fields += [fact_field(name, self._uses[name]) for name, kind in kinds.items() if kind != "mixed"]
        if self._has_info or "mixed" in kinds.values():
            fields.append(pa.field(INFO_KEY, text))
        return _Shape(pa.schema(fields))


@dataclass(frozen=True)
class _Shape:
    """The schema that every chunk is brought to."""

    schema: Any

    def fitted(self, batch: Any) -> Any:
        """A chunk's batch with these columns."""
        pa = pyarrow()
        made = {name: batch.column(name) for name in batch.schema.names}
        kept = FIRST | set(self.schema.names)
        loose = {
            field.name: column_values(made[field.name], field)
            for field in batch.schema
            if field.name not in kept
        }
        if loose:
            made[INFO_KEY] = _folded(made.get(INFO_KEY), loose, batch.num_rows)
        arrays = [
            _fitted(made.get(field.name), field, batch.num_rows)
            if field.name != CAPTIONS_KEY
            else _listed(made)
            for field in self.schema
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


def _fitted(array: Any, field: Any, num_rows: int) -> Any:
    pa = pyarrow()
    if array is None:
        return pa.nulls(num_rows, field.type)
    if array.type == field.type:
        return array
    if field.name == TAGS_KEY:
        names = array.values
        columns = [names, *(pa.nulls(len(names), child.type) for child in list(tag_type())[1:])]
        return pa.ListArray.from_arrays(
            array.offsets, pa.StructArray.from_arrays(columns, fields=list(tag_type()))
        )
    return array.cast(field.type)


def _listed(made: Mapping[str, Any]) -> Any:
    """The captions of a chunk as lists, also where it had one a record at most."""
    pa = pyarrow()
    if CAPTIONS_KEY in made:
        return made[CAPTIONS_KEY]
    rows = [
        [] if text is None else [{"text": text, "source": HUMAN}] for text in made[CAPTION_KEY].to_pylist()
    ]
    return pa.array(rows, pa.list_(caption_type()))


def _folded(info: Any, loose: Mapping[str, list[Any]], num_rows: int) -> Any:
    """The column `info` with facts that get no column of their own."""
    pa = pyarrow()
    texts = [None] * num_rows if info is None else info.to_pylist()
    facts: list[dict[str, Fact]] = [{} if text is None else json.loads(text) for text in texts]
    for name, values in loose.items():
        for row, value in zip(facts, values, strict=True):
            if value is not None:
                row[name] = value
    return pa.array([info_json(row) for row in facts], pa.string())
