"""The decoded text of a big file, of which a piece is in memory at a time."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Protocol

from captionkit.errors import DataError
from captionkit.readers.text import UTF8_BOM, decode, unreadable

CHUNK = 1 << 18
"""So many bytes are read at least at a time."""


class Readable(Protocol):
    """What is read from: an open file."""

    def read(self, size: int = ..., /) -> bytes:
        """So many bytes, fewer at the end, none behind it."""


class Window:
    """A piece of the text, from `at` on not yet used; `more` lets go of what was used and reads on."""

    def __init__(self, file: Path, opened: Readable) -> None:
        self.text = ""
        self.at = 0
        self.ended = False
        """Whether nothing more comes, because the file ended or `fault` lies behind the text."""
        self.fault: DataError | None = None
        """Why the rest of the file cannot be read."""
        self.num_bytes = 0
        """How much was read of the file."""
        self._file, self._opened = file, opened
        self._undecoded = b""
        # The place of text[0]: lines before it, characters of its line before it.
        self._line, self._column = 1, 0

    def place(self, at: int) -> tuple[int, int]:
        """The line and the column of a character of the text, both from 1."""
        before = self.text.rfind("\n", 0, at)
        column = at - before if before >= 0 else self._column + at + 1
        return self._line + self.text.count("\n", 0, at), column

    def more(self) -> None:
        """Let go of the text before `at`, and read as much again as is left, so that long things are looked
        at a few times only."""
        line, column = self.place(self.at)
        self.text = self.text[self.at :]
        self._line, self._column, self.at = line, column - 1, 0
        self.text += self._read(max(CHUNK, len(self.text)))

    def _read(self, size: int) -> str:
        try:
            fresh = self._opened.read(size)
        except (OSError, EOFError, zlib.error) as error:  # Of a `.gz` that is cut short or damaged.
            self.ended = True
            self.fault = unreadable(self._file, error if isinstance(error, OSError) else EOFError(str(error)))
            return ""
        offset = self.num_bytes - len(self._undecoded)
        self.num_bytes += len(fresh)
        data = self._undecoded + fresh
        self.ended = not fresh
        cut = len(data) - (0 if self.ended else _unfinished(data))
        data, self._undecoded = data[:cut], data[cut:]
        if offset == 0 and data.startswith(UTF8_BOM):
            offset, data = len(UTF8_BOM), data[len(UTF8_BOM) :]
        line = self._line + self.text.count("\n")
        try:
            return decode(data, self._file, line=line, offset=offset)
        except DataError as error:
            self.ended, self.fault = True, error
            return data[: _first_bad(data)].decode("utf-8")


def _unfinished(data: bytes) -> int:
    """How many bytes at the end are the beginning of a character, 0 to 3."""
    for length in range(1, min(3, len(data)) + 1):
        byte = data[-length]
        if byte >= 0xC0:
            return length if length < (2 if byte < 0xE0 else 3 if byte < 0xF0 else 4) else 0
        if byte < 0x80:
            return 0
    return 0


def _first_bad(data: bytes) -> int:
    """Where the first byte stands that is no UTF-8, or is NUL."""
    nul = data.find(b"\0")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start if nul < 0 else min(nul, error.start)
    return nul
