"""The columns of an Arrow table that say something about a picture, in plain types."""

from __future__ import annotations

from typing import Any

from captionkit.needs import needed
from captionkit.readers.facts import ID_KEY, INFO_KEY
from captionkit.readers.fields import CAPTION_KEYS, IMAGE_KEYS, TAGS_KEY

KNOWN = frozenset({ID_KEY, INFO_KEY, TAGS_KEY, *CAPTION_KEYS, *IMAGE_KEYS})
_NESTED = frozenset({TAGS_KEY, *CAPTION_KEYS})
"""Columns that mean something at any depth."""
_TEXTS = _NESTED | {ID_KEY}
"""Columns that are text also where the file calls them bytes, as old writers of Parquet do."""


NO_FACT = (b"captionkit", b"no fact")
"""What stands in the metadata of a column that says nothing of the record, such as where a file lies."""


def pyarrow() -> Any:
    """The package, with the modules that are used here; see `needed`."""
    pa = needed("pyarrow", "tables", "reading and writing Parquet and Arrow tables")
    for module in ("compute", "ipc", "parquet"):
        needed(f"pyarrow.{module}", "tables", "reading and writing Parquet and Arrow tables")
    return pa


def wanted(field: Any) -> bool:
    """Whether a column can say something: it has a known name, or its values can be facts.

    Bytes, and lists under other names such as embeddings, cannot, and are not even read; nor are columns that
    are marked as no fact.
    """
    if field.metadata is not None and field.metadata.get(NO_FACT[0]) == NO_FACT[1]:
        return False
    if _is_struct(field.type) and field.name not in _NESTED:
        return bool(_children(field))
    if field.name in IMAGE_KEYS:
        return not _is_bytes(field.type)
    return field.name in KNOWN or _can_be_fact(field.type) or _is_map(field.type)


def wanted_leaves(schema: Any) -> list[str]:
    """The Parquet columns that can say something, by their paths: of a picture's struct only its path."""
    leaves: list[str] = []
    for field in schema:
        if not wanted(field):
            continue
        if _is_struct(field.type) and field.name not in _NESTED:
            leaves += [f"{field.name}.{child.name}" for child in _children(field)]
        else:
            leaves.append(field.name)
    return leaves


def embeds_pictures(schema: Any) -> bool:
    """Whether pictures lie in the table, so that a row may have no path: bytes, or the struct of bytes and
    path that Hugging Face writes."""
    return any(
        field.name in IMAGE_KEYS and (_is_bytes(field.type) or _is_struct(field.type)) for field in schema
    )


def plain(batch: Any) -> Any:
    """A record batch of the wanted columns: no dictionaries, views or bytes, times as ISO text."""
    pa = pyarrow()
    fields = [field for field in batch.schema if wanted(field)]
    columns = [_plain(batch.column(field.name), field) for field in fields]
    kept = [pa.field(f.name, c.type, metadata=f.metadata) for f, c in zip(fields, columns, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(kept))


def _plain(array: Any, field: Any) -> Any:
    pa = pyarrow()
    t = pa.types
    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        return _plain(array.storage, field)
    if t.is_struct(kind) and field.name not in _NESTED:
        return _struct(array, field)
    if t.is_dictionary(kind):
        return _plain(array.dictionary_decode(), field)
    if _is_time(kind):
        return _iso(array)
    if field.name in _TEXTS and _is_bytes(kind):
        # Viewed, not cast: what is no UTF-8 is found when the row is read, and named there.
        return array.cast(pa.large_binary()).view(pa.large_string())
    if t.is_list_view(kind) or t.is_large_list_view(kind):
        return _plain(_list_of_view(array), field)
    if t.is_run_end_encoded(kind):
        return _plain(pa.compute.run_end_decode(array), field)
    aim = _plain_type(kind)
    return array if aim == kind else array.cast(aim)


def _struct(array: Any, field: Any) -> Any:
    pa = pyarrow()
    children = _children(field)
    columns = [_plain(array.field(child.name), child) for child in children]
    return pa.StructArray.from_arrays(columns, names=[child.name for child in children], mask=array.is_null())


def _children(field: Any) -> list[Any]:
    """Of a struct, the fields that may become facts, or the path of a picture."""
    if field.name in IMAGE_KEYS:
        return [child for child in field.type if child.name == "path"]
    return [child for child in field.type if _can_be_fact(child.type)]


def _list_of_view(array: Any) -> Any:
    """A list view as a list. (pyarrow 26 casts them to lists with an offset too few.)"""
    pa = pyarrow()
    lengths = pa.compute.fill_null(array.value_lengths(), 0).cast(pa.int64())
    ends = pa.compute.cumulative_sum(lengths)
    offsets = pa.concat_arrays([pa.array([0], pa.int64()), ends])
    return pa.LargeListArray.from_arrays(offsets, array.flatten(), mask=array.is_null())


def _plain_type(kind: Any) -> Any:
    """The type without dictionaries and views of text, inside lists, structs and maps too."""
    pa = pyarrow()
    t = pa.types
    if t.is_dictionary(kind):
        return _plain_type(kind.value_type)
    if t.is_string_view(kind):
        return pa.large_string()
    if t.is_large_list(kind):
        return pa.large_list(_plain_type(kind.value_type))
    if t.is_list(kind) or t.is_fixed_size_list(kind):
        return pa.list_(_plain_type(kind.value_type))
    if t.is_struct(kind):
        return pa.struct([(child.name, _plain_type(child.type)) for child in kind])
    if t.is_map(kind):
        return pa.map_(_plain_type(kind.key_type), _plain_type(kind.item_type))
    return kind


def _iso(array: Any) -> Any:
    """Times as text: `2021-05-01T12:30:00`, with a fraction where there is one; those with a zone in UTC."""
    pa = pyarrow()
    pc = pa.compute
    if pa.types.is_timestamp(array.type) and array.type.tz is not None:
        array = array.cast(pa.timestamp(array.type.unit, "UTC"))
    text = pc.replace_substring(array.cast(pa.string()), " ", "T")
    text = pc.replace_substring_regex(text, pattern=r"\.0+(Z?)$", replacement=r"\1")
    return pc.replace_substring_regex(text, pattern=r"(\.\d*[1-9])0+(Z?)$", replacement=r"\1\2")


def _can_be_fact(kind: Any) -> bool:
    t = pyarrow().types
    if t.is_dictionary(kind) or t.is_run_end_encoded(kind):
        return _can_be_fact(kind.value_type)
    texts = t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind)
    numbers = t.is_boolean(kind) or t.is_integer(kind) or t.is_floating(kind) or t.is_decimal(kind)
    return bool(texts or numbers or _is_time(kind) or t.is_union(kind))


def _is_time(kind: Any) -> bool:
    t = pyarrow().types
    return bool(t.is_timestamp(kind) or t.is_date(kind) or t.is_time(kind))


def _is_bytes(kind: Any) -> bool:
    t = pyarrow().types
    return bool(
        t.is_binary(kind) or t.is_large_binary(kind) or t.is_fixed_size_binary(kind) or t.is_binary_view(kind)
    )


def _is_struct(kind: Any) -> bool:
    return bool(pyarrow().types.is_struct(kind))


def _is_map(kind: Any) -> bool:
    return bool(pyarrow().types.is_map(kind))
