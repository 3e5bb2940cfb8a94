"""What was made so far, on the disk as it is made: a killed run goes on, and makes nothing twice.

Every rank writes a file of its own, ``MANIFEST/additions/.NAME/rank-00000.jsonl``; all of them are read when
a run begins, with however many ranks. At the end they become ``MANIFEST/additions/NAME.jsonl``, which is read
in the same way: a run over a manifest that has grown makes what lacks.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainkit.additions.addition import Addition, check_name
from trainkit.additions.finished import write_finished
from trainkit.additions.lines import Header, Lines, header_of, lines_of, whole_end
from trainkit.additions.places import check_prepared, file_of, journal_of
from trainkit.additions.rows import RowIndex
from trainkit.additions.sources import check_free
from trainkit.changed import changed, in_short
from trainkit.errors import LockError, TrainkitError
from trainkit.manifest import Manifest

_SYNC_SECONDS = 1.0
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
"""What a disk says that knows no locks."""
_HASH = re.compile(r"(?:[0-9a-f]{16}){1,4}")


class Keys(Set[int]):
    """Keys of records (`trainkit.keys.key_of` their ids), 8 bytes each."""

    def __init__(self, keys: NDArray[np.uint64]) -> None:
        self._keys = np.unique(keys)

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, int | np.integer) or not 0 <= key < 1 << 64:
            return False
        at = int(np.searchsorted(self._keys, np.uint64(key)))
        return at < len(self._keys) and int(self._keys[at]) == int(key)

    def __iter__(self) -> Iterator[int]:
        return iter(self._keys.tolist())

    def __len__(self) -> int:
        return len(self._keys)


@dataclass(slots=True)
class Journal:
    """Takes what is made for pictures, one rank's share of it."""

    manifest: Path
    header: Header
    done: Set[int]
    """Keys of the pictures for which this was made when the journal was opened, by any rank or an earlier
    start. Deal the rows out over the ranks first and pass over these then: ranks that were opened at
    different times may know different ones."""
    _file: int
    _end: int
    _synced: float

    def append(self, additions: Iterable[Addition]) -> None:
        """Write some down. What was written survives this process at once, and the machine a second later.

        Raises TrainkitError when the disk takes no more, ValueError for tags or captions of another source.
        """
        lines = []
        for addition in additions:
            sources = {t.source for t in addition.tags} | {p.source for p in addition.prose}
            if other := sources - {self.header.name}:
                raise ValueError(f"the source is {other.pop()!r}, must be {self.header.name!r}: {addition}")
            lines.append(addition.line())
        left = memoryview("".join(lines).encode("ascii"))
        whole = self._end + len(left)
        try:
            while left:
                left = left[os.write(self._file, left) :]
            if time.monotonic() - self._synced >= _SYNC_SECONDS:
                self.sync()
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._end)
            folder = journal_of(self.manifest, self.header.name)
            raise TrainkitError(
                f"{folder} cannot be written: {error.strerror or error}; "
                "what was made is kept: free some space, and the same command goes on"
            ) from error
        self._end = whole

    def sync(self) -> None:
        """Bring all of it to the disk. Every rank does it before the barrier that stands before `finish`."""
        os.fsync(self._file)
        self._synced = time.monotonic()

    def finish(self) -> Path:
        """Make ``MANIFEST/additions/NAME.jsonl`` of the files of all ranks, and return its path.

        For one rank only, when all others have written everything. The old file is replaced at once, and the
        journal is gone afterwards. Raises TrainkitError when it cannot be written.
        """
        self.sync()
        folder = journal_of(self.manifest, self.header.name)
        journals = _journals(folder)
        lines = _known(self.manifest, self.header, journals)
        path = file_of(self.manifest, self.header.name)
        write_finished(path, Header(self.header.name, self.header.settings), lines, Manifest(self.manifest))
        for journal in journals:
            journal.unlink()
        return path


