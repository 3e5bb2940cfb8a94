"""Two texts as one: what stayed, what was cut, what came in."""

from __future__ import annotations

import difflib
import re
from typing import Literal, NamedTuple

_WORD = re.compile(r"\S+\s*")
_LONGEST = 20_000


class Piece(NamedTuple):
    """A stretch of words with one fate."""

    fate: Literal["same", "cut", "new"]
    text: str


def struck(before: str, after: str) -> list[Piece]:
    """The words of two texts in their order.

    >>> [(piece.fate, piece.text) for piece in struck("The image shows a cat.", "A cat.")]
    [('cut', 'The image shows a '), ('new', 'A '), ('same', 'cat.')]
    """
    old, new = _WORD.findall(before[:_LONGEST]), _WORD.findall(after[:_LONGEST])
    matcher = difflib.SequenceMatcher(
        None, [word.strip() for word in old], [word.strip() for word in new], autojunk=False
    )
    pieces: list[Piece] = []
    for kind, i, j, k, m in matcher.get_opcodes():
        if kind == "equal":
            pieces.append(Piece("same", "".join(old[i:j])))
            continue
        if j > i:
            pieces.append(Piece("cut", "".join(old[i:j])))
        if m > k:
            pieces.append(Piece("new", "".join(new[k:m])))
    return pieces
