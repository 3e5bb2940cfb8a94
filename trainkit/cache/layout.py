"""Where the tensors of a safetensors file lie, so that a row can be read without the rest.

The format is 8 bytes with the length of the header, the header (JSON: name, data type, shape and offsets of
every tensor), then the tensors' bytes. Files are read, not mapped: a file that gets shorter under a mapping
ends the process, one that is read is an error.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, BinaryIO

from trainkit.errors import DamagedError

_BYTES = {"U8": 1, "F16": 2, "U16": 2, "I32": 4, "U32": 4, "I64": 8, "U64": 8}
"""The data types that a cache has, and how long an element is."""

_LONGEST = 1 << 20
"""No header of ours has as many bytes."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """One tensor in a file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    """Where it begins, in bytes from the beginning of the file."""
    length: int
    """Its bytes."""


def read_layout(file: BinaryIO, size: int) -> tuple[dict[str, str], dict[str, Stretch]]:
    """The metadata and the tensors of a safetensors file of ``size`` bytes.

    Raises DamagedError with the reason when the header is not whole or does not fit the file's length.
    """
    first = file.read(8)
    length = int.from_bytes(first, "little")
    if len(first) < 8 or not 2 <= length <= min(_LONGEST, size - 8):
        raise DamagedError("its header is cut short or damaged")
    try:
        header: dict[str, Any] = json.loads(file.read(length))
        metadata = {str(k): str(v) for k, v in header.pop("__metadata__", {}).items()}
        tensors = {name: _stretch(entry, 8 + length) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedError("its header is damaged") from error
    # As the format demands, the tensors fill the rest of the file without gaps.
    borders = sorted((s.start, s.start + s.length) for s in tensors.values())
    chain = [(0, 8 + length), *borders, (size, size)]
    if any(end != start for (_, end), (start, _) in pairwise(chain)):
        told = max((end for _, end in borders), default=0)
        raise DamagedError(
            f"it has {size} of {told} bytes" if told > size else "its header does not fit its length"
        )
    return metadata, tensors


def _stretch(entry: dict[str, Any], begin: int) -> Stretch:
    dtype, shape = entry["dtype"], tuple(entry["shape"])
    start, end = entry["data_offsets"]
    if not all(type(n) is int and 0 <= n < 1 << 48 for n in (*shape, start, end)):
        raise ValueError("no whole numbers")
    if math.prod(shape) * _BYTES[dtype] != end - start:
        raise ValueError("a shape does not fit its bytes")
    return Stretch(dtype, shape, begin + start, end - start)
