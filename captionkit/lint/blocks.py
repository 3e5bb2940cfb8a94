"""Lines of a recipe that mend something, as TOML to paste."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

Value = str | float | Sequence[str] | Sequence[float] | Mapping[str, str] | Mapping[str, list[str]]


def step(kind: str, **fields: Value) -> str:
    """A step.

    >>> print(step("rename_tags", aliases={"runing": "running"}))
    [[steps]]
    kind = "rename_tags"
    aliases = { "runing" = "running" }
    """
    return table("[steps]", kind=kind, **fields)


def table(name: str, **fields: Value) -> str:
    """A table of a recipe, which may have it already: then the lines below go there.

    >>> print(table("text", max_tokens=225))
    [text]
    max_tokens = 225
    """
    return "\n".join([f"[{name}]", *(f"{key} = {_value(value)}" for key, value in fields.items())])


def _value(value: Value) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_value(key)} = {_value(one)}" for key, one in value.items()) + " }"
    if isinstance(value, str | float | int):
        # JSON's strings are TOML's, but for the delete character.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return "[" + ", ".join(map(_value, value)) + "]"
