"""The entries of one big JSON value, found one after another with little of it in memory."""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from captionkit.errors import DataError
from captionkit.readers.fields import Fields, parse_object
from captionkit.readers.json_window import Window
from captionkit.readers.jsonl import open_lines
from captionkit.readers.text import unreadable

LONGEST = 1 << 26
"""An entry may have so many characters; more would have to be in memory at once."""

_SPACE = re.compile(r"[ \t\n\r]*")
_KEY = re.compile(
    r'[ \t\n\r]*("[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+")'
    r"[ \t\n\r]*:[ \t\n\r]*"
)
_AFTER = re.compile(r"[ \t\n\r]*([,\]}])")
# What is cut short shows so near to the end: `-Infinity` and `\ud83e\udd8a` are the longest pieces.
_MARGIN = 16

_MEND = "mend it there; strings and keys stand in double quotes, no comma follows the last entry"

# The values are not wanted here, only where they end: numbers stay text, whatever their length.
_decode = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str).raw_decode


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the entries stand."""

    keyed: bool
    """True: each under its key of the one object that the file is. False: in the one array that it is."""
    under: tuple[str, ...] = ()
    """Not keyed: or in the array under one of these keys of an object, as in {"posts": [...]}; an object
    without such an array is itself the only entry."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some entries as they are written; small, and cheap to hand to another process. The last may have
    none."""

    file: Path
    text: str
    line: int
    """Of the first character of the text."""
    first: int
    """The number of the first entry, from 0."""
    spans: array[int]
    """For each entry three places in the text: where its key begins (-1: it has none), where its value
    begins, where it ends."""
    num_bytes: int
    """So much of the file was read for it; over all pieces, the whole file."""
    fault: DataError | None = None
    """Why nothing more can be read behind these entries; the piece is the last one then."""

    def entries(self) -> Iterator[tuple[str | int, str, int]]:
        """(key or number from 0, the JSON text of the value, the line on which the value begins)."""
        line, counted, spans = self.line, 0, iter(self.spans)
        for number, (key, start, end) in enumerate(zip(spans, spans, spans, strict=True), start=self.first):
            line += self.text.count("\n", counted, start)
            counted = start
            yield number if key < 0 else _decode(self.text, key)[0], self.text[start:end], line


Step: TypeAlias = Callable[[], Any]
"""Returns the step that follows, None behind the end."""


def json_entries(
    file: Path, layout: Layout, *, longest: int = LONGEST
) -> Iterator[tuple[str | int, Fields, int]]:
    """(key or number from 0, object, line) of every entry; what is not an object raises `DataError`."""
    for piece in json_pieces(file, layout, longest=longest):
        for key, text, line in piece.entries():
            yield key, parse_object(text, file, line), line
        if piece.fault is not None:
            raise piece.fault


def json_pieces(file: Path, layout: Layout, *, longest: int = LONGEST) -> Iterator[Piece]:
    """The entries of a JSON file piece by piece; `.gz` is unpacked on the way.

    Where entries begin and end is known by decoding them, so that broken JSON is met here: its error, with
    line and column and the number of entries before it, is the fault of the last piece. So are a file that
    is cut short, bytes that are no UTF-8, text behind the end, and an entry of more than `longest`
    characters. Two entries with one key are two entries: keys are not remembered.

    Raises `DataError` when the file cannot be opened, is laid out otherwise, or holds no entries.
    """
    try:
        opened = open_lines(file)
    except OSError as error:
        raise unreadable(file, error) from error
    with opened:
        scan = _Scan(file, layout, Window(file, opened), longest)
        yield from scan.pieces()
    if scan.count == 0 and scan.fault is None:
        raise DataError("holds no entries", where=str(file), hint="is it the right file?")


class _MoreError(Exception):
    """The text is not enough to go on."""


class _BrokenError(Exception):
    """(place in the text, what is wrong there)"""

    def __init__(self, at: int, what: str) -> None:
        super().__init__(what)
        self.at = at


class _Scan:
    """The search for entries. Each step uses up the text it needs and names the step that follows; where the
    text is not enough it raises `_MoreError`, having used nothing, and is called again with more."""

    def __init__(self, file: Path, layout: Layout, window: Window, longest: int) -> None:
        self.count = 0
        self.fault: DataError | None = None
        self._file, self._layout, self._window, self._longest = file, layout, window, longest
        self._spans = array("q")
        self._keyed = layout.keyed
        self._opened = False
        self._in_object = False
        """Whether the array stands in an object, of which more may follow."""
        self._fresh = True
        """Whether no comma stands before: the closing bracket may come instead of an entry."""

    def pieces(self) -> Iterator[Piece]:
        """All entries, in order."""
        window, num_bytes = self._window, 0
        step: Step | None = self._open
        while step is not None:
            try:
                step = step()
            except _MoreError:
                if window.ended:
                    self._cut_short()
                    break
                if len(window.text) - window.at > self._longest:
                    self._too_long()
                    break
                if self._spans:
                    yield self._piece(window.num_bytes - num_bytes)
                    num_bytes = window.num_bytes
                window.more()
            except _BrokenError as error:
                line, column = window.place(error.at)
                self._stop(f"is not valid JSON: {error} at column {column}", f"{self._file}:{line}")
                break
        if self._spans or self.fault is not None or num_bytes < window.num_bytes:
            yield self._piece(window.num_bytes - num_bytes)

    def _piece(self, num_bytes: int) -> Piece:
        spans, window = self._spans, self._window
        num_entries = len(spans) // 3
        end = spans[-1] if spans else 0
        line, _ = window.place(0)
        self._spans = array("q")
        self.count += num_entries
        return Piece(
            self._file, window.text[:end], line, self.count - num_entries, spans, num_bytes, self.fault
        )

    # -------------------------------------------------------------------------------------------- the steps

    def _open(self) -> Step:
        window = self._window
        at, opening = self._next(window.at)
        self._opened = True
        array_wanted = not self._layout.keyed
        if opening == "[" and array_wanted:
            window.at = at + 1
            return self._entries
        if opening == "{" and self._layout.keyed:
            window.at = at + 1
            return self._entries
        if opening == "{" and self._layout.under:
            window.at = at
            return self._keys_before
        got = {"[": "a JSON array", "{": "a JSON object"}.get(opening, f"no JSON: it begins with {opening!r}")
        raise DataError(
            f"is {got}, wanted is one {'array' if array_wanted else 'object'} of entries",
            where=f"{self._file}:{window.place(at)[0]}",
            hint="is it the right file?",
        )

    def _keys_before(self) -> Step:
        """From the opening of the object to the array in it; nothing is used up until that is found."""
        window = self._window
        at, fresh = window.at + 1, True
        while True:
            after, char = self._next(at)
            if fresh and char == "}":
                mark, end = char, after + 1
            else:
                key, at = self._key(at)
                _, char = self._next(at)
                if char == "[" and _decode(window.text, key)[0] in self._layout.under:
                    window.at, self._in_object = at + 1, True
                    return self._entries
                mark, end = self._comma(self._value(at), "}")
            if mark == "}":
                self._spans.extend((-1, window.at, end))
                window.at = end
                return self._end
            at, fresh = end, False

    def _entries(self) -> Step:
        """All entries of the text that are complete with the comma or bracket behind them."""
        window, spans, keyed = self._window, self._spans, self._keyed
        closing = "}" if keyed else "]"
        while True:
            at = window.at
            if self._fresh:
                after, char = self._next(at)
                if char == closing:
                    window.at = after + 1
                    return self._rest
            key, start = self._key(at) if keyed else (-1, self._next(at)[0])
            end = self._value(start)
            mark, window.at = self._comma(end, closing)
            spans.extend((key, start, end))
            self._fresh = False
            if mark == closing:
                return self._rest

    def _rest(self) -> Step:
        """What follows the array in its object, else the end."""
        window = self._window
        if self._keyed or not self._in_object:
            return self._end
        mark, at = self._comma(window.at, "}")
        if mark == "}":
            window.at = at
            return self._end
        key, start = self._key(at)
        name = _decode(window.text, key)[0]
        if name in self._layout.under:
            raise _BrokenError(key, f"a second array of entries, under {name!r},")
        window.at = self._value(start)
        return self._rest

    def _end(self) -> None:
        window = self._window
        at = _SPACE.match(window.text, window.at).end()  # type: ignore[union-attr]  # It matches nothing too.
        if at < len(window.text):
            raise _BrokenError(at, "more text behind the end")
        window.at = at
        if not window.ended:
            raise _MoreError
        if window.fault is not None:
            self._cut_short()

    # ------------------------------------------------------------------------------------ pieces of the text

    def _next(self, at: int) -> tuple[int, str]:
        """The place of the next character that is no space, and the character."""
        text = self._window.text
        at = _SPACE.match(text, at).end()  # type: ignore[union-attr]  # It matches nothing too.
        if at >= len(text):
            raise _MoreError
        return at, text[at]

    def _key(self, at: int) -> tuple[int, int]:
        """Where the key begins, and where its value does."""
        text = self._window.text
        found = _KEY.match(text, at)
        if found is not None:
            return found.start(1), found.end()
        key, char = self._next(at)
        if char != '"':
            raise _BrokenError(key, "Expecting property name enclosed in double quotes")
        try:
            _, end = _decode(text, key)
        except json.JSONDecodeError as error:
            raise self._unfinished(error.pos, error.msg) from None
        colon, char = self._next(end)
        if char != ":":
            raise _BrokenError(colon, "Expecting ':' delimiter")
        return key, self._next(colon + 1)[0]

    def _value(self, at: int) -> int:
        """Where the value ends that begins here."""
        window = self._window
        try:
            _, end = _decode(window.text, at)
        except json.JSONDecodeError as error:
            raise self._unfinished(error.pos, error.msg) from None
        except RecursionError:
            raise _BrokenError(at, "brackets in brackets, too many to be a record,") from None
        if end + _MARGIN > len(window.text) and not window.ended:
            raise _MoreError  # The number 12 may go on.
        return end

    def _comma(self, at: int, closing: str) -> tuple[str, int]:
        """The comma or closing bracket that comes next, and the place behind it."""
        found = _AFTER.match(self._window.text, at)
        if found is not None and found[1] in (",", closing):
            return found[1], found.end()
        at, _ = self._next(at)
        raise _BrokenError(at, "Expecting ',' delimiter")

    def _unfinished(self, at: int, what: str) -> Exception:
        """The error for text that cannot be decoded: broken, or cut off where the window ends."""
        window = self._window
        near = 0 if window.ended and window.fault is None else _MARGIN
        if what.startswith("Unterminated string") or at + near >= len(window.text):
            return _MoreError()
        return _BrokenError(at, what)

    # ---------------------------------------------------------------------------------------------- the end

    def _cut_short(self) -> None:
        window = self._window
        fault = window.fault
        if fault is not None:
            self._stop(fault.what, fault.where, fault.hint)
        elif self._opened:
            line, _ = window.place(len(window.text))
            self._stop("ends in the middle", f"{self._file}:{line}", "fetch or write it again")

    def _too_long(self) -> None:
        window = self._window
        line, _ = window.place(_SPACE.match(window.text, window.at).end())  # type: ignore[union-attr]
        self._stop(
            f"an entry of more than {self._longest:,} characters",
            f"{self._file}:{line}",
            "one entry is about one picture; is it the right file?",
        )

    def _stop(self, what: str, where: str | None, hint: str | None = _MEND) -> None:
        num_before = self.count + len(self._spans) // 3
        before = f"{num_before:,} entr{'y' if num_before == 1 else 'ies'}"
        what = f"{what}; nothing behind it is read, {before} before it"
        self.fault = DataError(what, where=where, hint=hint)
