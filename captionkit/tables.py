"""Tables for a terminal: columns that fit, the least wanted left out where they do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from captionkit.screen import Mark, Screen, columns_of, printable

GAP = 2
SHORTEST = 14
"""So many columns at least are left for the name."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its title, its cells as text, and how much it is wanted."""

    title: str
    cells: Sequence[str]
    right: bool = True
    """Whether it is aligned to the right, as numbers are."""
    spare: int = 0
    """The columns with the highest number leave first where the screen is narrow; 0 never leaves."""

    @property
    def width(self) -> int:
        """Of the widest cell."""
        return max(map(columns_of, (self.title, *self.cells)))


def table(name: Column, columns: Sequence[Column], screen: Screen, *, indent: str = "  ") -> list[str]:
    """The lines of a table: names to the left, cut where they are too long, then the other columns."""
    columns, room = list(columns), screen.width - len(indent)
    wanted = min(name.width, 2 * SHORTEST)
    while (spare := max((one.spare for one in columns), default=0)) and _needed(columns) + wanted > room:
        columns = [one for one in columns if one.spare < spare]
    width = max(SHORTEST, min(name.width, room - _needed(columns)))
    head = _line([name.title, *(one.title for one in columns)], width, columns)
    lines = [painted((indent + head).rstrip(), Mark.QUIET, screen)]
    for cells in zip(name.cells, *(one.cells for one in columns), strict=True):
        lines.append((indent + _line(cells, width, columns)).rstrip())
    return lines


def painted(text: str, mark: Mark, screen: Screen) -> str:
    """One line with a mark where the screen has colour; spaces stay as they are."""
    code = mark.value[0]
    return f"\x1b[{code}m{text}\x1b[0m" if screen.colour and code else text


def shortened(text: str, width: int) -> str:
    """A text of so many columns at the most, with an ellipsis for what was cut; control characters spelled
    out.

    >>> shortened("a very long tag", 8)
    'a very …'
    """
    text = printable(text)
    if columns_of(text) <= width:
        return text
    while columns_of(text) > width - 1:
        text = text[:-1]
    return text + "…"


def _needed(columns: Sequence[Column]) -> int:
    return sum(one.width + GAP for one in columns)


def _line(cells: Sequence[str], width: int, columns: Sequence[Column]) -> str:
    parts = [_padded(shortened(cells[0], width), width, right=False)]
    for cell, column in zip(cells[1:], columns, strict=True):
        parts.append(_padded(printable(cell), column.width, right=column.right))
    return (" " * GAP).join(parts)


def _padded(text: str, width: int, *, right: bool) -> str:
    space = " " * (width - columns_of(text))
    return space + text if right else text + space
