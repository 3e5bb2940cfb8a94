"""Anchored, word-aware wildcards and regular expressions over tag names and over prose.

A pattern must match the whole tag. Case does not count, `_` and a space are alike.

- `*` stands for anything inside one tag, as long as whole words stay whole: `*right*` matches `right arm` and
  `facing right`, not `bright colors` and not `copyright`.
- `**` stands for anything, parts of words too: `asymmetr**` matches `asymmetrical hair`.
- `regex:` begins a regular expression: `regex:\\d+ (girl|boy)s` matches `2 girls`. A recipe may also write it
  `{regex = '...'}`. It is not `re:`, with which tags begin (`re:zero`). One that backtracks takes its time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Set
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, ValidationInfo, WithJsonSchema

from captionkit.errors import CaptionkitError
from captionkit.kinds import resolve_path
from captionkit.record import Tag, fold

REGEX = "regex:"
"""Begins a pattern that is a regular expression."""

_STARS = re.compile(r"(\*+)")


class Patterns:
    """A list of patterns, ready to match; get one from `compile_patterns`."""

    __slots__ = ("_hits", "_known", "_literals", "_prose", "_regexes", "_wild")

    def __init__(self, patterns: tuple[str, ...]) -> None:
        regexes = [pattern for pattern in patterns if pattern.startswith(REGEX)]
        folded = [fold(pattern) for pattern in patterns if not pattern.startswith(REGEX)]
        self._literals = frozenset(pattern for pattern in folded if "*" not in pattern)
        wild = "|".join(_tag_regex(pattern) for pattern in folded if "*" in pattern)
        self._wild = re.compile(wild, re.DOTALL) if wild else None
        prose = "|".join(_prose_regex(pattern) for pattern in folded)
        # Regular expressions stay apart: in one, their numbered groups would change their numbers.
        self._regexes = tuple(_regex(pattern) for pattern in regexes)
        self._prose = tuple(_regex(pattern, _PROSE_BORDERS) for pattern in regexes)
        if prose:
            self._prose += (re.compile(prose, re.IGNORECASE),)
        # Tag names recur over all records, so what is found out once is kept, up to a bound.
        self._known: set[str] = set()
        self._hits: set[str] = set()

    def match(self, name: str) -> bool:
        """Whether any pattern matches this tag name."""
        if name not in self._known:
            self._learn({name})
        return name in self._hits

    def matching(self, tags: Iterable[Tag]) -> frozenset[str]:
        """The names of those tags that match."""
        return self.among({tag.name for tag in tags})

    def among(self, names: Set[str]) -> frozenset[str]:
        """Those of the names that match; two operations on sets, once the names are known."""
        if not names <= self._known:
            self._learn(names)
        return frozenset(self._hits & names)

    def in_prose(self, text: str) -> str | None:
        """The first words of a text that match, or None. Patterns match anywhere, at the borders of words."""
        text = text.replace("_", " ")
        found = [first for regex in self._prose if (first := _first_words(regex, text)) is not None]
        return min(found, key=re.Match.start).group().strip() if found else None

    def _learn(self, names: Set[str]) -> None:
        if len(self._known) + len(names) > 1 << 17:
            self._known, self._hits = set(), set()
        new = names - self._known
        self._hits.update([name for name in new if self._find_out(fold(name))])
        self._known.update(new)

    def _find_out(self, folded: str) -> bool:
        return (
            folded in self._literals
            or (self._wild is not None and self._wild.fullmatch(folded) is not None)
            or any(regex.fullmatch(folded) is not None for regex in self._regexes)
        )


@lru_cache(maxsize=256)
def compile_patterns(patterns: tuple[str, ...]) -> Patterns:
    """The patterns of a list, compiled once per list and process.

    >>> no_flip = compile_patterns(("text on*", "*right*"))
    >>> [no_flip.match(name) for name in ("text_on_shirt", "facing right", "bright colors", "context")]
    [True, True, False, False]
    """
    return Patterns(patterns)


def checked_patterns(patterns: Iterable[str]) -> tuple[str, ...]:
    """The patterns of who gives them outside a recipe. `CaptionkitError` for one that is none."""
    try:
        return tuple([_checked(pattern, f"pattern {index}") for index, pattern in enumerate(patterns)])
    except ValueError as error:
        raise CaptionkitError(str(error)) from error


def _tag_regex(pattern: str) -> str:
    """One folded pattern as an expression for a whole folded tag."""
    parts = _STARS.split(pattern)  # Literal, stars, literal, stars, ... literal.
    out = ""
    for index, part in enumerate(parts):
        if index % 2:
            before, after = parts[index - 1].rstrip(), parts[index + 1].lstrip()
            whole_words = len(part) == 1
            out += r"(?!\w)" if whole_words and before[-1:].isalnum() else ""
            out += ".*"
            out += r"(?<!\w)" if whole_words and after[:1].isalnum() else ""
        else:
            # Beside a `*` the space is the border of a word: `text on *` means the same as `text on*`.
            part = part.lstrip() if index > 0 and parts[index - 1] == "*" else part
            part = part.rstrip() if index + 1 < len(parts) and parts[index + 1] == "*" else part
            out += re.escape(part)
    return f"(?:{out})"


def _prose_regex(pattern: str) -> str:
    """One folded pattern as an expression to search for; an inner `*` stays within the sentence."""
    body = pattern.strip("* ")
    words = [re.escape(part.strip()).replace(r"\ ", r"\s+") for part in re.split(r"\*+", body)]
    left = "" if pattern.startswith("**") else r"(?<!\w)"
    right = "" if pattern.endswith("**") else r"(?!\w)"
    # Each gap ends at the first place where the next word stands, for good (an atomic group): if the later
    # words can be found at all, they can be found from there, and no text costs more than its length squared.
    ends = [r"\b"] * (len(words) - 2) + [right]
    gaps = [rf"(?>\b[^.!?\n]*?\b{word}{end})" for word, end in zip(words[1:], ends, strict=False)]
    return left + words[0] + ("".join(gaps) or right)


_PROSE_BORDERS = r"(?<!\w){}(?!\w)"


def _regex(pattern: str, borders: str = "{}") -> re.Pattern[str]:
    """A pattern behind `regex:`, compiled. Names are matched in their folded spelling, which has no `_`."""
    body = pattern.removeprefix(REGEX).strip().replace("_", " ")
    return re.compile(borders.replace("{}", f"(?:{body})"), re.IGNORECASE)


def _first_words(regex: re.Pattern[str], text: str) -> re.Match[str] | None:
    """The first match that is more than nothing or space, which a regular expression may match anywhere."""
    return next((found for found in regex.finditer(text) if found.group().strip()), None)


def _read_patterns(value: Any, info: ValidationInfo) -> Any:
    """A list of patterns, in which `{file = "more.txt"}` stands for the patterns of a file, one per line, and
    `{regex = "..."}` for `"regex:..."`."""
    if not isinstance(value, list | tuple):
        raise ValueError(f'must be a list of patterns, such as ["solo", "text on*"], got {value!r}')
    patterns: list[Any] = []
    for index, item in enumerate(value):
        if isinstance(item, Mapping):
            patterns += _from_table(item, index, info)
        else:
            patterns.append(_checked(item, f"pattern {index}"))
    return tuple(patterns)


def _from_table(table: Mapping[Any, Any], index: int, info: ValidationInfo) -> list[str]:
    if set(table) == {"file"} and isinstance(table["file"], str):
        return _lines(resolve_path(table["file"], info))
    if set(table) == {"regex"} and isinstance(table["regex"], str):
        return [_checked(REGEX + table["regex"], f"pattern {index}")]
    raise ValueError(
        f'a pattern is text, {{file = "patterns.txt"}} or {{regex = "..."}}, got {dict(table)!r} at {index}'
    )


def _lines(path: Path) -> list[str]:
    """The patterns of a file; empty lines and those that begin with `#` are passed over."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read the pattern file {path}: {error}") from error
    return [
        _checked(line.strip(), f"{path}:{number}: the pattern")
        for number, line in enumerate(lines, start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]


def _checked(pattern: Any, what: str) -> Any:
    """The same pattern. `ValueError` when there is nothing in it, or when it is no regular expression."""
    if not isinstance(pattern, str):
        return pattern  # Pydantic says so, with its place.
    if not fold(pattern) or not fold(pattern.removeprefix(REGEX)):
        raise ValueError(f"{what} is empty: {pattern!r}")
    if pattern.startswith(REGEX):
        body = pattern.removeprefix(REGEX)
        try:
            re.compile(body)  # Alone: `a)(b` would come into order inside a group.
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"{what} is no regular expression: {body!r}: {error}") from error
        try:
            _regex(pattern)
        except re.error as error:
            hint = "flags stand in a group, as in (?s:...)" if body.lstrip().startswith("(?") else error
            raise ValueError(f"{what} is no regular expression here: {body!r}: {hint}") from error
    return pattern


def _table_schema(key: str) -> dict[str, Any]:
    table = {"properties": {key: {"type": "string"}}, "required": [key], "additionalProperties": False}
    return {"type": "object", **table}


_FORMS = [{"type": "string"}, _table_schema("file"), _table_schema("regex")]

PatternList = Annotated[
    tuple[str, ...],
    BeforeValidator(_read_patterns),
    WithJsonSchema({"type": "array", "items": {"anyOf": _FORMS}}),
]
"""The type of a field of patterns, such as `["text on*", {file = "more.txt"}, {regex = "..."}]`."""
