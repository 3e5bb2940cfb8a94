"""Chunks kept on disk until the last one is there: what a table's columns are, only the last record tells."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from captionkit.errors import DataError

_LENGTH = struct.Struct("<Q")


class Parts:
    """Chunks of bytes in a temporary file, to be read again one after the other."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path

    def append(self, chunk: bytes) -> None:
        """Keep a chunk."""
        with errors_of_writing(self._path):
            self._file.write(_LENGTH.pack(len(chunk)))
            self._file.write(chunk)

    def __iter__(self) -> Iterator[bytes]:
        """The chunks in order, one in memory at a time."""
        self._file.seek(0)
        while head := self._file.read(_LENGTH.size):
            yield self._file.read(*_LENGTH.unpack(head))


@contextmanager
def errors_of_writing(path: Path) -> Iterator[None]:
    """What the system does not allow, as `DataError`."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"cannot be written: {error.strerror or error}",
            where=str(path),
            hint="is there room, is the folder there, and may you write to it?",
        ) from error


def hidden(path: Path, what: str) -> Path:
    """A temporary name beside `path` that no other process uses and no reader takes for data."""
    return path.with_name(f".{path.name}.{os.getpid()}.{what}")


@contextmanager
def parts_beside(path: Path) -> Iterator[Parts]:
    """A temporary file for chunks, in the folder of `path`, and gone afterwards."""
    name = hidden(path, "parts")
    with errors_of_writing(path):
        file = name.open("w+b")
    try:
        with file:
            yield Parts(file, path)
    finally:
        name.unlink(missing_ok=True)


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A temporary name for a file that becomes `path` when the context is left without an error."""
    name = hidden(path, "partial")
    try:
        yield name
        with errors_of_writing(path):
            os.replace(name, path)
    finally:
        name.unlink(missing_ok=True)


@contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """A new folder that becomes `path` when the context is left without an error."""
    name = hidden(path, "partial")
    with errors_of_writing(path):
        name.mkdir()
    try:
        yield name
        with errors_of_writing(path):
            _move_over(name, path)
    finally:
        shutil.rmtree(name, ignore_errors=True)


def _move_over(name: Path, path: Path) -> None:
    """A folder cannot be replaced in one step: the old one is moved away first."""
    if not path.exists():
        name.rename(path)
        return
    old = hidden(path, "old")
    path.rename(old)
    try:
        name.rename(path)
    except OSError:
        old.rename(path)
        raise
    shutil.rmtree(old)
