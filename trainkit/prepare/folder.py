"""The folder that is written: whose it is, what a killed run left in it, and how it becomes whole at once.

Everything is written under ``.prepare`` inside it. When all of it is there, ``.prepare/new/manifest.json``
is written; from then on the new files are moved into their places, ``manifest.json`` last, and a start after
a kill in between goes on moving. Where a part has to take the place of another of its name, the old
``manifest.json`` is deleted before: a folder without it is none that may be used. Else the folder is the old
one until it is the new one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from trainkit.errors import TrainkitError
from trainkit.file_hash import blake2b_of
from trainkit.prepared import DIGEST, SUMMARY, is_prepared

WORK = ".prepare"


@dataclass(frozen=True, slots=True)
class OutFolder:
    """A prepared manifest's folder, held by this process."""

    path: Path

    @property
    def work(self) -> Path:
        """What is not finished, and what is kept for the next run."""
        return self.path / WORK

    @property
    def new(self) -> Path:
        """New files, by the names under which they will stand in the folder."""
        return self.work / "new"

    @property
    def base(self) -> Path:
        """A manifest without the additions that are to come into it."""
        return self.work / "base"

    def finish(self) -> None:
        """Move all new files into their places. Everything but their moving must be on the disk by now."""
        self._sync(self.new)
        self._move()

    def clear(self) -> None:
        """Finish what a killed run had all of, and delete what it had half of."""
        if (self.new / SUMMARY).is_file():
            self._move()
        elif is_prepared(self.path) and (parts := _parts(self.path / SUMMARY)):
            self._sweep(parts)
        shutil.rmtree(self.new, ignore_errors=True)
        shutil.rmtree(self.base, ignore_errors=True)
        for left in self.work.glob(".*"):  # Spools carry the number of a process that is gone.
            left.unlink()
        self.new.mkdir()

    def _move(self) -> None:
        order = json.loads((self.new / SUMMARY).read_text(encoding="utf-8"))
        kept = {part["file"] for part in order["parts"]}
        files = [file for file in sorted(self.new.iterdir()) if file.name != SUMMARY]
        if any(file.name in kept and _differs(file, self.path / file.name) for file in files):
            (self.path / SUMMARY).unlink(missing_ok=True)
        for file in files:
            _replace(file, self.path / file.name)
        self._sync(self.path)
        os.replace(self.new / SUMMARY, self.path / SUMMARY)
        self._sync(self.path)
        self._sweep(kept)
        if not order["settings"]["quarantine"]:
            (self.path / "quarantine.txt").unlink(missing_ok=True)
        self._sync(self.path)

    def _sweep(self, kept: set[str]) -> None:
        """Delete parts that the manifest does not name: those of the one before."""
        for old in self.path.glob("part-*.arrow"):
            if old.name not in kept:
                old.unlink()

    @staticmethod
    def _sync(folder: Path) -> None:
        """Names reach the disk with their folder."""
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def _parts(summary: Path) -> set[str]:
    """The parts that a manifest.json names; empty for one that is damaged."""
    try:
        return {part["file"] for part in json.loads(summary.read_text(encoding="utf-8"))["parts"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return set()


@contextlib.contextmanager
def out_folder(path: Path, *, waiting: Callable[[], None] | None = None) -> Iterator[OutFolder]:
    """Make the folder, or take it over from an earlier run, and hold it. While another process is at it, wait
    for that, where ``waiting`` is there to be called first.

    Raises TrainkitError when it holds other things, or when another process is at it and nobody waits.
    """
    if path.exists() and not path.is_dir():
        raise TrainkitError(f"{path} is a file; give a folder with -o")
    path.mkdir(parents=True, exist_ok=True)
    prepared = (path / WORK).is_dir() or is_prepared(path)
    if not prepared and (others := sorted(entry.name for entry in path.iterdir())):
        raise TrainkitError(
            f"{path} holds other things, such as {others[0]!r}; give a new folder, or one that an earlier "
            "`trainkit prepare` wrote, with -o"
        )
    folder = OutFolder(path)
    folder.work.mkdir(exist_ok=True)
    with (folder.work / "lock").open("w") as lock:
        _hold(lock, path, waiting)
        folder.clear()
        yield folder


def _hold(lock: TextIO, path: Path, waiting: Callable[[], None] | None) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if waiting is None or error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise TrainkitError(f"another process is preparing {path}; wait for it, or end it") from None
        waiting()
        fcntl.flock(lock, fcntl.LOCK_EX)


def write_flushed(path: Path, text: str) -> None:
    """A file that is on the disk when this returns."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def file_digest(path: Path) -> str:
    """A file's digest as manifest.json has it."""
    return blake2b_of(path, DIGEST)


def _replace(new: Path, old: Path) -> None:
    """Put a file into its place; one that holds the same stays as it is, with its time."""
    if old.is_file() and not _differs(new, old):
        new.unlink()
    else:
        os.replace(new, old)


def _differs(new: Path, old: Path) -> bool:
    """Whether there is an old file, and it holds something else."""
    return old.is_file() and (
        old.stat().st_size != new.stat().st_size or file_digest(old) != file_digest(new)
    )
