"""What a cell of a CSV table says: numbers, true and false, JSON, or text."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

from captionkit.readers.fields import parse_object
from captionkit.record import Fact

_WHOLE = re.compile(r"-?(0|[1-9][0-9]*)")
# An exponent has a sign, as Python and C write it: without one, 12e3456 may be the beginning of a hash.
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-][0-9]+)?")
_TRUTHS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_MOST_DIGITS = 4300
"""Python reads no whole number with more."""


def fact_of(cell: str) -> Fact | None:
    """The fact of a cell, None of an empty one: a number as JSON writes it, true or false, else the text.

    >>> [fact_of(cell) for cell in ("7", "007", "-1.50", "1e-07", "True", "safe", "")]
    [7, '007', -1.5, 1e-07, True, 'safe', None]
    """
    if not cell:
        return None
    if cell[0] in "-0123456789":
        if _WHOLE.fullmatch(cell):
            return int(cell) if len(cell) <= _MOST_DIGITS else cell
        if _DECIMAL.fullmatch(cell) and math.isfinite(value := float(cell)):
            return value
    return _TRUTHS.get(cell, cell)


def cell_of(value: Fact) -> str | None:
    """The cell of which `fact_of` makes this fact again; None when there is none, as for the text "7".

    >>> [cell_of(value) for value in (7, "7", True, 1e16, "safe", "")]
    ['7', None, 'true', '1e+16', 'safe', None]
    """
    cell = ("true" if value else "false") if isinstance(value, bool) else str(value)
    back = fact_of(cell)
    return cell if type(back) is type(value) and back == value else None


def value_of(cell: str, path: Path, line: int) -> object:
    """What a cell of tags or captions says: JSON where it is a JSON list or object, else text; None if empty.

    Raises `DataError` for JSON in which a key stands twice, or half a surrogate pair.

    >>> value_of('["a", "b, c"]', Path("t.csv"), 1), value_of("[a], b", Path("t.csv"), 1)
    (['a', 'b, c'], '[a], b')
    """
    if not cell.strip():
        return None
    if not is_json(cell):
        return cell
    return parse_object(f'{{"": {cell}}}', path, line)[""]


def is_json(cell: str) -> bool:
    """Whether a cell is a JSON list or object."""
    if not cell.lstrip().startswith(("[", "{")):
        return False
    try:
        json.loads(cell)
    except (ValueError, RecursionError):
        return False
    return True
