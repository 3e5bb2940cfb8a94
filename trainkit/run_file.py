"""Run files: TOML on the disk to a `RunConfig`.

Paths in a run file are relative to it. Settings can be changed on the command line by their dotted path
(``optim.lr=1e-6``, ``phases.1.batch=4``, ``captions."empty_caption.p"=0.05``); the value is read as TOML, or
as text when it is not valid TOML.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trainkit.config import PhaseConfig, RunConfig, explain_problem, is_recipe_file, phase_runs
from trainkit.demo import DEMO_BASE, base_folder
from trainkit.errors import ConfigError


def load_run(path: Path, overrides: list[str] | None = None) -> RunConfig:
    """Read a run file and the dotted overrides.

    Raises ConfigError with every problem at once: unknown keys with the nearest known one, values out of
    range with what is allowed, each with its path.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(str(path), [f"cannot be read: {error.strerror}"]) from error
    except ValueError as error:
        raise ConfigError(str(path), [f"is not valid TOML: {error}"]) from error
    for override in overrides or []:
        _override(data, override)
    return make_run(data, path.parent, str(path))


def make_run(data: dict[str, Any], base: Path, where: str) -> RunConfig:
    """A run from plain data; relative paths start at ``base``."""
    try:
        run = RunConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(where, [explain_problem(problem) for problem in error.errors()]) from None
    model = base_folder() if run.model.base == Path(DEMO_BASE) else base / run.model.base
    moved: dict[str, Any] = {"out": base / run.out, "model": run.model.model_copy(update={"base": model})}
    recipe = _recipe_from(base, run.data.recipe)
    cache = base / run.data.cache if run.data.cache is not None else None
    moved["data"] = run.data.model_copy(
        update={"path": base / run.data.path, "recipe": recipe, "cache": cache}
    )
    moved["phases"] = tuple(_phase_from(base, phase) for phase in run.phases)
    run = run.model_copy(update=moved)
    phase_runs(run, where)
    return run


def _phase_from(base: Path, phase: PhaseConfig) -> PhaseConfig:
    """A phase whose recipe's relative paths start at ``base``."""
    if "recipe" not in phase.data:
        return phase
    recipe = _recipe_from(base, phase.data["recipe"])
    return phase.model_copy(update={"data": {**phase.data, "recipe": recipe}})


def _recipe_from(base: Path, recipe: Any) -> Any:
    """A recipe, its relative paths starting at ``base``: the path of a file, a preset's name or a table."""
    if isinstance(recipe, str):
        return str(base / recipe) if is_recipe_file(recipe) else recipe
    return _from(base, recipe)


_PATHS = frozenset({"aliases", "correlations", "file", "implications", "names", "rules"})
"""Settings of a caption recipe that are paths where they are text."""


def _from(base: Path, recipe: Any) -> Any:
    """A recipe written in the run file, its relative paths starting at the run file's folder."""
    if isinstance(recipe, list):
        return [_from(base, value) for value in recipe]
    if not isinstance(recipe, dict):
        return recipe
    # Beside a file, `tags` is the path of a table of tags; elsewhere it is a list of them, or a weight.
    paths = _PATHS | {"tags"} if "file" in recipe else _PATHS
    return {
        key: str(base / value) if key in paths and isinstance(value, str) else _from(base, value)
        for key, value in recipe.items()
    }


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
