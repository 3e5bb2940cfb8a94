"""What is exported: a run's folder or a model folder, and all that is known about it without its weights."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainkit.errors import ModelError, TrainkitError
from trainkit.export.layout import Part
from trainkit.loss import ObjectiveConfig
from trainkit.model_folder import check_model_folder
from trainkit.schedule import ScheduleConfig
from trainkit.text import TextConfig
from trainkit.trained_as import read_objective

PARTS: tuple[Part, ...] = ("unet", "vae", "text_encoder")


@dataclass(frozen=True)
class Source:
    """A model folder, and the run that made it, if there is one."""

    folder: Path
    """The model, a diffusers folder."""
    schedule: ScheduleConfig
    objective: ObjectiveConfig
    text: TextConfig
    configs: dict[Part, dict[str, Any]]
    """The networks' configurations."""
    run: dict[str, Any] = field(default_factory=dict)
    """run.json; empty for a bare model folder. Read as plain data, so that runs of other versions can be
    exported too."""
    data: dict[str, Any] = field(default_factory=dict)
    """data.json, the statistics of the data set; empty when there are none."""
    last: dict[str, Any] = field(default_factory=dict)
    """The last line of log.jsonl, and as "step" the number of its lines: the optimizer steps."""
    sheet: Path | None = None
    """The newest preview sheet."""

    @property
    def resolution(self) -> int:
        """The side of the square whose area pictures were last trained at, in pixels; of a model that no run
        made, what its configuration says."""
        trained = self.phase.get("data", {}).get("buckets", {}).get("resolution")
        if isinstance(trained, int):
            return trained
        factor = 2 ** (len(self.configs["vae"].get("block_out_channels", [0] * 4)) - 1)
        return int(self.configs["unet"].get("sample_size") or 64) * int(factor)

    @property
    def phase(self) -> dict[str, Any]:
        """The run's settings as they stood in its last phase."""
        return phases(self.run)[-1] if self.run else {}


def find_source(path: Path) -> Source:
    """Read everything about a run's folder or a model folder but its weights.

    Raises ModelError when there is no model, or a part of it is missing or of another kind.
    """
    folder = path
    if (path / "run.json").is_file():
        folder = path / "model"
        if not folder.is_dir():
            raise ModelError(f"{path} {_unfinished(path)}")
    if problems := check_model_folder(folder):
        raise ModelError("the model cannot be exported:\n" + "\n".join(f"  {p}" for p in problems))
    schedule, objective, text = read_objective(folder)
    configs = {part: _json(folder / part / "config.json") for part in PARTS}
    run = folder is not path
    return Source(
        folder=folder,
        schedule=schedule,
        objective=objective,
        text=text,
        configs=configs,
        run=_json(path / "run.json") if run else {},
        data=_json(path / "data.json") if run and (path / "data.json").is_file() else {},
        last=_last_line(path / "log.jsonl") if run else {},
        sheet=max((path / "previews").glob("*.png"), default=None) if run else None,
    )


def phases(run: dict[str, Any]) -> list[dict[str, Any]]:
    """The settings of each phase: the run's own with the phase's laid over them. One for a run without."""
    own = {key: value for key, value in run.items() if key != "phases"}
    return [_over(own, phase) for phase in run.get("phases") or []] or [own]


_WHOLE = ("recipe", "arguments")
"""Settings that a phase replaces as a whole."""


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        if key not in _WHOLE and isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _over(merged[key], value)
        elif value is not None:
            merged[key] = value
    return merged


def _unfinished(run: Path) -> str:
    if (run / "adapter.safetensors").is_file():
        return (
            "is the run of an adapter: adapter.safetensors in it is the file that front ends load; there is "
            "no "
            "whole model to export"
        )
    return "has no model/ yet: it is written at the end of the run. Start the same `trainkit train` again"


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise TrainkitError(f"{path} cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise TrainkitError(f"{path} is no JSON object")
    return data


def _last_line(path: Path) -> dict[str, Any]:
    """The last whole line of a log and the number of such lines; {} when there is none."""
    if not path.is_file():
        return {}
    last, count = b"", 0
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                last, count = line, count + 1
    try:
        found = json.loads(last)
    except (ValueError, RecursionError):
        return {}
    return {**found, "step": count} if isinstance(found, dict) else {}
