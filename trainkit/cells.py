"""Single values of Arrow columns, straight from their buffers: fast, and never outside of them.

Making Python values of one row through pyarrow takes 100 to 300 microseconds, here 10 to 20. And pyarrow
trusts the offsets that stand in a file: where they lie, it reads foreign memory or ends the process. What is
read here is cut to the buffers; types that are not read here are checked whole before pyarrow may read them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Cell: TypeAlias = Callable[[int], Any]
"""From the number of a row to its value. Raises `CellError`."""


class CellError(ValueError):
    """A value that cannot be read. The message goes on after the name of its column."""


def cell_of(array: Any) -> Cell:
    """What reads single values of a pyarrow array, as `to_pylist` would make them."""
    import pyarrow as pa

    t, kind = pa.types, array.type
    if isinstance(array, pa.ExtensionArray):
        return _checked(array)
    if t.is_null(kind):
        return lambda row: None
    if t.is_dictionary(kind):
        return _of_dictionary(array)
    if t.is_string(kind) or t.is_large_string(kind) or t.is_binary(kind) or t.is_large_binary(kind):
        return _nullable(array, _texts(array, as_bytes=t.is_binary(kind) or t.is_large_binary(kind)))
    if t.is_list(kind) or t.is_large_list(kind):
        return _nullable(array, _lists(array))
    if t.is_struct(kind) and len({field.name for field in kind}) == kind.num_fields:
        return _nullable(array, _structs(array))
    if (letter := _LETTERS.get(str(kind))) is not None:
        return _nullable(array, _numbers(array, letter))
    if t.is_boolean(kind):
        return _nullable(array, _bits(array.buffers()[1], array.offset))
    if t.is_fixed_size_binary(kind):
        return _nullable(array, _fixed(array, kind.byte_width))
    return _checked(array)


_SIGNED = {"int8": "b", "int16": "h", "int32": "i", "int64": "q", "float": "f", "double": "d"}
_LETTERS = _SIGNED | {"uint8": "B", "uint16": "H", "uint32": "I", "uint64": "Q"}
"""Arrow's types of numbers, and what memoryview calls them."""


def numbers(array: Any) -> NDArray[Any]:
    """All values of an array of whole numbers, where it can be without a copy; 0 for those that are missing.

    (Arrow's own `to_numpy` imports pandas where it is installed: 30 MB and a quarter of a second.)
    """
    values = np.frombuffer(array.buffers()[1] or b"", dtype=_LETTERS[str(array.type)])
    values = values[array.offset : array.offset + len(array)]
    gone = missing(array)
    return np.where(gone, values.dtype.type(0), values) if gone.any() else values


def missing(array: Any) -> NDArray[np.bool_]:
    """[N]: which values are null."""
    bitmap = array.buffers()[0]
    if bitmap is None:
        return np.full(len(array), array.null_count == len(array) > 0)
    bits = np.unpackbits(np.frombuffer(bitmap, dtype=np.uint8), bitorder="little")
    gone: NDArray[np.bool_] = bits[array.offset : array.offset + len(array)] == 0
    return gone


def empty(array: Any) -> NDArray[np.bool_]:
    """[N]: which values are null, or lists or texts of nothing, by where they begin and end."""
    import pyarrow as pa

    nothing = missing(array)
    if pa.types.is_list(array.type) or pa.types.is_string(array.type):
        borders = _view(array.buffers()[1], "i")[array.offset : array.offset + len(array) + 1]
        if len(borders) > len(array):
            nothing |= np.diff(np.asarray(borders)) == 0
    return nothing


