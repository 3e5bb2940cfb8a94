"""A micro-batch on its way from one process to another: one nameless file in memory holds all of it.

The file begins with a header in JSON; the tensors follow, each at a multiple of 64 bytes. Whoever has the
file needs nothing more from the process that wrote it, not even that it still lives; and a container's small
/dev/shm is no limit, because the file does not lie there.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import tempfile
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from trainkit.feed import Batch

_ALIGNED = 64


def nameless_file(label: str) -> int:
    """The descriptor of a new file that no other process can open by a name; ``label`` is for /proc."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(label, os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def pack(batch: Batch) -> tuple[int, int]:
    """(descriptor, bytes of the header) of a file that holds the batch. The caller closes it."""
    tensors: list[Tensor] = []
    told = {field.name: _plain(getattr(batch, field.name), tensors) for field in fields(batch)}
    header = json.dumps(told).encode()
    starts, end = [], _aligned(len(header))
    for tensor in tensors:
        starts.append(end)
        end = _aligned(end + tensor.numel() * tensor.element_size())
    file = nameless_file("micro-batch")
    try:
        os.ftruncate(file, max(1, end))
        with mmap.mmap(file, max(1, end)) as room:
            room[: len(header)] = header
            for start, tensor in zip(starts, tensors, strict=True):
                if tensor.numel():
                    _view(room, start, tensor.dtype, tensor.numel()).copy_(tensor.reshape(-1))
    except BaseException:
        os.close(file)
        raise
    return file, len(header)


def unpack(file: int, header: int) -> Batch:
    """The batch of `pack`; its tensors are views of the file, which may be closed."""
    room = mmap.mmap(file, os.fstat(file).st_size)
    end = _aligned(header)

    def tensor(told: dict[str, Any]) -> Tensor:
        nonlocal end
        dtype, shape = getattr(torch, told["dtype"]), told["shape"]
        count = math.prod(shape)
        start, end = end, _aligned(end + count * dtype.itemsize)
        return _view(room, start, dtype, count).view(shape) if count else torch.empty(shape, dtype=dtype)

    def value(told: Any) -> Any:
        if isinstance(told, list):
            return [value(item) for item in told]
        if isinstance(told, dict):
            return tensor(told) if "dtype" in told else tuple(value(item) for item in told["tuple"])
        return told

    return Batch(**{name: value(told) for name, told in json.loads(room[:header]).items()})


def _plain(value: Any, tensors: list[Tensor]) -> Any:
    """A field as JSON; its tensors are put on the list, in order."""
    if isinstance(value, Tensor):
        tensors.append(value)
        return {"dtype": str(value.dtype).removeprefix("torch."), "shape": list(value.shape)}
    if isinstance(value, tuple):
        return {"tuple": [_plain(item, tensors) for item in value]}
    if isinstance(value, list):
        return [_plain(item, tensors) for item in value]
    assert value is None or isinstance(value, (str, int, float)), f"no way to pack a {type(value).__name__}"
    return value


def _view(room: mmap.mmap, start: int, dtype: torch.dtype, count: int) -> Tensor:
    return torch.frombuffer(room, dtype=dtype, count=count, offset=start)


def _aligned(position: int) -> int:
    return -(-position // _ALIGNED) * _ALIGNED
