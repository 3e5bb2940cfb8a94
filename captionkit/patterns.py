"""Anchored, word-aware wildcards over tag names and over prose.

A pattern must match the whole tag. Case does not count, `_` and a space are alike.

- `*` stands for anything inside one tag, as long as whole words stay whole: `*right*` matches `right arm` and
  `facing right`, not `bright colors` and not `copyright`.
- `**` stands for anything, parts of words too: `asymmetr**` matches `asymmetrical hair`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ValidationInfo

from captionkit.kinds import resolve_path
from captionkit.record import Caption, Tag, fold

_STARS = re.compile(r"(\*+)")


class Patterns:
    """A list of patterns, ready to match; get one from `compile_patterns`."""

    __slots__ = ("_known", "_literals", "_prose", "_wild")

    def __init__(self, patterns: tuple[str, ...]) -> None:
        folded = [fold(pattern) for pattern in patterns]
        self._literals = frozenset(pattern for pattern in folded if "*" not in pattern)
        wild = "|".join(_tag_regex(pattern) for pattern in folded if "*" in pattern)
        self._wild = re.compile(wild, re.DOTALL) if wild else None
        prose = "|".join(_prose_regex(pattern) for pattern in folded)
        self._prose = re.compile(prose, re.IGNORECASE) if prose else None
        self._known: dict[str, bool] = {}

    def match(self, name: str) -> bool:
        """Whether any pattern matches this tag name."""
        known = self._known.get(name)
        if known is None:
            # Tag names recur over all records, so what is found out once is kept, up to a bound.
            if len(self._known) >= 1 << 17:
                self._known.clear()
            known = self._known[name] = self._find_out(fold(name))
        return known

    def matching(self, tags: Iterable[Tag]) -> frozenset[str]:
        """The names of those tags that match."""
        return frozenset([tag.name for tag in tags if self.match(tag.name)])

    def in_prose(self, text: str) -> str | None:
        """The first words of a text that match, or None. Patterns match anywhere, at the borders of words."""
        found = self._prose.search(text.replace("_", " ")) if self._prose is not None else None
        return found.group().strip() if found is not None else None

    def _find_out(self, folded: str) -> bool:
        return folded in self._literals or (
            self._wild is not None and self._wild.fullmatch(folded) is not None
        )


@lru_cache(maxsize=256)
def compile_patterns(patterns: tuple[str, ...]) -> Patterns:
    """The patterns of a list, compiled into one expression, once per list and process.

    >>> no_flip = compile_patterns(("text on*", "*right*"))
    >>> [no_flip.match(name) for name in ("text_on_shirt", "facing right", "bright colors", "context")]
    [True, True, False, False]
    """
    return Patterns(patterns)


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


def _read_patterns(value: Any, info: ValidationInfo) -> Any:
    """A list of patterns, in which `{file = "more.txt"}` stands for the patterns of a file, one per line."""
    if not isinstance(value, list | tuple):
        raise ValueError("must be a list of patterns")
    patterns: list[Any] = []
    for item in value:
        if isinstance(item, Mapping):
            if set(item) != {"file"} or not isinstance(item["file"], str):
                raise ValueError(f'a pattern is text or {{file = "patterns.txt"}}, got {dict(item)!r}')
            patterns += _lines(resolve_path(item["file"], info))
        else:
            patterns.append(item)
    return tuple(patterns)


def _lines(path: Path) -> list[str]:
    """The lines of a pattern file; empty ones and those that begin with `#` are passed over."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read the pattern file {path}: {error}") from error
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _no_empty_patterns(patterns: tuple[str, ...]) -> tuple[str, ...]:
    for index, pattern in enumerate(patterns):
        if not fold(pattern):
            raise ValueError(f"pattern {index} is empty: {pattern!r}")
    return patterns


PatternList = Annotated[tuple[str, ...], BeforeValidator(_read_patterns), AfterValidator(_no_empty_patterns)]
"""The type of a field of patterns, such as `["sequence", "text on*", {file = "more.txt"}]`."""


def exempt_names(caption: Caption, protected: tuple[str, ...], spare_important: bool) -> frozenset[str]:
    """The names of the tags that a dropout must leave alone."""
    names = caption.important if spare_important else frozenset()
    return names | compile_patterns(protected).matching(caption.tags) if protected else names