def _view(buffer: Any, letter: str) -> memoryview:
    """A buffer as numbers; what is too short for another one at its end is left out."""
    bytes_of = memoryview(buffer).cast("B") if buffer is not None else memoryview(b"")
    size = memoryview(b"\0" * 8).cast(letter).itemsize  # type: ignore[call-overload]
    return bytes_of[: len(bytes_of) // size * size].cast(letter)  # type: ignore[call-overload,no-any-return]


def _bits(buffer: Any, offset: int) -> Cell:
    bits = _view(buffer, "B")

    def read(row: int) -> bool:
        at = row + offset
        return bool(bits[at >> 3] >> (at & 7) & 1)

    return read


def _nullable(array: Any, read: Cell) -> Cell:
    """The same values, and None where the bitmap says so."""
    buffer = array.buffers()[0]
    if buffer is None or array.null_count == 0:
        return read
    valid = _bits(buffer, array.offset)
    return lambda row: read(row) if valid(row) else None


def _numbers(array: Any, letter: str) -> Cell:
    values, offset = _view(array.buffers()[1], letter), array.offset
    return lambda row: values[row + offset]


def _fixed(array: Any, width: int) -> Cell:
    values, offset = _view(array.buffers()[1], "B"), array.offset
    return lambda row: bytes(values[(row + offset) * width : (row + offset + 1) * width])


def _borders(array: Any, end: int) -> Callable[[int], tuple[int, int]]:
    """Where the parts of a row begin and end among ``end`` of them."""
    import pyarrow as pa

    t, kind = pa.types, array.type
    wide = t.is_large_list(kind) or t.is_large_string(kind) or t.is_large_binary(kind)
    borders, offset = _view(array.buffers()[1], "q" if wide else "i"), array.offset

    def read(row: int) -> tuple[int, int]:
        first, last = borders[row + offset], borders[row + offset + 1]
        if not 0 <= first <= last <= end:
            raise CellError(f"lies: its parts {first} to {last} are not among the {end} that there are")
        return first, last

    return read


def _texts(array: Any, *, as_bytes: bool) -> Cell:
    content = _view(array.buffers()[2], "B")
    borders = _borders(array, len(content))

    def text(row: int) -> str:
        first, last = borders(row)
        try:
            return str(content[first:last], "utf-8")
        except UnicodeDecodeError as error:
            raise CellError(f"is not UTF-8: byte 0x{error.object[error.start]:02x}") from None

    def plain(row: int) -> bytes:
        first, last = borders(row)
        return bytes(content[first:last])

    return plain if as_bytes else text


def _lists(array: Any) -> Cell:
    values = array.values
    borders, entries = _borders(array, len(values)), _entries(values)
    return lambda row: entries(*borders(row))


def _entries(array: Any) -> Callable[[int, int], list[Any]]:
    """What reads all values between two places, within the array."""
    import pyarrow as pa

    t, kind = pa.types, array.type
    if t.is_dictionary(kind) and t.is_int32(kind.index_type) and t.is_string(kind.value_type):
        named = array.dictionary
        if not (array.indices.null_count or named.null_count):
            return _names(array.indices, named)
    entry = cell_of(array)
    return lambda first, last: [entry(i) for i in range(first, last)]


def _names(indices: Any, named: Any) -> Callable[[int, int], list[str]]:
    """As nearly all tags are stored: numbers of names. Written out, as 40 of a row want them."""
    at, offset = _view(indices.buffers()[1], "i"), indices.offset
    borders, shift = _view(named.buffers()[1], "i"), named.offset
    content = _view(named.buffers()[2], "B")
    count, end = len(named), len(content)
    slow = _of_dictionary_parts(indices, named)

    def read(first: int, last: int) -> list[str]:
        found = []
        for i in at[first + offset : last + offset]:
            begin, stop = borders[i + shift], borders[i + shift + 1]
            if not (0 <= i < count and 0 <= begin <= stop <= end):
                break
            found.append(str(content[begin:stop], "utf-8"))
        return found

    def checked(first: int, last: int) -> list[str]:
        with contextlib.suppress(IndexError, UnicodeDecodeError):
            found = read(first, last)
            if len(found) == last - first:
                return found
        return [slow(i) for i in range(first, last)]

    return checked


def _structs(array: Any) -> Cell:
    entries = [(field.name, cell_of(array.field(i))) for i, field in enumerate(array.type)]
    return lambda row: {name: entry(row) for name, entry in entries}


def _of_dictionary(array: Any) -> Cell:
    return _of_dictionary_parts(array.indices, array.dictionary)


def _of_dictionary_parts(indices: Any, named: Any) -> Cell:
    index, entry, count = cell_of(indices), cell_of(named), len(named)

    def read(row: int) -> Any:
        at = index(row)
        if at is None:
            return None
        if not 0 <= at < count:
            raise CellError(f"lies: it names entry {at} of a dictionary of {count}")
        return entry(at)

    return read


def _checked(array: Any) -> Cell:
    """Read by pyarrow, once it has looked at all of the array."""
    import pyarrow as pa

    sound = False

    def read(row: int) -> Any:
        nonlocal sound
        try:
            if not sound:
                array.validate(full=True)
                sound = True
            (value,) = array.slice(row, 1).to_pylist(maps_as_pydicts="strict")
        except UnicodeDecodeError as error:
            raise CellError(f"is not UTF-8: byte 0x{error.object[error.start]:02x}") from None
        except KeyError as error:
            raise CellError(f"cannot be read: {error.args[0]}") from None
        except (pa.ArrowException, ValueError, OverflowError) as error:
            raise CellError(f"cannot be read: {' '.join(str(error).split())[:200]}") from None
        return value

    return read
