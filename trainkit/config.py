"""A run: assembled from the settings that each part declares beside its own code.

A run file is TOML. Paths in it are relative to the file. Settings can be changed on the command line by their
dotted path (``optim.lr=1e-6``); the value is read as TOML, or as text when it is not valid TOML.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from captionkit import CaptionkitError, CaptionPipeline, load_pipeline, preset
from trainkit.demo import DEMO_BASE, base_folder
from trainkit.errors import ConfigError
from trainkit.loss import ObjectiveConfig
from trainkit.models import ModelConfig
from trainkit.optim import OptimConfig
from trainkit.pictures import DataConfig
from trainkit.sample import PreviewConfig
from trainkit.schedule import ScheduleConfig
from trainkit.text import TextConfig


class RunConfig(BaseModel):
    """Everything that decides a run."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    out: Path
    """Folder of everything the run writes; the same command with the same folder goes on where it stopped."""
    seed: int = 0
    """Seed of captions, noise, timesteps and the order of pictures."""
    epochs: int | None = Field(default=None, ge=1)
    """Length of the run in passes over the data; give this or ``samples``."""
    samples: int | None = Field(default=None, ge=1)
    """Length of the run in samples seen, rounded up to whole optimizer steps."""
    batch: int = Field(default=8, ge=1)
    """Samples per device and micro-batch."""
    accumulate: int = Field(default=16, ge=1)
    """Micro-batches per optimizer step. An optimizer step sees batch x accumulate x devices samples."""
    checkpoint_every: int = Field(default=25_600, ge=0)
    """Samples seen between two checkpoints; 25,600 are 100 optimizer steps of the recipe. 0 means only at the
    end: a killed run then starts over."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """How many of the newest checkpoints stay on the disk."""
    mixed_precision: Literal["auto", "no", "bf16"] = "auto"
    """"auto" runs the networks in bfloat16 where the device has it; the weights themselves are always
    float32."""
    tensorboard: bool = True
    """Also write scalars for TensorBoard to <out>/tensorboard."""
    model: ModelConfig
    data: DataConfig
    text: TextConfig = TextConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    optim: OptimConfig = OptimConfig()
    preview: PreviewConfig = PreviewConfig()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.epochs is None) == (self.samples is None):
            raise ValueError("give either epochs or samples, and not both")
        if self.objective.prediction == "epsilon" and self.schedule.zero_terminal_snr:
            raise ValueError(
                'objective.prediction = "epsilon" cannot be used with schedule.zero_terminal_snr: at zero '
                "SNR the noise says nothing about the picture; set zero_terminal_snr = false or predict v"
            )
        return self

    @property
    def preview_size(self) -> tuple[int, int]:
        """(width, height) of previews, the default filled in."""
        side = self.data.buckets.resolution
        return self.preview.width or side, self.preview.height or side


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
        _apply(data, override)
    return make_run(data, path.parent, str(path))


def make_run(data: dict[str, Any], base: Path, where: str) -> RunConfig:
    """A run from plain data; relative paths start at ``base``."""
    try:
        run = RunConfig.model_validate(data)
    except ValidationError as error:
        raise ConfigError(where, [_explain(problem) for problem in error.errors()]) from None
    model = base_folder() if run.model.base == Path(DEMO_BASE) else base / run.model.base
    moved: dict[str, Any] = {"out": base / run.out, "model": run.model.model_copy(update={"base": model})}
    recipe = run.data.recipe
    if isinstance(recipe, str) and recipe.endswith((".toml", ".json")):
        recipe = str(base / recipe)
    elif isinstance(recipe, dict):
        recipe = _from(base, recipe)
    cache = base / run.data.cache if run.data.cache is not None else None
    moved["data"] = run.data.model_copy(
        update={"path": base / run.data.path, "recipe": recipe, "cache": cache}
    )
    return run.model_copy(update=moved)


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


def caption_pipeline(run: RunConfig) -> CaptionPipeline:
    """The run's caption pipeline with the run's seed, its token budget no larger than text.max_tokens.

    Raises ConfigError when the recipe is not valid.
    """
    recipe = run.data.recipe
    try:
        pipeline = (
            preset(recipe) if isinstance(recipe, str) and not _is_file(recipe) else load_pipeline(recipe)
        )
    except CaptionkitError as error:
        raise ConfigError("data.recipe", str(error).splitlines()) from error
    budget = pipeline.text.max_tokens
    if budget is None or budget > run.text.max_tokens:
        pipeline = pipeline.model_copy(
            update={"text": pipeline.text.model_copy(update={"max_tokens": run.text.max_tokens})}
        )
    return pipeline.with_seed(run.seed)


def _is_file(recipe: str) -> bool:
    return recipe.endswith((".toml", ".json"))


def write_resolved(run: RunConfig, path: Path) -> None:
    """Write the whole configuration, defaults and overrides included, as JSON beside the results."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(run.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")


def _apply(data: dict[str, Any], override: str) -> None:
    """Set one dotted key."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(
            "command line", [f"{override!r} is not of the form key=value, such as optim.lr=1e-6"]
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *tables, last = key.split(".")
    for name in tables:
        data = data.setdefault(name, {})
        if not isinstance(data, dict):
            raise ConfigError("command line", [f"{override!r}: {name} is a value, not a table"])
    data[last] = value


def _explain(problem: Any) -> str:
    """One pydantic problem as "path: what is wrong"."""
    path = ".".join(str(part) for part in problem["loc"]) or "run"
    match problem["type"]:
        case "extra_forbidden":
            known = _fields_at(problem["loc"][:-1])
            close = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1, cutoff=0.6)
            hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(sorted(known))}"
            return f"{path}: no such setting; {hint}"
        case "missing":
            return f"{path}: is required"
        case "value_error":
            return f"{path}: {problem['ctx']['error']}"
        case _:
            message = problem["msg"].replace("Input should be ", "must be ")
            return f"{path}: is {problem['input']!r}, {message}"


def _fields_at(loc: tuple[str | int, ...]) -> list[str]:
    """Names of the settings in the table at a path."""
    kind: Any = RunConfig
    for part in loc:
        field = (
            kind.model_fields.get(str(part))
            if isinstance(kind, type) and issubclass(kind, BaseModel)
            else None
        )
        kind = field.annotation if field is not None else None
    return list(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else []
