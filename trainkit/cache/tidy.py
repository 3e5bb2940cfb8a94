"""Looking after a cache: what it holds, whether it is whole, and what nobody asks for any more."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from trainkit.cache.shard import KEY, read_shard, write_shard
from trainkit.cache.share import file_of
from trainkit.cache.store import SHARD, Store
from trainkit.cache.wanted import Wanted
from trainkit.errors import CacheError, DamagedError

_STORE = re.compile(r"(vae|text)-.*")
_OLD = re.compile(r"[0-9a-f]{32}\.safetensors")
"""Files of earlier versions, one for each picture, two hexadecimal digits of their names being a folder."""
_WORTH = 0.5
"""A shard of which a larger share is not asked for is written anew without that; other shards stay as they
are."""


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """What one store of a cache holds."""

    name: str
    """Such as ``vae-1f0c...-sample``: the fingerprint of what made it."""
    shards: int
    entries: int
    bytes: int
    failed: int
    """Keys of which no row could be made."""
    damaged: tuple[str, ...]
    """A line for each shard that is not whole by its header and length."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What nobody asks for in one store."""

    name: str
    entries: int
    """All entries."""
    unwanted: int
    """Those that no run asks for."""
    unwanted_bytes: int
    freed: int
    """Bytes that are, or would be, freed: whole shards, and those of which most is not asked for."""
    shards: int
    """How many shards go or are written anew for that."""


def stores_of(folder: Path) -> list[Path]:
    """The stores of a cache, by name. Raises CacheError when the folder is none."""
    if not folder.is_dir():
        raise CacheError(f"no such folder: {folder}")
    found = sorted(p for p in folder.iterdir() if _STORE.fullmatch(p.name) and p.is_dir())
    if not found and not any(True for _ in old_files(folder)):
        raise CacheError(
            f"{folder} is no cache: it holds no folders vae-... or text-... (a run's is <out>/cache, or what "
            "data.cache says)"
        )
    return found


def old_files(folder: Path) -> Iterator[Path]:
    """Cached latents of earlier versions, which nothing reads any more."""
    for path in folder.glob("[0-9a-f][0-9a-f]/*.safetensors"):
        if _OLD.fullmatch(path.name):
            yield path


def about(folder: Path) -> StoreInfo:
    """What a store holds; nothing is written."""
    store = Store(folder)
    damaged = store.refresh(write=False)
    index = store.index
    size = int(index.sizes[:, 0].sum())
    return StoreInfo(folder.name, len(index.names), len(index), size, len(index.failed), tuple(damaged))


def damaged_shards(folder: Path, *, progress: bool = False) -> dict[Path, str]:
    """The shards of a store that are not as they were written, and why; reads every byte."""
    paths = sorted(path for path in folder.iterdir() if SHARD.fullmatch(path.name))

    def problem(path: Path) -> str | None:
        try:
            read_shard(path, verify=True)
        except (DamagedError, OSError) as error:
            return str(error)
        return None

    with ThreadPoolExecutor(4) as pool:
        answers = tqdm(
            pool.map(problem, paths), total=len(paths), desc=folder.name, unit="shard", disable=not progress
        )
        return {path: told for path, told in zip(paths, answers, strict=True) if told is not None}


def prune(folder: Path, wanted: Wanted, *, remove: bool) -> Pruned:
    """Count what ``wanted`` does not ask for in a store; with ``remove`` take it away.

    A shard is removed only after what is wanted of it stands in another. Raises CacheError.
    """
    store = Store(folder)
    store.refresh(write=remove)
    index, names = store.index, store.index.shard_names()
    asked = index.find(wanted.of(folder))
    keep = np.zeros(len(index), dtype=bool)
    keep[asked[asked >= 0]] = True
    entries = np.bincount(index.shard, minlength=len(names))
    kept = np.bincount(index.shard[keep], minlength=len(names))
    row = np.maximum(index.shapes, 1).astype(np.int64).prod(axis=1) * 2 + KEY
    going = np.flatnonzero((kept == 0) | (entries - kept > _WORTH * entries)).tolist()
    freed = sum(
        int(index.sizes[s, 0] - kept[s] * row[s]) if kept[s] else int(index.sizes[s, 0]) for s in going
    )
    if remove:
        order = np.argsort(index.shard, kind="stable")
        ends = np.cumsum(entries)
        for s in going:
            some = order[ends[s] - entries[s] : ends[s]]
            rows = np.sort(index.row[some[keep[some]]])
            _rewrite(folder / names[s], rows)
        store.refresh(trusted={path.name for path in folder.iterdir() if SHARD.fullmatch(path.name)})
    unwanted = entries - kept
    return Pruned(
        folder.name, len(index), int(unwanted.sum()), int((unwanted * row).sum()), freed, len(going)
    )


def _rewrite(path: Path, rows: NDArray[np.uint32]) -> None:
    """Put some rows of a shard into one of their own, and remove it."""
    shard = read_shard(path, verify=bool(len(rows)))
    if len(rows):
        length = 2 * int(np.prod(shard.shape))
        with path.open("rb") as file:
            parts = []
            for row in rows.tolist():
                file.seek(shard.start + row * length)
                parts.append(np.frombuffer(file.read(length), "<f2").reshape(shard.shape))
        keys = shard.keys[rows]
        digest = hashlib.blake2b(keys.tobytes() + b"kept", digest_size=16).hexdigest()
        name = file_of(f"{path.name.partition('-')[0]}-{digest}")
        write_shard(path.with_name(name), keys, np.stack(parts), shard.failed)
    try:
        path.unlink()
    except OSError as error:
        raise CacheError(f"{path} cannot be removed: {error.strerror or error}") from error
