"""Writing a safetensors file tensor by tensor, so that a model of gigabytes passes through memory one weight
at a time.

The format: eight bytes with the length of the header, the header (JSON, padded with spaces to a multiple of
eight bytes), then the tensors' bytes one after the other without a gap. The hash of those bytes stands in
the header, so its 64 characters are written last, over a placeholder of the same length.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from trainkit.errors import ModelError
from trainkit.whole_file import replace_whole, whole_file

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
"""Our names of the data types that a file can be written in."""

_CODES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""What a header calls a data type. The export writes the first four, an optimizer's state may need all."""
_PLACEHOLDER = "0" * 64


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor that is going to be written."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """Its length in the file."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


def write_tensors(
    path: Path,
    entries: Sequence[Entry],
    tensors: Iterable[Tensor],
    metadata: dict[str, str],
    hash_key: str | None = None,
) -> str:
    """Write the tensors in the order of their entries; returns the SHA-256 of all their bytes, in hex.

    With ``hash_key`` the hash also stands in the metadata under that name, with "0x" before it. The file
    appears under its name only when it is whole and on the disk. Raises ModelError when it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path, flushed=True, alone=True) as partial, partial.open("wb") as file:
            return _write(file, entries, tensors, metadata, hash_key)
    except OSError as error:
        raise ModelError(
            f"{path} could not be written: {error.strerror or error}; nothing was left behind. It needs "
            f"{sum(e.num_bytes for e in entries) / 1e6:,.1f} MB: choose a folder that can be written to and "
            "has the space"
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a small text beside the model, all or nothing. Raises ModelError when that cannot be done."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_whole(path, text.encode("utf-8"))
    except OSError as error:
        raise ModelError(f"{path} could not be written: {error.strerror or error}") from error


def _write(
    file: BinaryIO,
    entries: Sequence[Entry],
    tensors: Iterable[Tensor],
    metadata: dict[str, str],
    hash_key: str | None,
) -> str:
    if hash_key is not None:
        metadata = {**metadata, hash_key: f"0x{_PLACEHOLDER}"}
    header = header_of(entries, metadata)
    file.write(len(header).to_bytes(8, "little"))
    file.write(header)
    digest = hashlib.sha256()
    for entry, tensor in zip(entries, tensors, strict=True):
        assert (tensor.dtype, tuple(tensor.shape)) == (entry.dtype, entry.shape), entry.name
        data = bytes_of(tensor)
        file.write(data)
        digest.update(data)
    if hash_key is not None:
        found = header.index(f'{json.dumps(hash_key)}:"0x{_PLACEHOLDER}"'.encode())
        file.seek(8 + found + len(json.dumps(hash_key).encode()) + len(':"0x'))
        file.write(digest.hexdigest().encode())
    return digest.hexdigest()


def bytes_of(tensor: Tensor) -> memoryview:
    """A tensor's bytes in main memory, in the order of a file; no copy where they lie so already."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def header_of(entries: Sequence[Entry], metadata: dict[str, str]) -> bytes:
    """The header of a file that holds these tensors in this order, padded, without its length before it.

    Readers want every tensor at a multiple of its element's size: where sizes differ, put the large first.
    """
    header: dict[str, object] = {"__metadata__": metadata}
    offset = 0
    for entry in entries:
        end = offset + entry.num_bytes
        header[entry.name] = {
            "dtype": _CODES[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 8)
