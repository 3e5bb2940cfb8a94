"""Paragraphs for a terminal: wrapped to its width, with marks for what left and what came."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TextIO

MIN_WIDTH, MAX_WIDTH = 40, 120  # Longer lines are hard to read, however wide the window is.


class Mark(Enum):
    """How a piece of text stands out: its ANSI code, and what surrounds it where there is no colour."""

    PLAIN = ("", "", "")
    HEAD = ("1", "", "")
    QUIET = ("2", "", "")
    GONE = ("9;31", "[-", "-]")
    NEW = ("32", "{+", "+}")
    IMPORTANT = ("1;33", "*", "*")


@dataclass(frozen=True, slots=True)
class Piece:
    """A text with one mark. The pieces of a paragraph follow one another with a space between them."""

    text: str
    mark: Mark = Mark.PLAIN
    after: str = ""
    """What follows without a space and without the mark, such as a comma."""


@dataclass(frozen=True, slots=True)
class Screen:
    """How wide the paper is, and whether it takes colour."""

    width: int = 100
    colour: bool = False

    @classmethod
    def of(cls, stream: TextIO, environment: Mapping[str, str] = os.environ) -> Screen:
        """The screen behind a stream. Colour on a terminal only; NO_COLOR and TERM=dumb turn it off."""
        columns = shutil.get_terminal_size((100, 24)).columns
        plain = bool(environment.get("NO_COLOR")) or environment.get("TERM") == "dumb"
        return cls(min(max(columns, MIN_WIDTH), MAX_WIDTH), stream.isatty() and not plain)

    def paragraph(self, pieces: Iterable[Piece], *, first: str = "", rest: str | None = None) -> str:
        """The pieces as lines no longer than the width, words longer than that excepted.

        `first` stands before the first line and `rest` before the others; by default as many spaces.
        """
        rest = " " * columns_of(first) if rest is None else rest
        lines: list[str] = []
        line: list[Piece] = []
        used = columns_of(first)
        for word in self._words(pieces):
            needed = columns_of(word.text + word.after)
            if line and used + 1 + needed > self.width:
                lines.append(self._line(line))
                line, used = [], columns_of(rest)
            used += needed + (1 if line else 0)
            line.append(word)
        lines.append(self._line(line))
        return "\n".join(
            ((first if index == 0 else rest) + text).rstrip() for index, text in enumerate(lines)
        )

    def _words(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        for piece in pieces:
            _, before, after = ("", "", "") if self.colour else piece.mark.value
            words = f"{before}{printable(piece.text)}{after}".split()
            for index, word in enumerate(words, start=1):
                yield Piece(word, piece.mark, piece.after if index == len(words) else "")

    def _line(self, words: list[Piece]) -> str:
        """The words of one line; neighbours of one mark share one pair of codes."""
        runs: list[Piece] = []
        for word in words:
            if runs and runs[-1].mark is word.mark and not runs[-1].after:
                word = Piece(f"{runs.pop().text} {word.text}", word.mark, word.after)
            runs.append(word)
        return " ".join(self._painted(run.text, run.mark) + run.after for run in runs)

    def _painted(self, text: str, mark: Mark) -> str:
        code = mark.value[0]
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and code else text


def printable(text: str) -> str:
    r"""The text with control characters spelled out, so that data cannot steer the terminal.

    >>> printable("red\x1b[31m fox")
    'red\\x1b[31m fox'
    """
    return "".join(char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in text)


def columns_of(text: str) -> int:
    """How many columns a text takes: two for a wide character, none for a combining one.

    >>> columns_of("fox"), columns_of("狐"), columns_of("e\u0301")
    (3, 2, 1)
    """
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )
