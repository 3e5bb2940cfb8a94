"""The syntax of prompts: ``Describe the picture. [It is tagged: {tags}.] Name {tags:character:3}.``

| written | becomes |
|---|---|
| ``{tags}``, ``{tags:20}`` | the tags, at most so many |
| ``{tags:CATEGORY}``, ``{tags:CATEGORY:3}`` | those of a category |
| ``{caption}``, ``{caption:SOURCE}`` | a caption that the picture has already |
| ``{fact:NAME}`` | a fact of the picture |
| ``[ ... ]`` | a part that goes when one of its placeholders has nothing to say |
| ``{{ }} [[ ]]`` | the characters themselves |

Outside of brackets, the whole sentence goes with a placeholder that has nothing to say. What is put in is
never read as a template again.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

_SIGNS = re.compile(r"(\{\{|\}\}|\[\[|\]\]|\{[^{}]*\}|[{}\[\]])")
_ESCAPED = {"{{": "{", "}}": "}", "[[": "[", "]]": "]"}
_SENTENCE_END = re.compile(r"((?<!e\.g\.)(?<!i\.e\.)(?<=[.!?])\s+|\n[ \t]*\n\s*)")
"""White space behind a full stop, or an empty line. A single line break is none: long prompts are wrapped."""
_STOPS = (".", "!", "?")
_KINDS = ("tags", "caption", "fact")


@dataclass(frozen=True, slots=True)
class Placeholder:
    """What stands in braces."""

    kind: Literal["tags", "caption", "fact"]
    name: str | None = None
    """Category of the tags, source of the caption, name of the fact; None is any."""
    most: int | None = None
    """Tags at most; None leaves it to the settings."""


@dataclass(frozen=True, slots=True)
class Part:
    """Text and placeholders that stay or go together."""

    pieces: tuple[str | Placeholder, ...]


Piece: TypeAlias = str | Placeholder | Part


@dataclass(frozen=True, slots=True)
class Template:
    """A prompt that was read: sentences of pieces, each with the white space behind it."""

    sentences: tuple[tuple[tuple[Piece, ...], str], ...]

    def placeholders(self) -> Iterator[Placeholder]:
        """All of them, in order."""
        for pieces, _ in self.sentences:
            for piece in pieces:
                inner = piece.pieces if isinstance(piece, Part) else (piece,)
                yield from (each for each in inner if isinstance(each, Placeholder))

    def fill(self, say: Callable[[Placeholder], str]) -> str:
        """The prompt, perhaps empty; ``say`` tells what a placeholder stands for, "" being nothing."""
        told, gap = "", ""
        for pieces, behind in self.sentences:
            sentence = _filled(pieces, say)
            if sentence is not None and sentence.strip():
                told += (gap if told else "") + sentence.strip()
                gap = behind
        return told


def parse_template(text: str) -> Template:
    """Read a prompt.

    >>> template = parse_template("Describe it. [Tags: {tags}.] {{literally}}")
    >>> template.fill(lambda placeholder: "a cat")
    'Describe it. Tags: a cat. {literally}'
    >>> template.fill(lambda placeholder: "")
    'Describe it. {literally}'

    Raises ValueError for an unknown placeholder, a bracket or brace without its other half, brackets in
    brackets, and a bracket that holds no placeholder.
    """
    pieces: list[Piece] = []
    part: list[str | Placeholder] | None = None
    for sign in _SIGNS.split(text):
        if sign == "[":
            if part is not None:
                raise ValueError(f"brackets in brackets: {_near(text)}; write [[ and ]] for the characters")
            part = []
        elif sign == "]":
            if part is None:
                raise ValueError(f"']' without '[': {_near(text)}; write ]] for the character")
            pieces.append(_whole_part(part))
            part = None
        elif sign in ("{", "}"):
            raise ValueError(f"a single {sign!r}: {_near(text)}; write {sign * 2} for the character")
        elif sign:
            (pieces if part is None else part).append(_text_or_placeholder(sign))
    if part is not None:
        raise ValueError(f"'[' without ']': {_near(text)}; write [[ for the character")
    return Template(tuple(_sentences(pieces)))


def _text_or_placeholder(sign: str) -> str | Placeholder:
    if sign in _ESCAPED:
        return _ESCAPED[sign]
    return _placeholder(sign[1:-1]) if sign.startswith("{") else sign


def _placeholder(inside: str) -> Placeholder:
    """What stands between two braces."""
    kind, *rest = (word.strip() for word in inside.split(":"))
    if kind not in _KINDS:
        near = difflib.get_close_matches(kind, _KINDS, n=1)
        raise ValueError(
            f"unknown placeholder {{{inside}}}; "
            + (f"did you mean {{{':'.join([near[0], *rest])}}}?" if near else _known())
        )
    most = int(rest.pop()) if kind == "tags" and rest and rest[-1].isdecimal() else None
    name = ":".join(rest) or None
    if kind == "tags" and ((name is not None and ":" in name) or most == 0):
        raise ValueError(
            f"placeholder {{{inside}}} is not of the form {{tags:CATEGORY:N}}, N being 1 or more"
        )
    if kind == "fact" and name is None:
        raise ValueError(f"placeholder {{{inside}}} names no fact; write {{fact:NAME}}")
    return Placeholder(cast("Literal['tags', 'caption', 'fact']", kind), name, most)


def _known() -> str:
    return "known: {tags}, {tags:CATEGORY}, {tags:CATEGORY:N}, {caption}, {caption:SOURCE}, {fact:NAME}"


def _whole_part(part: list[str | Placeholder]) -> Part:
    if not any(isinstance(piece, Placeholder) for piece in part):
        said = "".join(str(piece) for piece in part)
        raise ValueError(
            f"[{said}] holds no placeholder, so that it would never go; write [[ and ]] for the characters"
        )
    return Part(tuple(part))


def _sentences(pieces: list[Piece]) -> Iterator[tuple[tuple[Piece, ...], str]]:
    """The pieces cut where sentences end, each with the white space behind it."""
    sentence: list[Piece] = []
    for piece in pieces:
        if not isinstance(piece, str):
            sentence.append(piece)
            continue
        if sentence and _ends_sentence(sentence[-1]) and piece[:1].isspace():
            rest = piece.lstrip()
            yield tuple(sentence), piece[: len(piece) - len(rest)]
            sentence, piece = [], rest
        # A sentence may end with a placeholder, and its full stop begin the text behind it.
        words = _SENTENCE_END.split(piece)
        for text, gap in zip(words[::2], [*words[1::2], None], strict=True):
            if text:
                sentence.append(text)
            if gap is not None:
                yield tuple(sentence), gap
                sentence = []
    if sentence:
        yield tuple(sentence), ""


def _ends_sentence(piece: Piece) -> bool:
    """Whether a part in brackets is a whole sentence, its full stop within."""
    last = piece.pieces[-1] if isinstance(piece, Part) else None
    return isinstance(last, str) and last.rstrip().endswith(_STOPS)


def _filled(pieces: tuple[Piece, ...], say: Callable[[Placeholder], str]) -> str | None:
    """The text; None when a placeholder outside of parts has nothing to say."""
    told = ""
    for piece in pieces:
        if isinstance(piece, Part):
            said = _filled(piece.pieces, say) or ""
        elif isinstance(piece, Placeholder):
            said = say(piece)
            if not said:
                return None
        else:
            # Where a part has gone, one space of the two around it goes too.
            said = piece.lstrip(" ") if told.endswith((" ", "\n")) else piece
        told += said
    return told


def _near(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
