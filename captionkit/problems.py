"""Pydantic's complaints in our words: every fault at once, each with its path and what is allowed."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from captionkit.errors import RecipeError

Loc: TypeAlias = tuple[int | str, ...]
Model: TypeAlias = type[BaseModel]
FindKind: TypeAlias = Callable[[object], Model | None]
"""The class of a kind, None where nobody knows it."""

# Pydantic speaks of Python's types, a recipe is TOML or JSON.
_WORDS = {
    "valid tuple": "list",
    "valid dictionary": "table",
    "Tuple should": "List should",
    "Dictionary should": "Table should",
    "an instance of ImplicationGraph": "the path of a CSV or a table",
}

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


def did_you_mean(value: object, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest known one, or all of them."""
    names = sorted(known)
    near = get_close_matches(value, names, n=1) if isinstance(value, str) else []
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(names)}"


def recipe_error(
    error: ValidationError, model: Model, data: object, find_kind: FindKind, where: str | None
) -> RecipeError:
    """One `RecipeError` for all faults of a recipe; `where` is its file."""
    lines = []
    for fault in error.errors(include_url=False):
        owner, kind = _owner(fault["loc"], model, data, find_kind)
        place = (_path("", fault["loc"]) or "recipe") + (f" ({kind})" if kind else "")
        lines.append(f"{place}: {_what(fault, owner)}")
    return _all_of(lines, where)


def argument_error(error: ValidationError, model: Model, data: object) -> RecipeError:
    """The same for the arguments of one class; paths begin with its name."""
    lines = []
    for fault in error.errors(include_url=False):
        owner, _ = _owner(fault["loc"], model, data, lambda kind: None)
        lines.append(f"{_path(model.__name__, fault['loc'])}: {_what(fault, owner)}")
    return _all_of(lines, None)


def _all_of(lines: list[str], where: str | None) -> RecipeError:
    if len(lines) == 1:
        return RecipeError(lines[0], where=where)
    return RecipeError(f"{len(lines)} errors\n" + "\n".join(f"  {line}" for line in lines), where=where)


def _what(fault: ErrorDetails, owner: Model) -> str:
    if fault["type"] == "extra_forbidden":
        key = str(fault["loc"][-1])
        return f"unknown key {key!r}{did_you_mean(key, owner.model_fields)}"
    if fault["type"] == "missing":
        return "is missing"
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "value_error":
        return message  # These are our own, and name the value where it helps.
    for pythons, ours in _WORDS.items():
        message = message.replace(pythons, ours)
    return f"{message[0].lower()}{message[1:]}, got {_SHORT.repr(fault['input'])}"


def _path(root: str, loc: Loc) -> str:
    """`steps[2].rate`"""
    path = root
    for part in loc:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


def _owner(loc: Loc, model: Model, data: object, find_kind: FindKind) -> tuple[Model, str | None]:
    """The innermost class around the fault, and the kind of the innermost policy around it.

    We follow the path through the data and through the types of the fields side by side: a key of a table
    leads to a field of the class that the table stands for, or to a value of a plain mapping.
    """
    owner, kind, value = model, None, data
    here: Model | None = model
    annotation: Any = None
    for part in loc:
        annotation = _field_type(here, part) if here is not None else _item_type(annotation, part)
        value = _item(value, part)
        here, named = _class_of(annotation, value, find_kind)
        owner, kind = here or owner, named or kind
    return owner, kind


def _class_of(annotation: Any, value: object, find_kind: FindKind) -> tuple[Model | None, str | None]:
    """The class that a table stands for where such a type is expected, and its kind if it is a policy."""
    if not isinstance(value, Mapping):
        return None, None
    for expected in _members(annotation):
        if isinstance(expected, type) and issubclass(expected, BaseModel):
            if "kind" not in expected.model_fields:
                return expected, None
            found = find_kind(value.get("kind"))
            return found, str(value.get("kind")) if found is not None else None
    return None, None


def _members(annotation: Any) -> list[Any]:
    """The types that a value may have, those that a validator of ours takes besides included."""
    if get_origin(annotation) in (Union, UnionType):
        return [member for each in get_args(annotation) for member in _members(each)]
    if get_origin(annotation) is Annotated:
        inner, *details = get_args(annotation)
        taken = [getattr(detail, "json_schema_input_type", None) for detail in details]
        return [member for each in (inner, *taken) if each is not None for member in _members(each)]
    return [annotation]


def _field_type(model: Model, name: int | str) -> Any:
    field = model.model_fields.get(str(name))
    return field.rebuild_annotation() if field is not None else None


def _item_type(annotation: Any, part: int | str) -> Any:
    """What stands at a key of a mapping, or at a place of a list."""
    found = []
    for member in _members(annotation):
        origin, types = get_origin(member), get_args(member)
        if isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(part, str):
            found.append(types[1])
        elif origin is tuple and isinstance(part, int) and Ellipsis not in types:
            found += types[part : part + 1]
        elif origin in (list, tuple) and isinstance(part, int):
            found.append(types[0])
    return Union[tuple(found)] if found else None  # noqa: UP007 (as many as were found)


def _item(value: Any, part: int | str) -> Any:
    """The value at a key or place; None where there is none."""
    try:
        return value[part]
    except (KeyError, IndexError, TypeError):
        return None
