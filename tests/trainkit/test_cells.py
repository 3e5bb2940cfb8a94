"""Cells: the values that Arrow itself would make, and never a byte from outside of the buffers."""

from __future__ import annotations

import datetime
import struct
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainkit.cells import CellError, cell_of, missing, numbers

texts = st.text(max_size=5)
_whole = {
    pa.int8(): st.integers(-128, 127),
    pa.uint8(): st.integers(0, 255),
    pa.int16(): st.integers(-(2**15), 2**15 - 1),
    pa.uint16(): st.integers(0, 2**16 - 1),
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.uint32(): st.integers(0, 2**32 - 1),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.uint64(): st.integers(0, 2**64 - 1),
}
_plain: dict[pa.DataType, st.SearchStrategy[Any]] = {
    **_whole,
    pa.float32(): st.floats(width=32, allow_nan=False),
    pa.float64(): st.floats(allow_nan=False),
    pa.bool_(): st.booleans(),
    pa.null(): st.none(),
    pa.string(): texts,
    pa.large_string(): texts,
    pa.string_view(): texts,
    pa.binary(): st.binary(max_size=5),
    pa.large_binary(): st.binary(max_size=5),
    pa.binary(3): st.binary(min_size=3, max_size=3),
    pa.dictionary(pa.int32(), pa.string()): texts,
    pa.dictionary(pa.int8(), pa.string()): st.sampled_from("abc"),
    pa.date32(): st.dates(),
    pa.timestamp("us"): st.datetimes(),
    pa.decimal128(5, 2): st.integers(-99999, 99999).map(lambda n: Decimal(n) / 100),
}


@st.composite
def arrays(draw: st.DrawFn) -> Any:
    """An array of any type, perhaps a slice of a longer one, with nulls."""
    kind = draw(st.sampled_from(list(_plain)))
    entry = _plain[kind] if pa.types.is_null(kind) else st.none() | _plain[kind]
    for _ in range(draw(st.integers(0, 2))):
        match draw(st.sampled_from(["list", "large list", "struct", "map"])):
            case "list":
                kind, entry = pa.list_(kind), st.none() | st.lists(entry, max_size=4)
            case "large list":
                kind, entry = pa.large_list(kind), st.none() | st.lists(entry, max_size=4)
            case "map":
                kind = pa.map_(pa.string(), kind)
                entry = st.none() | st.dictionaries(texts, entry, max_size=3)
            case _:
                kind = pa.struct([("a", kind), ("b", pa.int32())])
                entry = st.none() | st.fixed_dictionaries({"a": entry, "b": st.none() | st.just(7)})
    array = pa.array(draw(st.lists(entry, max_size=8)), kind)
    first = draw(st.integers(0, len(array)))
    return array.slice(first, draw(st.integers(0, 8)))


@given(arrays())
def test_a_cell_is_the_value_that_arrow_makes(array: Any) -> None:
    cell = cell_of(array)
    assert [cell(i) for i in range(len(array))] == array.to_pylist(maps_as_pydicts="strict")


@given(st.sampled_from(list(_whole)), st.data())
def test_numbers_are_all_values_and_0_where_there_is_none(kind: pa.DataType, data: st.DataObject) -> None:
    array = pa.array(data.draw(st.lists(st.none() | _whole[kind], max_size=20)), kind)
    array = array.slice(data.draw(st.integers(0, len(array))))
    assert numbers(array).tolist() == [value or 0 for value in array.to_pylist()]
    assert missing(array).tolist() == [value is None for value in array.to_pylist()]


def test_numbers_are_a_view_where_all_are_there() -> None:
    array = pa.array(range(100), pa.int32()).slice(10, 50)
    assert np.shares_memory(numbers(array), np.frombuffer(array.buffers()[1], np.int32))


def packed(letter: str, *values: int) -> pa.Buffer:
    return pa.py_buffer(struct.pack(f"<{len(values)}{letter}", *values))


