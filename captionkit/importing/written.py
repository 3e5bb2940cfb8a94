"""A recipe as TOML that people read: a comment before each step, inner steps on lines of their own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

Step: TypeAlias = dict[str, Any]
"""A step as in a recipe; under `COMMENT` it may have a comment, which is no part of the recipe."""

COMMENT = "#"

WIDTH = 100
"""Longer lists are parted into lines."""


def bare(value: Any) -> Any:
    """The same recipe, or part of one, without comments."""
    if isinstance(value, Mapping):
        return {key: bare(inner) for key, inner in value.items() if key != COMMENT}
    return [bare(inner) for inner in value] if isinstance(value, list) else value


def recipe_text(head: Iterable[str], recipe: Mapping[str, Any]) -> str:
    """The recipe behind the lines of `head` as a comment: `seed`, each step, then the tables.

    >>> print(recipe_text(["Mine."], {"seed": 0, "steps": [{"#": "First.", "kind": "shuffle_tags"}]}), end="")
    # Mine.
    seed = 0
    <BLANKLINE>
    # First.
    [[steps]]
    kind = "shuffle_tags"
    """
    lines = [f"# {line}".rstrip() for line in head]
    lines += [f"{_key(key)} = {toml_value(value, 0)}" for key, value in recipe.items() if not _is_part(value)]
    for step in recipe.get("steps", []):
        lines += ["", *_comment(step, 0), "[[steps]]", *_fields(step, "steps")]
    for name, table in recipe.items():
        if isinstance(table, Mapping):
            lines += ["", *_comment(table, 0), f"[{_key(name)}]", *_fields(table, name)]
    return "\n".join(lines) + "\n"


def _is_part(value: Any) -> bool:
    return isinstance(value, Mapping) or _are_steps(value)


def _are_steps(value: Any) -> bool:
    return isinstance(value, Sequence) and bool(value) and all(isinstance(one, Mapping) for one in value)


def _fields(table: Mapping[str, Any], name: str) -> list[str]:
    """The fields of a step or table; a step inside it gets a heading of its own, behind them."""
    inner = {key: value for key, value in table.items() if isinstance(value, Mapping) and "kind" in value}
    lines = [
        f"{_key(key)} = {toml_value(value, 0)}"
        for key, value in table.items()
        if key not in inner and key != COMMENT
    ]
    for key, value in inner.items():
        lines += ["", *_comment(value, 0), f"[{name}.{_key(key)}]", *_fields(value, f"{name}.{_key(key)}")]
    return lines


def toml_value(value: Any, depth: int = 0) -> str:
    """A value on one line, but for steps, of which each has lines of its own, and for long lists."""
    if isinstance(value, Mapping):
        inner = [f"{_key(key)} = {toml_value(one, depth)}" for key, one in value.items() if key != COMMENT]
        return "{ " + ", ".join(inner) + " }"
    if _are_steps(value):
        lines = [
            line
            for step in value
            for line in (*_comment(step, depth + 1), f"{'    ' * (depth + 1)}{toml_value(step, depth + 1)},")
        ]
        return "\n".join(["[", *lines, "    " * depth + "]"])
    if isinstance(value, list | tuple):
        return _list([toml_value(one, depth) for one in value], "    " * depth)
    return _quoted(value)


def _list(items: Sequence[str], indent: str) -> str:
    """A list on one line, or on several of `WIDTH` where it is longer; TOML allows that even where the list
    stands in an inline table."""
    line = "[" + ", ".join(items) + "]"
    if len(line) <= WIDTH or len(items) < 2:
        return line
    lines = [""]
    for item in items:
        if lines[-1] and len(lines[-1]) + len(item) > WIDTH:
            lines.append("")
        lines[-1] += f"{item}, "
    return "\n".join(["[", *(f"{indent}    {line}".rstrip() for line in lines), f"{indent}]"])


def _comment(step: Mapping[str, Any], depth: int) -> list[str]:
    text = " ".join(str(step.get(COMMENT, "")).split())
    printable = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
    return [f"{'    ' * depth}# {printable}"] if text else []


def _key(key: str) -> str:
    plain = key.replace("_", "").replace("-", "")
    return key if plain.isascii() and plain.isalnum() else _quoted(key)


def _quoted(value: Any) -> str:
    """A text, number, true or false; JSON's are TOML's, but for the delete character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
