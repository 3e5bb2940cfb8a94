"""The rows of Arrow record batches as records, in whichever process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias

from captionkit.errors import CaptionkitError, DataError
from captionkit.readers.arrow_columns import plain, pyarrow
from captionkit.readers.facts import ID_KEY
from captionkit.readers.fields import IMAGE_KEYS
from captionkit.readers.jsonl import record_of
from captionkit.readers.source import Block, Report
from captionkit.record import Record

ROWS_PER_BLOCK = 4096
"""So many rows are decoded at once: a few megabytes."""

WHOLE = (b"captionkit", b"decimals without a fraction are whole numbers")
"""What stands in the metadata of a column of decimals in which whole numbers keep their kind."""

Column: TypeAlias = list[Any]


@dataclass(frozen=True)
class RowsBlock(Block):
    """Rows of one table, as Arrow IPC bytes that any process can read."""

    data: bytes
    where: str
    """The table, as errors name it."""
    first: int
    """The number of the first row, counted from 1."""
    num_rows: int
    stem: str | None = None
    """Where pictures may be embedded without a path: what stands before the row's number in the id."""
    untagged: bool = False

    @property
    def amount(self) -> int:
        """How much of the source this is."""
        return self.num_rows

    def records(self, report: Report) -> Iterator[Record]:
        """The records of this piece, in order."""
        with pyarrow().ipc.open_stream(self.data) as stream:
            batch = stream.read_next_batch()
        for row, fields in enumerate(_rows(batch), start=self.first):
            where = f"{self.where}: row {row}"
            try:
                prepared = self._prepared(_sound(fields, where), row)
                yield record_of(prepared, where, allow_empty=self.untagged)
            except CaptionkitError as error:
                report(error)

    def _prepared(self, fields: dict[str, Any], row: int) -> dict[str, Any]:
        """The fields as `record_of` takes them."""
        if self.stem is not None:
            for key in IMAGE_KEYS:
                picture = fields.get(key)
                if isinstance(picture, dict):
                    fields[key] = picture.get("path")
            if fields.get(ID_KEY) is None and all(fields.get(key) is None for key in IMAGE_KEYS):
                fields[ID_KEY] = f"{self.stem}/{row}"
        return fields


def blocks_of(
    batch: Any, where: str, first: int, stem: str | None, untagged: bool = False
) -> Iterator[RowsBlock]:
    """A record batch in pieces; its first row has the number `first`."""
    for at in range(0, batch.num_rows, ROWS_PER_BLOCK):
        piece = plain(batch.slice(at, ROWS_PER_BLOCK))
        yield RowsBlock(ipc_bytes(piece), where, first + at, piece.num_rows, stem, untagged)


def ipc_bytes(batch: Any) -> bytes:
    """One record batch in Arrow's stream format."""
    pa = pyarrow()
    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, batch.schema) as stream:
        stream.write_batch(batch)
    data: bytes = out.getvalue().to_pybytes()
    return data


@dataclass(frozen=True, slots=True)
class _Bad:
    """A value that cannot be read."""

    why: str


def _rows(batch: Any) -> Iterator[dict[str, Any]]:
    names = batch.schema.names
    columns = [column_values(batch.column(at), batch.schema.field(at)) for at in range(len(names))]
    for values in zip(*columns, strict=True):
        yield dict(zip(names, values, strict=True))


def column_values(array: Any, field: Any) -> Column:
    """The values of a column as `record_of` takes them; one that is broken does not spoil the others."""
    try:
        # Only asked for where there are maps: it is ten times slower.
        strict: dict[str, Any] = {"maps_as_pydicts": "strict"} if "map<" in str(field.type) else {}
        values: Column = array.to_pylist(**strict)
    except (UnicodeDecodeError, ValueError, KeyError):
        values = [_value(scalar) for scalar in array]
    if field.metadata is not None and field.metadata.get(WHOLE[0]) == WHOLE[1]:
        return [int(v) if isinstance(v, float) and v.is_integer() else v for v in values]
    if "decimal" in str(field.type):
        return [_undecimal(value) for value in values]
    return values


def _value(scalar: Any) -> Any:
    try:
        return scalar.as_py(maps_as_pydicts="strict")
    except UnicodeDecodeError as error:
        return _Bad(f"is not UTF-8: byte 0x{error.object[error.start]:02x}")
    except KeyError as error:
        return _Bad(f"the key {error.args[0]!r} is there twice in one map")
    except ValueError as error:
        return _Bad(f"cannot be read: {error}")


def _undecimal(value: Any) -> Any:
    """Decimals of a fixed number of digits as whole numbers or floating-point ones, at any depth."""
    if isinstance(value, Decimal):
        exponent = value.as_tuple().exponent
        return int(value) if isinstance(exponent, int) and exponent >= 0 else float(value)
    if isinstance(value, dict):
        return {key: _undecimal(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_undecimal(inner) for inner in value]
    return value


def _sound(fields: dict[str, Any], where: str) -> dict[str, Any]:
    """The same fields. Raises `DataError` when one of them is broken."""
    for name, value in fields.items():
        if type(value) is _Bad:
            raise DataError(
                f"column {name!r} {value.why}", where=where, hint="mend that cell or leave it out"
            )
    return fields
