"""Run files: TOML on the disk to a `RunConfig`.

Paths in a run file are relative to it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainkit.config import PhaseConfig, RunConfig, is_recipe_file, phase_runs
from trainkit.demo import DEMO_BASE, base_folder
from trainkit.settings import checked_settings, read_settings


def load_run(path: Path, overrides: list[str] | None = None) -> RunConfig:
    """Read a run file and the dotted overrides.

    Raises ConfigError with every problem at once: unknown keys with the nearest known one, values out of
    range with what is allowed, each with its path.
    """
    data = read_settings(path, overrides)
    return make_run(data, path.parent, str(path))


def make_run(data: dict[str, Any], base: Path, where: str) -> RunConfig:
    """A run from plain data; relative paths start at ``base``."""
    run = checked_settings(RunConfig, data, where)
    model = base_folder() if run.model.base == Path(DEMO_BASE) else base / run.model.base
    moved: dict[str, Any] = {"out": base / run.out, "model": run.model.model_copy(update={"base": model})}
    recipe = recipe_from(base, run.data.recipe)
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
    recipe = recipe_from(base, phase.data["recipe"])
    return phase.model_copy(update={"data": {**phase.data, "recipe": recipe}})


def recipe_from(base: Path, recipe: Any) -> Any:
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