@contextlib.contextmanager
def open_journal(
    manifest: Path,
    name: str,
    settings: Mapping[str, Any],
    *,
    rank: int = 0,
    world: int = 1,
    restart: bool = False,
    restart_costs: str = "",
) -> Iterator[Journal]:
    """Open a rank's journal of the addition ``name``, made by ``settings`` (what JSON knows), and go on where
    an earlier start ended, with however many ranks.

    ``restart`` makes everything anew; what was finished before stays until the new is. ``restart_costs`` says
    what that takes, where other settings are refused without it.

    Raises TrainkitError for another name than `check_name` allows, for a folder that `prepare` did not write,
    when what is there was made by other settings, and when the data themselves have tags or captions of this
    source; LockError when another process is at it.
    """
    check_name(name)
    check_prepared(manifest)
    check_free(manifest, name)
    plain: dict[str, Any] = json.loads(json.dumps(settings, sort_keys=True))
    folder = journal_of(manifest, name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainkitError(f"{folder} cannot be written: {error.strerror or error}") from error
    own = folder / f"rank-{rank:05d}.jsonl"
    with held(folder, rank):
        if restart:
            _forget(folder, own, rank, world)
        header = Header(name, plain, restart or _goes_on(manifest, name, plain, restart_costs))
        done = np.empty(0, np.uint64) if restart else _done(manifest, header, _journals(folder))
        file, end = _opened(own, header)
        try:
            journal = Journal(manifest, header, Keys(done), file, end, time.monotonic())
            yield journal
            journal.sync()
        finally:
            os.close(file)


def _journals(folder: Path) -> list[Path]:
    return sorted(folder.glob("rank-*.jsonl"))


def _forget(folder: Path, own: Path, rank: int, world: int) -> None:
    """Start over: each rank deletes its own file, the first also those of ranks that are no more."""
    own.unlink(missing_ok=True)
    for path in _journals(folder) if rank == 0 else ():
        if int(path.stem.removeprefix("rank-")) >= world:
            path.unlink(missing_ok=True)


def _goes_on(manifest: Path, name: str, settings: Mapping[str, Any], restart_costs: str) -> bool:
    """Whether the journal that is there is a fresh one. Raises TrainkitError when it is by other settings."""
    headers = [h for p in _journals(journal_of(manifest, name)) if (h := header_of(p)) is not None]
    for header in headers:
        _compare(journal_of(manifest, name), header.settings, settings, restart_costs)
    finished = header_of(file_of(manifest, name))
    if not headers and finished is not None:
        _compare(file_of(manifest, name), finished.settings, settings, restart_costs)
    return any(header.fresh for header in headers)


def _compare(where: Path, before: Mapping[str, Any], now: Mapping[str, Any], restart_costs: str) -> None:
    if before == now:
        return
    if not {*before} & {*now}:
        raise TrainkitError(f"{where} is what something else added under this name; take another name")
    shown = [f"  {_change(*each)}" for each in itertools.islice(changed(before, now), 12)]
    raise TrainkitError(
        f"{where} was made with other settings:\n"
        + "\n".join(shown)
        + "\ngive the settings of then, another "
        "name, or --restart to make all of it anew; what is in the manifest stays until the new is whole"
        + restart_costs
    )


def _change(address: str, before: Any, now: Any) -> str:
    """In a line; a hash tells a person nothing."""
    if all(isinstance(value, str) and _HASH.fullmatch(value) for value in (before, now)):
        return f"{address}: not the same as then"
    return f"{address}: {in_short(before)} then, {in_short(now)} now"


def _known(manifest: Path, header: Header, journals: list[Path]) -> Lines:
    """What was made by these settings: the journals, and what was finished, unless all is made anew."""
    finished = file_of(manifest, header.name)
    before = None if header.fresh else header_of(finished)
    kept = [finished] if before is not None and before.settings == header.settings else []
    return lines_of(kept + [path for path in journals if header_of(path) is not None])


def _done(manifest: Path, header: Header, journals: list[Path]) -> NDArray[np.uint64]:
    """The keys of those whose picture is still the one that they were made from."""
    found = _known(manifest, header, journals).found
    if not len(found):
        return np.empty(0, np.uint64)
    index = RowIndex.of(Manifest(manifest))
    keys: NDArray[np.uint64] = found["key"]
    return keys[index.fit(index.rows(keys), found["digest"])]


def _opened(own: Path, header: Header) -> tuple[int, int]:
    """A rank's file, ready to be gone on with, and its length."""
    try:
        file = os.open(own, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        end = whole_end(own)
        os.ftruncate(file, end)  # A killed run's last line.
        if not end:
            end = os.write(file, header.line())
        os.fsync(file)
    except OSError as error:
        raise TrainkitError(f"{own} cannot be written: {error.strerror or error}") from error
    return file, end


@contextlib.contextmanager
def held(folder: Path, rank: int) -> Iterator[None]:
    """Hold a rank's lock; the system's, so that it is gone with the process however that ends.

    Raises LockError when another process holds it, TrainkitError when it cannot be written.
    """
    path = folder / f"rank-{rank:05d}.lock"
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise TrainkitError(f"{path} cannot be written: {error.strerror or error}") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise LockError(f"another process is writing {path.parent}; wait for it, or end it") from None
        yield
    finally:
        os.close(lock)
