"""Wildcards: `{red|blue} fox` in a text stands for `red fox` or `blue fox`.

- A choice is a pair of braces with a `|` directly inside; choices nest: `{a|{b|c} d}`.
- `{3::red|blue}` draws red three times as often; a choice without a weight has 1. An empty choice is allowed.
- A choice in doubled braces is no choice: `{{a|b}}` stands for `{a|b}`.
- Everything else is text to the letter: `{:`, `{o}_{o}`, a brace without its partner, a `|` outside braces,
  a pair of which every weight is 0.

It uses nothing of captionkit, so that reading tags can use it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias, Union

_PIECE = re.compile(r"[{|}]|[^{|}]+")
_MARK = re.compile(r"[{|}]")
_WEIGHT = re.compile(r"\s*([0-9]{1,9}(?:\.[0-9]{1,9})?|\.[0-9]{1,9})::")

Parts: TypeAlias = tuple[Union[str, "Choice"], ...]
"""A text with its choices: text to the letter and choices, in order."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One pair of braces of which one option is drawn."""

    number: int
    """How many opening braces stand before its own in the text, so that every choice has another."""
    options: tuple[Parts, ...]
    weights: tuple[float, ...]
    """One for each option, at least one above 0."""


@lru_cache(maxsize=1 << 13)
def parse_wildcards(text: str) -> Parts:
    """The text and its choices; `(text,)` where it has none.

    >>> parse_wildcards("{2::red|blue} fox")
    (Choice(number=0, options=(('red',), ('blue',)), weights=(2.0, 1.0)), ' fox')
    >>> parse_wildcards("{: {o}_{o} {{a|b}}")
    ('{: {o}_{o} {a|b}',)
    """
    # Everything is text to the letter until a pair of braces closes that turns out to be a choice. For each
    # brace that is open: its number, its place in `pieces`, in the text, and the places of its bars.
    pieces: list[str | Choice] = []
    opened: list[tuple[int, int, int, list[int]]] = []
    number = 0
    for found in _PIECE.finditer(text):
        piece = found[0]
        if piece == "{":
            opened.append((number, len(pieces), found.start(), []))
            number += 1
        elif piece == "|" and opened:
            opened[-1][3].append(len(pieces))
        pieces.append(piece)
        if piece == "}" and opened:
            brace, start, at, bars = opened.pop()
            if bars:
                pieces[start:] = _choice(brace, pieces[start:], [bar - start for bar in bars])
            elif len(pieces) - start == 3 and isinstance(pieces[start + 1], Choice):
                pieces[start:] = [text[at + 1 : found.start()]]
    return _joined(pieces)


def split_tags(text: str, separator: str = ",") -> list[str]:
    """The text split at every separator that does not stand inside a choice.

    >>> split_tags("fox, {red, crimson|blue}, {:, tree")
    ['fox', ' {red, crimson|blue}', ' {:', ' tree']
    """
    if "{" not in text or "|" not in text or _MARK.search(separator) is not None:
        return text.split(separator)
    parts: list[str] = []
    begin = at = 0
    for start, end in _outermost(text):
        while (cut := text.find(separator, at, start)) >= 0:
            parts.append(text[begin:cut])
            begin = at = cut + len(separator)
        at = end
    rest = text[at:].split(separator)
    return [*parts, text[begin:at] + rest[0], *rest[1:]]


def _choice(number: int, pieces: list[str | Choice], bars: list[int]) -> list[str | Choice]:
    """The choice that these pieces make, braces and bars included, or the pieces where no weight is above
    0."""
    ends = [*bars, len(pieces) - 1]
    starts = [0, *bars]
    weighed = [_weighed(pieces[start + 1 : end]) for start, end in zip(starts, ends, strict=True)]
    weights = tuple([weight for weight, _ in weighed])
    return [Choice(number, tuple([parts for _, parts in weighed]), weights)] if any(weights) else pieces


def _weighed(pieces: list[str | Choice]) -> tuple[float, Parts]:
    """The weight of an option, and the option without it."""
    if pieces and isinstance(pieces[0], str) and (found := _WEIGHT.match(pieces[0])) is not None:
        return float(found[1]), _joined([pieces[0][found.end() :], *pieces[1:]])
    return 1.0, _joined(pieces)


def _joined(pieces: list[str | Choice]) -> Parts:
    """The pieces with neighbouring texts as one; no text is empty."""
    parts: list[str | Choice] = []
    texts: list[str] = []
    for piece in [*pieces, None]:
        if isinstance(piece, str):
            texts.append(piece)
            continue
        if joined := "".join(texts):
            parts.append(joined)
        texts.clear()
        if piece is not None:
            parts.append(piece)
    return tuple(parts)


def _outermost(text: str) -> list[tuple[int, int]]:
    """Where the pairs of braces with a bar directly inside begin and end, those inside another left out."""
    spans: list[tuple[int, int]] = []
    opened: list[tuple[int, list[int]]] = []
    for found in _MARK.finditer(text):
        if found[0] == "{":
            opened.append((found.start(), []))
        elif opened and found[0] == "|":
            opened[-1][1].append(found.start())
        elif opened:
            start, bars = opened.pop()
            if bars:
                while spans and spans[-1][0] > start:
                    spans.pop()
                spans.append((start, found.end()))
    return spans
