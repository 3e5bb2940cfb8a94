"""Run files of taggers: TOML on the disk to a `TaggerConfig`. Paths in it are relative to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from captionkit import ImplicationsError
from trainkit.errors import ConfigError
from trainkit.run_file import recipe_from
from trainkit.settings import checked_settings, read_settings
from trainkit.tagging.config import TaggerConfig


def load_tagger_run(path: Path, overrides: list[str] | None = None) -> TaggerConfig:
    """Read a run file and the dotted overrides. Raises ConfigError with every problem at once."""
    return make_tagger_run(read_settings(path, overrides), path.parent, str(path))


def make_tagger_run(data: dict[str, Any], base: Path, where: str = "tagger") -> TaggerConfig:
    """A run from plain data; relative paths start at ``base``."""
    learn = data.get("learn")
    if isinstance(learn, dict) and "implications" in learn:
        data = {**data, "learn": recipe_from(base, learn)}
    try:
        run = checked_settings(TaggerConfig, data, where)
    except ImplicationsError as error:
        raise ConfigError(where, [f"learn.implications: {error}"]) from error
    moved_data = run.data.model_copy(
        update={
            "path": base / run.data.path,
            "corrections": tuple(base / file for file in run.data.corrections),
        }
    )
    moved: dict[str, Any] = {"out": base / run.out, "data": moved_data}
    moved["augment"] = run.augment.model_copy(update={"recipe": recipe_from(base, run.augment.recipe)})
    if run.features.cache is not None:
        moved["features"] = run.features.model_copy(update={"cache": base / run.features.cache})
    named = run.backbone.base
    if named is not None and (base / named).is_dir():
        moved["backbone"] = run.backbone.model_copy(update={"base": str(base / named)})
    return run.model_copy(update=moved)
