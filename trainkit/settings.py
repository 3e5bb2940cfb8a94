"""Settings as people write them: a TOML file, changed on the command line, and what is wrong with it.

Settings can be changed by their dotted path (``optim.lr=1e-6``, ``phases.1.batch=4``,
``captions."empty_caption.p"=0.05``); the value is read as TOML, or as text when it is not valid TOML.
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from trainkit.errors import ConfigError

Settings = TypeVar("Settings", bound=BaseModel)


def read_settings(path: Path, overrides: list[str] | None = None) -> dict[str, Any]:
    """The tables of a TOML file with the dotted overrides. Raises ConfigError when one cannot be read."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        why = "is a folder; give the TOML file of the run" if path.is_dir() else error.strerror
        raise ConfigError(str(path), [f"cannot be read: {why}"]) from error
    except ValueError as error:
        raise ConfigError(str(path), [f"is not valid TOML: {error}"]) from error
    for override in overrides or []:
        _override(data, override)
    return data


def checked_settings(kind: type[Settings], data: dict[str, Any], where: str) -> Settings:
    """Settings of a kind from plain data.

    Raises ConfigError with every problem at once: unknown keys with the nearest known one, values out of
    range with what is allowed, each with its path.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise ConfigError(where, [explain_problem(problem, kind) for problem in error.errors()]) from None


def explain_problem(problem: Any, kind: type[BaseModel]) -> str:
    """One pydantic problem of settings of a kind as "path: what is wrong"."""
    path = _clipped(".".join(str(part) for part in problem["loc"])) or "run"
    match problem["type"]:
        case "extra_forbidden":
            known = _fields_at(kind, problem["loc"][:-1])
            close = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1, cutoff=0.6)
            hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(sorted(known))}"
            return f"{path}: no such setting; {hint}"
        case "missing":
            return f"{path}: is required"
        case "value_error":
            return f"{path}: {_clipped(str(problem['ctx']['error']), 2000)}"
        case _:
            message = problem["msg"].replace("Input should be ", "must be ")
            return f"{path}: is {_clipped(repr(problem['input']))}, {message}"


def _clipped(text: str, most: int = 300) -> str:
    """Somebody's data, when it is a setting by mistake."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _fields_at(whole: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    """Names of the settings in the table at a path."""
    kind: type[BaseModel] | None = whole
    for part in loc:
        if isinstance(part, str):  # A number is a place in a list of tables of one kind.
            field = kind.model_fields.get(part) if kind is not None else None
            kind = _table_in(field.annotation) if field is not None else None
    return list(kind.model_fields) if kind is not None else []


def _table_in(annotation: Any) -> type[BaseModel] | None:
    """The table that a field holds, alone, in a list, or where it may be left out."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _table_in(inner))), None)


def _override(data: dict[str, Any], override: str) -> None:
    """Set one dotted key."""
    key, equals, text = override.partition("=")
    if not equals or not key or "\n" in override:
        raise ConfigError(
            "command line", [f"{override!r} is not of the form key=value, such as optim.lr=1e-6"]
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *tables, last = _names(key, override)
    place: Any = data
    for name in tables:
        place = _inside(place, name, override)
    if isinstance(place, list):
        raise ConfigError(
            "command line", [f"{override!r}: {last} is an entry of a list; set one of its keys"]
        )
    place[last] = value


def _names(key: str, override: str) -> list[str]:
    """The names of a dotted key, as TOML reads it: one with dots of its own stands in quotes."""
    try:
        at: Any = tomllib.loads(f"{key} = 0")
    except tomllib.TOMLDecodeError as error:
        raise ConfigError("command line", [f"{override!r}: {error}"]) from None
    names = []
    while isinstance(at, dict):
        ((name, at),) = at.items()
        names.append(name)
    return names


def _inside(place: Any, name: str, override: str) -> Any:
    """The table or list that ``name`` holds; a table that is not there yet is made."""
    if isinstance(place, list):
        if not (name.isdecimal() and int(name) < len(place)):
            raise ConfigError(
                "command line", [f"{override!r}: {name!r} is no place in a list of {len(place)}, from 0"]
            )
        inner = place[int(name)]
    else:
        inner = place.setdefault(name, {})
    if not isinstance(inner, dict | list):
        raise ConfigError("command line", [f"{override!r}: {name} is a value, not a table"])
    return inner
