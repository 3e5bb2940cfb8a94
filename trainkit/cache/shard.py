"""One shard: some hundred rows of one shape, each under its key.

A shard is a safetensors file with ``rows`` float16 [n, ...], ``keys`` uint8 [n, 16], and ``failed`` uint8
[m, 16]: the keys of which no row could be made. Its metadata holds a BLAKE2b of the three. It is written
under a temporary name, flushed to the disk and renamed, so that a shard under its own name is whole unless
something happened to it later.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from trainkit.cache.layout import Stretch, read_layout
from trainkit.errors import CacheError, DamagedError
from trainkit.room import explain_full
from trainkit.sealed import flush
from trainkit.whole_file import replace_whole

KEY = 16
"""Bytes of a key."""

_FORMAT = "trainkit cache 1"
"""The one entry of the metadata, with the hash: safetensors writes several in any order, and the same rows
shall be the same bytes."""
_READ_AT_ONCE = 1 << 22


@dataclass(frozen=True, slots=True)
class Shard:
    """What is known of a shard without its rows."""

    name: str
    """The file's name without its folder."""
    size: int
    mtime_ns: int
    keys: NDArray[np.uint8]
    """[n, 16]"""
    failed: NDArray[np.uint8]
    """[m, 16]"""
    shape: tuple[int, ...]
    """Of one row."""
    start: int
    """Where the first row begins, in bytes from the beginning of the file."""


def as_keys(keys: Sequence[bytes]) -> NDArray[np.uint8]:
    """Keys as an array, [n, 16]."""
    return np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, KEY)


def write_shard(
    path: Path, keys: NDArray[np.uint8], rows: NDArray[np.float16], failed: NDArray[np.uint8]
) -> None:
    """Write a shard, all or nothing. Raises CacheError when it cannot be written, such as on a full disk."""
    write_cached(path, shard_bytes(keys, rows, failed))


def shard_bytes(keys: NDArray[np.uint8], rows: NDArray[np.float16], failed: NDArray[np.uint8]) -> bytes:
    """A shard as a file holds it."""
    digest = hashlib.blake2b(digest_size=32)
    for array in (keys, failed, rows):
        digest.update(np.ascontiguousarray(array).tobytes())
    tensors: dict[str, NDArray[Any]] = {
        "keys": np.ascontiguousarray(keys),
        "failed": np.ascontiguousarray(failed),
        "rows": np.ascontiguousarray(rows),
    }
    return save(tensors, {_FORMAT: digest.hexdigest()})


def write_cached(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, flush it, rename it. Raises CacheError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_whole(path, content, flushed=True)
        flush(path.parent)
    except OSError as error:
        raise CacheError(
            f"the cache {path.parent} cannot be written: {explain_full(error, path.parent, len(content))}. "
            "What is there stays usable. Free some space or set data.cache, and start the same command again."
        ) from error


def read_shard(path: Path, *, verify: bool) -> Shard:
    """What is known of a shard. Raises DamagedError when it is not whole, OSError when it cannot be read.

    ``verify`` reads all of it and compares the hash; without it only the header, the keys and the file's
    length are looked at.
    """
    with path.open("rb") as file:
        stat = os.fstat(file.fileno())
        metadata, tensors = read_layout(file, stat.st_size)
        keys, failed, rows = _three(metadata, tensors)
        digest = hashlib.blake2b(digest_size=32)
        known, lost = _read(file, keys), _read(file, failed)
        if verify:
            digest.update(known)
            digest.update(lost)
            file.seek(rows.start)
            for first in range(0, rows.length, _READ_AT_ONCE):
                digest.update(file.read(min(_READ_AT_ONCE, rows.length - first)))
            if digest.hexdigest() != metadata[_FORMAT]:
                raise DamagedError("its bytes are not those that were written")
    return Shard(
        path.name,
        stat.st_size,
        stat.st_mtime_ns,
        np.frombuffer(known, dtype=np.uint8).reshape(-1, KEY),
        np.frombuffer(lost, dtype=np.uint8).reshape(-1, KEY),
        rows.shape[1:],
        rows.start,
    )


def _three(metadata: dict[str, str], tensors: dict[str, Stretch]) -> tuple[Stretch, Stretch, Stretch]:
    """Keys, failed keys and rows. Raises DamagedError when they are not what a shard has."""
    if _FORMAT not in metadata or set(tensors) != {"keys", "failed", "rows"}:
        raise DamagedError(f"it is no shard of this version ({_FORMAT})")
    keys, failed, rows = (tensors[name] for name in ("keys", "failed", "rows"))
    if (
        (keys.dtype, failed.dtype, rows.dtype) != ("U8", "U8", "F16")
        or keys.shape[1:] != (KEY,)
        or failed.shape[1:] != (KEY,)
        or not 2 <= len(rows.shape) <= 5
        or rows.shape[0] != keys.shape[0]
    ):
        raise DamagedError("its header is damaged")
    return keys, failed, rows


def _read(file: BinaryIO, stretch: Stretch) -> bytes:
    file.seek(stretch.start)
    return file.read(stretch.length)
