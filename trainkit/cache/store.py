"""A folder of shards with its index: rows are found by key, read one at a time, and added a shard at a time.

Several processes and several runs may use one folder at once. Nothing is ever changed in place: a shard
appears whole, and the index is replaced by a newer one. Locks are the system's (POSIX record locks), so they
are gone with the process that holds them, however that ends; on a disk that knows none, work may be done
twice, and the result is the same.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import time
from collections import OrderedDict
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from trainkit.cache.index import NONE, Index, merged, open_index
from trainkit.cache.shard import Shard, read_shard, write_shard
from trainkit.errors import CacheError, DamagedError
from trainkit.progress import bar_style

INDEX = "index.safetensors"
SHARD = re.compile(r"[0-9a-z]{1,16}-[0-9a-f]{32}\.safetensors")
"""What a shard's file is called: a word for its shape and a hash of what was planned to be in it."""

_OPEN = 128
"""Files that a process keeps open."""
_HELD = {errno.EACCES, errno.EAGAIN}
_TOGETHER = 4
"""Shards that are looked through at the same time."""


class Store:
    """A folder of rows by key. A copy in another process opens the same files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._index: Index | None = None
        self._names: list[str] = []
        self._files: OrderedDict[int, int] = OrderedDict()

    def __reduce__(self) -> tuple[Any, ...]:
        return Store, (self.folder,)

    def __del__(self) -> None:
        self._close()

    @property
    def index(self) -> Index:
        """The index as it was when it was first asked for, or last made anew by `refresh`."""
        if self._index is None:
            try:
                self._use(self._opened(verify=False))
            except (OSError, DamagedError):
                self.refresh(write=False)
        assert self._index is not None
        return self._index

    def has(self, keys: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Whether there is a row for each key, [m, 16]."""
        return self.index.find(keys) >= 0

    def read(self, key: bytes) -> NDArray[np.float16] | None:
        """The row of a key; None when there is none.

        Raises DamagedError when its shard turns out to be cut short, which is then removed, to be made anew
        at the next start; OSError when it cannot be read.
        """
        index = self.index
        entry = int(index.find(np.frombuffer(key, dtype=np.uint8).reshape(1, -1))[0])
        if entry < 0:
            return None
        shard, row = int(index.shard[entry]), int(index.row[entry])
        if shard >= len(self._names):
            raise DamagedError(f"{self.folder / INDEX} is damaged; start again, and it is made anew")
        shape = index.row_shape(shard)
        length = 2 * int(np.prod(shape))
        start = int(index.starts[shard]) + row * length
        try:
            content = os.pread(self._file(shard), length, start)
        except OSError:  # Such as a stale handle of a network disk.
            self._forget(shard)
            content = os.pread(self._file(shard), length, start)
        if len(content) < length:
            self._remove(shard)
        return np.frombuffer(content, dtype="<f2").reshape(shape)

    def put(
        self, name: str, keys: NDArray[np.uint8], rows: NDArray[np.float16], failed: NDArray[np.uint8]
    ) -> None:
        """Add a shard. It is found by key after the next `refresh`. Raises CacheError."""
        write_shard(self.folder / name, keys, rows, failed)

    def exists(self, name: str) -> bool:
        """Whether there is a shard of this name."""
        return (self.folder / name).exists()

    def refresh(
        self, *, trusted: Collection[str] = (), write: bool = True, progress: bool = False
    ) -> list[str]:
        """Make the index say what the folder holds; returns what was damaged, a line for each.

        Shards that the index does not know, or knows with another size or date, are read once as a whole and
        compared with their hash, but for the ``trusted``, which this program has just written. Damaged ones
        are removed. Without ``write`` nothing is changed in the folder.
        """
        damaged: list[str] = []
        with self._locked() if write else contextlib.nullcontext():
            index, complaint = self._known()
            damaged += complaint
            there = self._listed()
            known = dict(zip(index.shard_names(), map(tuple, index.sizes.tolist()), strict=True))
            dropped = {name for name, state in known.items() if there.get(name) != state}
            names = sorted(name for name, state in there.items() if known.get(name) != state)
            fresh = self._read_all(names, trusted, write, damaged, progress)
            if write:
                self._sweep()
            if dropped or fresh or complaint:
                index = merged(index, dropped, fresh)
                if write:
                    # A folder that cannot be written to is used all the same, with an index in memory.
                    with contextlib.suppress(CacheError):
                        index.save(self.folder / INDEX)
                        index = self._opened(verify=False)
        self._use(index)
        return damaged

    def _opened(self, *, verify: bool) -> Index:
        """The index on the disk, mapped. Raises DamagedError and OSError as `open_index` does."""
        index = open_index(self.folder / INDEX, verify=verify)
        if not all(SHARD.fullmatch(name) for name in index.shard_names()):
            raise DamagedError("it names files that are no shards")
        return index

    def _known(self) -> tuple[Index, list[str]]:
        """The index on the disk, and what is wrong with it."""
        try:
            return self._opened(verify=True), []
        except FileNotFoundError:
            return NONE, []
        except (OSError, DamagedError) as error:
            return NONE, [f"{self.folder / INDEX}: {error}"]

    def _listed(self) -> dict[str, tuple[int, int]]:
        """Size and time of change of every shard in the folder."""
        found: dict[str, tuple[int, int]] = {}
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(self.folder) as entries:
            for entry in entries:
                if SHARD.fullmatch(entry.name):
                    with contextlib.suppress(FileNotFoundError):
                        stat = entry.stat(follow_symlinks=False)
                        found[entry.name] = (stat.st_size, stat.st_mtime_ns)
        return found

    def _read_all(
        self, names: list[str], trusted: Collection[str], write: bool, damaged: list[str], progress: bool
    ) -> list[Shard]:
        """The shards of these names that are whole; the others are added to ``damaged`` and removed."""
        verify = [write and name not in trusted for name in names]

        def read(name: str, whole: bool) -> Shard | str | None:
            try:
                return read_shard(self.folder / name, verify=whole)
            except FileNotFoundError:
                return None
            except DamagedError as error:
                if write:
                    with contextlib.suppress(OSError):
                        (self.folder / name).unlink()
                return f"{self.folder / name}: {error}"

        shards: list[Shard] = []
        with ThreadPoolExecutor(_TOGETHER) as pool:
            results = tqdm(
                pool.map(read, names, verify),
                total=len(names),
                desc="looking through the cache",
                unit="shard",
                disable=not progress or not any(verify),
                leave=False,
                **bar_style(),
            )
            for result in results:
                if isinstance(result, Shard):
                    shards.append(result)
                elif result is not None:
                    damaged.append(result)
        return shards

    def claim(self, name: str) -> Claim | None:
        """Take it on to write a shard; None when another process is at it."""
        path = self.folder / "claims" / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
        except OSError as error:
            # Nothing can be written here; the shard itself will say so, with what it needs.
            del error
            return Claim(None, path)
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _HELD:
                os.close(file)
                return None
        return Claim(file, path)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time makes the index; the others wait, and then find it made."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = os.open(self.folder / ".lock", os.O_CREAT | os.O_RDWR, 0o666)
        except OSError:
            yield
            return
        try:
            while True:
                try:
                    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError as error:
                    if error.errno not in _HELD:
                        break
                    time.sleep(0.05)
                else:
                    break
            yield
        finally:
            os.close(file)

    def _sweep(self) -> None:
        """Remove what killed processes left half-written; what is being written is claimed."""
        for partial in self.folder.glob(".*.partial"):
            if (claim := self.claim(partial.name.removeprefix(".").partition(".safetensors")[0])) is not None:
                with claim, contextlib.suppress(OSError):
                    partial.unlink()
        for path in (self.folder / "claims").glob("*"):
            if (claim := self.claim(path.name)) is not None:
                claim.release()

    def _use(self, index: Index) -> None:
        self._close()
        self._index, self._names = index, index.shard_names()

    def _file(self, shard: int) -> int:
        """An open descriptor of a shard, among the last that were used."""
        file = self._files.get(shard)
        if file is None:
            file = os.open(self.folder / self._names[shard], os.O_RDONLY)
            self._files[shard] = file
            if os.fstat(file).st_size != int(self.index.sizes[shard, 0]):
                self._remove(shard)
            if len(self._files) > _OPEN:
                os.close(self._files.popitem(last=False)[1])
        self._files.move_to_end(shard)
        return file

    def _remove(self, shard: int) -> NoReturn:
        """Take away a shard that is not as long as it was. Raises DamagedError."""
        self._forget(shard)
        path = self.folder / self._names[shard]
        with contextlib.suppress(OSError):
            path.unlink()
        raise DamagedError(f"{path} was cut short; start again, and it is made anew")

    def _forget(self, shard: int) -> None:
        if (file := self._files.pop(shard, None)) is not None:
            os.close(file)

    def _close(self) -> None:
        while self._files:
            os.close(self._files.popitem()[1])


class Claim:
    """The right to write one shard, held until it is released or the process ends."""

    def __init__(self, file: int | None, path: Path) -> None:
        self._file, self._path = file, path

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()

    def release(self) -> None:
        """Give it back."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
            os.close(self._file)
            self._file = None
