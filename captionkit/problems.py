"""Pydantic's complaints about a recipe, in our words: every fault at once, each with its path and what is
allowed."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from captionkit.errors import RecipeError
from captionkit.kinds import RecipeContext, did_you_mean

# Pydantic speaks of Python's types, a recipe is TOML or JSON.
_WORDS = {
    "valid tuple": "list",
    "valid dictionary": "table",
    "an instance of ImplicationGraph": "the path of a CSV or a table",
}

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


def recipe_error(
    error: ValidationError,
    model: type[BaseModel],
    data: Mapping[str, Any],
    context: RecipeContext,
    where: str | None,
) -> RecipeError:
    """One `RecipeError` for all faults; `where` is the recipe's file."""
    lines = [_line(fault, model, data, context) for fault in error.errors(include_url=False)]
    if len(lines) == 1:
        return RecipeError(lines[0], where=where)
    return RecipeError(f"{len(lines)} errors\n" + "\n".join(f"  {line}" for line in lines), where=where)


def _line(fault: ErrorDetails, model: type[BaseModel], data: Any, context: RecipeContext) -> str:
    owner, kind = _owner(fault["loc"], model, data, context)
    where = _path(fault["loc"]) + (f" ({kind})" if kind else "")
    if fault["type"] == "extra_forbidden":
        key = str(fault["loc"][-1])
        return f"{where}: unknown key {key!r}{did_you_mean(key, owner.model_fields)}"
    if fault["type"] == "missing":
        return f"{where}: is missing"
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "value_error":
        return f"{where}: {message}"  # These are our own, and name the value where it helps.
    for pythons, ours in _WORDS.items():
        message = message.replace(pythons, ours)
    return f"{where}: {message[0].lower()}{message[1:]}, got {_SHORT.repr(fault['input'])}"


def _path(loc: tuple[int | str, ...]) -> str:
    """`steps[2].rate`"""
    path = ""
    for part in loc:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path or "recipe"


def _owner(
    loc: tuple[int | str, ...], model: type[BaseModel], data: Any, context: RecipeContext
) -> tuple[type[BaseModel], str | None]:
    """The class whose field is at fault, and its kind where it is a policy."""
    owner, kind, value = model, None, data
    for index, part in enumerate(loc):
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            break
        named = value.get("kind") if isinstance(value, Mapping) else None
        if isinstance(named, str) and named in context.kinds:
            owner, kind = context.kinds[named], named
        elif index < len(loc) - 1 and isinstance(part, str) and part in owner.model_fields:
            annotation = owner.model_fields[part].annotation
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                owner, kind = annotation, None
    return owner, kind
