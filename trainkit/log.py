"""``log.jsonl`` and its kin: one object a line; in those that a run goes on with, each says the samples seen.

A log of months is never read whole to go on with it: both what is cut off and what is shown is found from the
end.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO

_BLOCK = 1 << 16


class JsonLog:
    """A log that is written to; a resumed run goes on where its checkpoint stands."""

    def __init__(self, path: Path, samples_seen: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.damaged = _cut_back(path, samples_seen)
        """Lines behind the checkpoint that could not be read and are gone; one cut off at the end of the file
        does not count."""
        self._file: TextIO = path.open("a", encoding="utf-8")

    def write(self, entry: dict[str, Any]) -> None:
        """Add one line and hand it to the system, so that a killed process loses none."""
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a log."""

    entries: tuple[dict[str, Any], ...] = ()
    damaged: int = 0
    """Lines among them that could not be read. One cut off at the end of the file does not count: a process
    was killed while it wrote it, or writes it just now."""


def read_tail(path: Path, count: int) -> Tail:
    """The last ``count`` entries of a log; none when there is no such file."""
    entries: list[dict[str, Any]] = []
    damaged = 0
    try:
        with path.open("rb") as file:
            for _, line, whole in _backwards(file):
                entry = _entry(line)
                if entry is not None:
                    entries.append(entry)
                elif whole:
                    damaged += 1
                if len(entries) == count:
                    break
    except OSError:
        return Tail()
    return Tail(tuple(reversed(entries)), damaged)


def read_log(path: Path) -> list[dict[str, Any]]:
    """All entries of a log; lines that are none are left out."""
    with path.open("rb") as file:
        return [entry for line in file if (entry := _entry(line)) is not None]


def read_spread(path: Path, points: int, around: int = 1 << 14) -> list[list[dict[str, Any]]]:
    """What stands around so many places spread evenly over a log, the first and the last among them: the
    whole entries within ``around`` bytes of each (of a short log, fewer). A log of any length is surveyed in
    the same time."""
    found: list[list[dict[str, Any]]] = []
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            around = min(around, max(4096, end // max(1, points)))
            room = max(0, end - around)
            for start in sorted({room * i // max(1, points - 1) for i in range(points)}):
                file.seek(start)
                if start:
                    file.readline()  # The rest of a line.
                lines = file.read(max(0, start + around - file.tell())).split(b"\n")
                found.append([entry for line in lines if (entry := _entry(line)) is not None])
    except OSError:
        return []
    return [entries for entries in found if entries]


def _cut_back(path: Path, samples_seen: int) -> int:
    """Cut off what was written after so many samples; how many damaged lines went with it."""
    damaged, kept = 0, 0
    with path.open("ab+") as file:
        if samples_seen:
            for start, line, whole in _backwards(file):
                entry = _entry(line)
                samples = entry.get("samples") if entry is not None else None
                if isinstance(samples, int) and samples <= samples_seen:
                    kept = start + len(line)
                    break
                damaged += samples is None and whole
        file.truncate(kept)
        if kept and os.pread(file.fileno(), 1, kept - 1) != b"\n":
            file.write(b"\n")
    return damaged


def _entry(line: bytes) -> dict[str, Any] | None:
    """A line as an entry; None when it is none."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def _backwards(file: BinaryIO) -> Iterator[tuple[int, bytes, bool]]:
    """(where it begins, line, whether a line feed ends it) from the last line to the first; no empty ones."""
    position = file.seek(0, os.SEEK_END)
    pieces: list[bytes] = []
    """Of the line whose beginning has not been met, the last piece first."""
    while position > 0:
        start = max(0, position - _BLOCK)
        file.seek(start)
        block = file.read(position - start)
        position = start
        while (feed := block.rfind(b"\n")) >= 0:
            pieces.append(block[feed + 1 :])
            line = b"".join(reversed(pieces))
            if line:
                yield position + feed + 1, line, line.endswith(b"\n")
            pieces, block = [b"\n"], block[:feed]
        pieces.append(block)
    line = b"".join(reversed(pieces))
    if line.strip():
        yield 0, line, line.endswith(b"\n")
