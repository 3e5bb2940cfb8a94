"""The caption recipe of a finished run, as plain data without paths of the machine it ran on."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any

from captionkit import CaptionkitError, dump_pipeline, load_pipeline, preset


def find_recipe(run: dict[str, Any]) -> dict[str, Any]:
    """The recipe that a run (run.json, one phase) was trained with, its captions' settings applied; {} when
    its file is not there any more or can no longer be read."""
    recipe = run.get("data", {}).get("recipe")
    try:
        if isinstance(recipe, str) and not recipe.endswith((".toml", ".json")):
            pipeline = preset(recipe)
        elif isinstance(recipe, (str, dict)):
            pipeline = load_pipeline(Path(recipe) if isinstance(recipe, str) else recipe)
        else:
            return {}
        return dump_pipeline(pipeline.with_settings(run.get("captions") or {}))
    except (CaptionkitError, OSError):
        return {}


def recipe_name(run: dict[str, Any]) -> str:
    """A preset's name or a file's, without its folder."""
    recipe = run.get("data", {}).get("recipe")
    return PurePath(recipe).name if isinstance(recipe, str) else "its own"


def without_paths(value: Any) -> Any:
    """The same data with every file cut down to its name, and long lists and tables to their length."""
    if isinstance(value, dict):
        if len(value) > 40:
            return f"({len(value)} entries)"
        return {key: without_paths(item) for key, item in value.items() if item not in (None, [], {}, ())}
    if isinstance(value, (list, tuple)):
        return f"({len(value)} entries)" if len(value) > 40 else [without_paths(item) for item in value]
    if isinstance(value, str) and PurePath(value).is_absolute():
        return PurePath(value).name
    return value