@pytest.mark.parametrize("offsets", [(0, 900), (-5, 3), (5, 2), (2**30, 2**30 + 8), (0, -1)])
def test_offsets_that_lead_elsewhere_are_refused(offsets: tuple[int, int]) -> None:
    # Arrow itself looks at the first and the last only when it opens a file.
    small, wide = packed("i", 0, *offsets, 3), packed("q", 0, *offsets, 3)
    content, names = pa.py_buffer(b"abc"), pa.array(["a", "b", "c"])
    for array in (
        pa.Array.from_buffers(pa.string(), 3, [None, small, content]),
        pa.Array.from_buffers(pa.large_string(), 3, [None, wide, content]),
        *(
            pa.Array.from_buffers(pa.list_(entries.type), 3, [None, small], children=[entries])
            for entries in (
                pa.array([1, 2, 3], pa.int8()),
                names,
                names.dictionary_encode(),
                names.cast("string_view"),
            )
        ),
    ):
        with pytest.raises(CellError, match="lies: its parts"):
            cell_of(array)(1)


@pytest.mark.parametrize("number", [-1, 3, 2**31 - 1, -(2**31)])
def test_numbers_of_no_name_are_refused(number: int) -> None:
    indices = pa.Array.from_buffers(pa.int32(), 2, [None, packed("i", 0, number)])
    tags = pa.DictionaryArray.from_arrays(indices, pa.array(["a", "b", "c"]), safe=False)
    assert cell_of(tags)(0) == "a"
    with pytest.raises(CellError, match=f"names entry {number} of a dictionary of 3"):
        cell_of(tags)(1)
    listed = pa.ListArray.from_arrays(pa.array([0, 2], pa.int32()), tags)
    with pytest.raises(CellError, match=f"names entry {number}"):
        cell_of(listed)(0)


def test_names_whose_offsets_lie_are_refused() -> None:
    names = pa.Array.from_buffers(pa.string(), 3, [None, packed("i", 0, 1, 999, 3), pa.py_buffer(b"abc")])
    tags = pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int32()), names, safe=False)
    cell = cell_of(pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), tags))
    assert cell(0) == ["a"]
    with pytest.raises(CellError, match="lies: its parts 1 to 999 are not among the 3"):
        cell(1)


def test_what_is_no_utf8_is_named_and_its_neighbours_are_read() -> None:
    content = pa.py_buffer(b"ab\xffcd")
    array = pa.Array.from_buffers(pa.string(), 3, [None, packed("i", 0, 2, 3, 5), content])
    cell = cell_of(array)
    assert (cell(0), cell(2)) == ("ab", "cd")
    with pytest.raises(CellError, match="is not UTF-8: byte 0xff"):
        cell(1)


def test_a_map_with_a_key_twice_and_a_struct_with_a_name_twice_are_refused() -> None:
    twice = pa.array([[("a", 1), ("a", 2)], [("a", 1)]], pa.map_(pa.string(), pa.int8()))
    with pytest.raises(CellError, match=r"duplicate key was 'a'"):
        cell_of(twice)(0)
    assert cell_of(twice)(1) == {"a": 1}
    struct_of = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(CellError, match="cannot be read"):
        cell_of(struct_of)(0)


def test_types_that_arrow_reads_are_looked_at_first() -> None:
    lengths = pa.Array.from_buffers(pa.timestamp("us"), 1, [None, packed("q", 2**62)])
    with pytest.raises(CellError, match="cannot be read"):
        cell_of(lengths)(0)
    assert cell_of(pa.array([datetime.date(2021, 5, 1)]))(0) == datetime.date(2021, 5, 1)


def test_a_bitmap_that_is_missing_is_all_values() -> None:
    assert missing(pa.array([1, 2])).tolist() == [False, False]
    assert missing(pa.nulls(2)).tolist() == [True, True]
    assert numbers(pa.array([], pa.int32())).dtype == np.int32
