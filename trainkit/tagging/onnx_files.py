"""Which other files an ONNX model would read: its weights may lie outside of it, at paths that it names.

A model comes from anybody, and such a path could be that of any file on the disk. ONNX is protobuf; only the
messages on the way to ``TensorProto.external_data`` are looked at, and weights are stepped over.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from trainkit.errors import ModelError

# The numbers of fields in onnx.proto3: what lies within each message, as far as it leads to tensors.
_WITHIN = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "external"},
}
_DEEPEST = 100


def check_external_files(model: Path) -> None:
    """Raise ModelError when a model names a file outside of its folder, or one that is not there, or when it
    is no ONNX at all."""
    folder = model.parent.resolve()
    for name in sorted(external_files(model)):
        if not name or "\0" in name or Path(name).is_absolute() or ".." in Path(name).parts or "\\" in name:
            raise ModelError(
                f"{model} wants to read {name!r}, which lies outside of its folder: it is not used"
            )
        path = folder / name
        if not path.is_file():
            raise ModelError(
                f"{model} keeps weights in {name!r}, which is not there: put it beside the model"
            )
        # A folder of a hub's cache is made of links: weights may also lie where the model itself does.
        if path.resolve().parent not in (folder, model.resolve().parent) and (
            path.is_symlink() or not path.resolve().is_relative_to(folder)
        ):
            raise ModelError(f"{model} keeps weights in {name!r}, a link that leads out of its folder")


def external_files(model: Path) -> set[str]:
    """The paths that a model names. Raises ModelError for what is no ONNX model."""
    try:
        with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return set(_locations(data, "model", 0, len(data), 0))
    except OSError as error:
        raise ModelError(f"{model} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ModelError(f"{model} is no ONNX model, or damaged: {error}") from error


def _locations(data: mmap.mmap, kind: str, start: int, end: int, depth: int) -> Iterator[str]:
    """Values of "location" below a message that lies in [start, end). Raises ValueError."""
    if depth > _DEEPEST:
        raise ValueError(f"it is nested more than {_DEEPEST} deep")
    if kind == "external":
        told = {number: data[a:b] for number, a, b in _fields(data, start, end)}
        if told.get(1) == b"location":
            yield told.get(2, b"").decode("utf-8")
        return
    within = _WITHIN[kind]
    for number, a, b in _fields(data, start, end):
        if number in within:
            yield from _locations(data, within[number], a, b, depth + 1)


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(number, start, end) of each field of a message that has a length; the others are stepped over."""
    at = start
    while at < end:
        key, at = _varint(data, at, end)
        number, wire = key >> 3, key & 7
        if wire == 0:
            _, at = _varint(data, at, end)
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        elif wire == 2:
            length, at = _varint(data, at, end)
            if at + length > end:
                raise ValueError(f"a field at byte {at} is longer than what it lies in")
            yield number, at, at + length
            at += length
        else:
            raise ValueError(f"byte {at} is no protobuf")
    if at != end:
        raise ValueError(f"it ends in the middle of a field, at byte {end}")


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= end or shift > 63:
            raise ValueError(f"byte {at} is no protobuf")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
