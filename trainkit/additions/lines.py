"""Where the lines of additions stand in their files: found by the key of their id, not kept in memory.

A file's first line is its header, every other one an `Addition`. A last line without its end is what a killed
process left, and is none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from trainkit.errors import TrainkitError
from trainkit.keys import key_of

FORMAT = "trainkit addition 1"
LINE = np.dtype([("key", "<u8"), ("file", "<u4"), ("offset", "<i8"), ("length", "<i4"), ("digest", "V16")])
"""One line: the key of its id, its place, its bytes, and the picture's digest, zeros where none is given."""

_MOST_BYTES = 1 << 24
"""A longer line is damage."""
_BEGIN = b'{"id": "'
_MIDDLE = ', "digest": "'
_STRINGS = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Header:
    """The first line of a file of additions."""

    name: str
    settings: Mapping[str, Any]
    """How they were made, as plain JSON."""
    fresh: bool = False
    """Of a journal: what was finished before does not count, all is made anew."""

    def line(self) -> bytes:
        """This as one line of JSON."""
        told = {"format": FORMAT, "name": self.name, "settings": self.settings, "fresh": self.fresh}
        return json.dumps(told, sort_keys=True).encode("ascii") + b"\n"


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines of one or several files."""

    files: tuple[Path, ...]
    found: NDArray[np.void]
    """[L] of LINE, in the order of the files and of their lines."""
    damaged: tuple[str, ...] = ()
    """The places of lines that are none."""


def header_of(path: Path) -> Header | None:
    """A file's header; None when there is no file, or it holds none (a process was killed as it began).

    Raises TrainkitError when the file cannot be read, or is of another format.
    """
    try:
        with path.open("rb") as file:
            line = file.readline(_MOST_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise TrainkitError(f"{path} cannot be read: {error.strerror or error}") from error
    if not line.endswith(b"\n"):
        return None
    try:
        told = json.loads(line)
        format, name, settings = told["format"], told["name"], told["settings"]
        known = format == FORMAT and isinstance(name, str) and isinstance(settings, dict)
    except (ValueError, KeyError, TypeError, RecursionError):
        known = False
    if not known:
        raise TrainkitError(
            f"{path}: its first line does not say {FORMAT!r}: this is no file of additions, or one that a "
            "later version wrote; move it away"
        )
    return Header(name, settings, told.get("fresh") is True)


def lines_of(files: Sequence[Path]) -> Lines:
    """Find the lines of files that have a header. Seconds for a million.

    Raises TrainkitError when a file cannot be read.
    """
    found: list[NDArray[np.void]] = []
    damaged: list[str] = []
    for number, path in enumerate(files):
        try:
            with path.open("rb") as file:
                found.append(_scan(file, number, path, damaged))
        except OSError as error:
            raise TrainkitError(f"{path} cannot be read: {error.strerror or error}") from error
    every = np.concatenate(found) if found else np.empty(0, LINE)
    return Lines(tuple(files), every, tuple(damaged))


def whole_end(path: Path) -> int:
    """The byte behind a file's last whole line."""
    with path.open("rb") as file:
        end = at = file.seek(0, 2)
        while at:
            begin = max(0, at - (1 << 16))
            file.seek(begin)
            if (newline := file.read(at - begin).rfind(b"\n")) >= 0:
                return begin + newline + 1
            at = begin
    return 0 if end else end


def _scan(file: BinaryIO, number: int, path: Path, damaged: list[str]) -> NDArray[np.void]:
    some: list[tuple[int, int, int, int, bytes]] = []
    found: list[NDArray[np.void]] = []
    at, count = len(file.readline(_MOST_BYTES)), 1
    while line := file.readline(_MOST_BYTES):
        count += 1
        if not line.endswith(b"\n"):
            if len(line) < _MOST_BYTES:
                break  # What a killed process left.
            while line and not line.endswith(b"\n"):
                line = file.readline(_MOST_BYTES)
            damaged.append(f"{path}: line {count} has more than {_MOST_BYTES >> 20} MiB")
        elif (head := _head(line)) is None:
            damaged.append(f"{path}: line {count} is no addition")
        else:
            some.append((key_of(head[0]), number, at, len(line), head[1]))
            if len(some) == 1 << 16:
                found.append(np.array(some, LINE))
                some = []
        at = file.tell()
    found.append(np.array(some, LINE))
    return np.concatenate(found)


def _head(line: bytes) -> tuple[str, bytes] | None:
    """The id of a line and its digest, without reading all of it where it is as `Addition.line` writes it."""
    try:
        text = line.decode("utf-8")
        if line.startswith(_BEGIN):
            name, end = _STRINGS.raw_decode(text, len(_BEGIN) - 1)
            if text.startswith(_MIDDLE, end):
                begin = end + len(_MIDDLE)
                digest = text[begin : text.index('"', begin)]
                return (_id(name), _digest(digest)) if name else None
        told = json.loads(text)
        name, digest = told["id"], told["digest"]
        return (_id(name), _digest(digest)) if name and isinstance(name, str) else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _id(name: str) -> str:
    name.encode("utf-8")  # Half a character, as JSON can write it, has no key; this is a ValueError.
    return name


def _digest(digest: str) -> bytes:
    found = bytes.fromhex(digest)
    if len(found) not in (0, 16):
        raise ValueError(digest)
    return found.ljust(16, b"\0")
