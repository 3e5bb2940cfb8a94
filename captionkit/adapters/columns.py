"""A batch as columns, whichever library made it: read as lists, given back with more columns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from captionkit.errors import DataError
from captionkit.needs import needed


@dataclass(frozen=True, slots=True)
class NewColumn:
    """A column that is put into a batch."""

    name: str
    values: list[Any]
    kind: str
    """What its values are: "string" or "bool"; where `several`, lists of these."""
    several: bool


class Columns(ABC):
    """One batch."""

    @abstractmethod
    def names(self) -> list[str]:
        """The columns of which a record can be made: pictures and other bytes are not among them."""

    @abstractmethod
    def values(self, name: str) -> list[Any]:
        """One column, of what JSON knows. Raises `DataError` when there is no such column."""

    @abstractmethod
    def with_columns(self, new: Sequence[NewColumn], rows: list[int] | None) -> Any:
        """The batch with columns put in or exchanged, in the form in which it came; of all rows, or only of
        `rows`, of which alone `new` then has values."""


def columns_of(batch: Any) -> Columns:
    """The columns of a pyarrow Table or RecordBatch, a dict of lists or arrays, or a batch of `datasets`.

    Raises `DataError` for anything else.
    """
    if hasattr(batch, "schema") and hasattr(batch, "column_names"):
        return ArrowColumns(batch)
    if isinstance(batch, Mapping):
        return LazyColumns(batch) if hasattr(batch, "pa_table") else DictColumns(dict(batch))
    raise DataError(
        f"a batch must be a dict of columns or a pyarrow Table, got a {type(batch).__name__}",
        hint='in datasets say batched=True; in Ray Data batch_format="pyarrow" or "numpy"',
    )


@dataclass(frozen=True, slots=True)
class ArrowColumns(Columns):
    """A pyarrow Table or RecordBatch."""

    table: Any

    def names(self) -> list[str]:
        """All columns without bytes in them."""
        return _without_bytes(self.table.schema)

    def values(self, name: str) -> list[Any]:
        """One column, as Python values."""
        names = self.table.column_names
        if name not in names:
            raise _no_column(name, names)
        values: list[Any] = self.table.column(name).to_pylist()
        return values

    def with_columns(self, new: Sequence[NewColumn], rows: list[int] | None) -> Any:
        """A table of the same kind."""
        pyarrow = needed("pyarrow", "tables", "a batch of pyarrow")
        table = self.table if rows is None else self.table.take(pyarrow.array(rows, pyarrow.int64()))
        for column in new:
            inner = pyarrow.string() if column.kind == "string" else pyarrow.bool_()
            kind = pyarrow.list_(inner) if column.several else inner
            values = pyarrow.array(column.values, kind)
            at = table.schema.get_field_index(column.name)
            if at < 0:
                table = table.append_column(pyarrow.field(column.name, kind), values)
            else:
                table = table.set_column(at, pyarrow.field(column.name, kind), values)
        return table


@dataclass(frozen=True, slots=True)
class LazyColumns(Columns):
    """The batch that `datasets` hands to the function of `map`, decoded column by column when asked."""

    batch: Any

    def names(self) -> list[str]:
        """All columns without bytes in them; none is decoded for it."""
        schema = self.batch.pa_table.schema
        hidden = set(schema.names) - set(_without_bytes(schema))
        return [name for name in self.batch if name not in hidden]

    def values(self, name: str) -> list[Any]:
        """One column; the batch itself does not take note, so that `map` copies it as it is."""
        if name not in self.batch:
            raise _no_column(name, list(self.batch))
        return _plain_list(self.batch.copy()[name])

    def with_columns(self, new: Sequence[NewColumn], rows: list[int] | None) -> Any:
        """The new columns alone, which `map` adds to those it has; all of them where rows are left out."""
        added = {column.name: column.values for column in new}
        if rows is None:
            return added
        return {name: [self.batch[name][row] for row in rows] for name in self.batch} | added


@dataclass(frozen=True, slots=True)
class DictColumns(Columns):
    """Columns under their names: lists, or numpy arrays as Ray Data gives them."""

    columns: dict[str, Any]

    def names(self) -> list[str]:
        """All columns."""
        return list(self.columns)

    def values(self, name: str) -> list[Any]:
        """One column, as Python values."""
        if name not in self.columns:
            raise _no_column(name, list(self.columns))
        return _plain_list(self.columns[name])

    def with_columns(self, new: Sequence[NewColumn], rows: list[int] | None) -> Any:
        """A new dict; the new columns are arrays where the others are."""
        columns = self.columns
        arrays = any(_is_array(values) for values in columns.values())
        if rows is not None:
            columns = {
                name: values[rows] if _is_array(values) else [values[row] for row in rows]
                for name, values in columns.items()
            }
        return columns | {c.name: _array(c.values) if arrays else c.values for c in new}


def _no_column(name: str, names: list[str]) -> DataError:
    return DataError(
        f"there is no column {name!r}; there are {', '.join(map(repr, names)) or 'none'}",
        hint="name the columns: RenderBatch(..., columns={'caption': 'prompt', 'id': 'md5'})",
    )


def _without_bytes(schema: Any) -> list[str]:
    return [field.name for field in schema if not _has_bytes(field.type)]


def _has_bytes(kind: Any) -> bool:
    if kind.num_fields:
        return any(_has_bytes(kind.field(place).type) for place in range(kind.num_fields))
    name = str(getattr(kind, "value_type", kind))  # The type of a dictionary's values.
    return name.endswith(("binary", "binary_view")) or name.startswith("fixed_size_binary")


def _is_array(values: Any) -> bool:
    return type(values).__module__ == "numpy" and hasattr(values, "dtype")


def _array(values: list[Any]) -> Any:
    numpy = needed("numpy", "tables", "a batch of arrays")
    if all(isinstance(value, bool) for value in values):
        return numpy.array(values, dtype=bool)
    array = numpy.empty(len(values), dtype=object)
    array[:] = values
    return array


def _plain_list(column: Any) -> list[Any]:
    """A column as a list of Python values; a number that is missing in an array stands there as NaN."""
    if not hasattr(column, "tolist"):
        return list(column)
    return [None if value != value else value for value in _plain(column)]


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, dict) else value
