"""Other places that follow a run's figures: TensorBoard, Weights & Biases, trackio.

The run's own log has every figure, so none of them is needed: one that fails is reported and left alone for a
while, and the training goes on.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from accelerate.tracking import GeneralTracker, TensorBoardTracker, TrackioTracker, WandBTracker
from pydantic import BaseModel, ConfigDict, Field, field_validator

from trainkit.errors import ConfigError, TrainkitError
from trainkit.whole_file import read_object, write_whole

Tracker = Literal["tensorboard", "wandb", "trackio"]

_LONGEST_PAUSE = 600.0
"""Seconds for which a tracker that keeps failing is not asked."""
_SECRET = re.compile(r"token|api_?key|password|secret", re.IGNORECASE)


class TrackingConfig(BaseModel):
    """What the trackers call the run, and what else they are told."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    project: str = Field(default="trainkit", min_length=1)
    """The project the run belongs to."""
    name: str | None = Field(default=None, min_length=1)
    """The run's name; the name of its folder when it is left out."""
    tensorboard: dict[str, Any] = {}
    """Arguments of torch.utils.tensorboard.SummaryWriter."""
    wandb: dict[str, Any] = {}
    """Arguments of wandb.init, such as { entity = "us", tags = ["sd15"], mode = "offline" }."""
    trackio: dict[str, Any] = {}
    """Arguments of trackio.init, such as { group = "sd15" }."""

    @field_validator("tensorboard", "wandb", "trackio")
    @classmethod
    def _no_secrets(cls, options: dict[str, Any]) -> dict[str, Any]:
        if found := _SECRET.search(json.dumps(options, default=str)):
            raise ValueError(
                f"{found[0]!r} looks like a secret, and a run's configuration is written beside its results; "
                "use the tracker's own login or environment variable (WANDB_API_KEY, TRACKIO_WRITE_TOKEN)"
            )
        return options


def require_trackers(trackers: tuple[Tracker, ...]) -> None:
    """Raise ConfigError with the line that installs what is missing."""
    missing = [name for name in trackers if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            "trackers",
            [
                f'"{name}": is not installed; pip install "captionkit[{name}]", or leave it out'
                for name in missing
            ],
        )


class Trackers:
    """The trackers of a run, on its main process."""

    def __init__(
        self,
        names: tuple[Tracker, ...],
        config: TrackingConfig,
        out: Path,
        samples_seen: int,
        settings: Mapping[str, Any],
        say: Callable[[str], None],
    ) -> None:
        self._say = say
        self._started: dict[str, GeneralTracker] = {}
        self._failed: dict[str, int] = {}
        self._asked_again: dict[str, float] = {}
        ids = _read_ids(out)
        for name in dict.fromkeys(names):
            try:
                tracker, about = _make(name, config, out, samples_seen, ids.get(name, {}))
                with contextlib.redirect_stdout(io.StringIO()):  # Greetings.
                    tracker.start()
                    if name != "tensorboard":
                        tracker.store_init_configuration(dict(settings))
            except Exception as error:  # Theirs to raise whatever they like; ours to go on.
                say(f"tracker {name} could not be started, the run goes on without it: {_first_line(error)}")
                continue
            self._started[name] = tracker
            ids[name] = about | _run_of(name, tracker)
        _write_ids(out, ids)

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """Hand figures to all of them."""
        now = time.monotonic()
        for name, tracker in self._started.items():
            if now < self._asked_again.get(name, 0.0):
                continue
            try:
                tracker.log(dict(values), step=step)
            except Exception as error:
                times = self._failed[name] = self._failed.get(name, 0) + 1
                self._asked_again[name] = time.monotonic() + min(_LONGEST_PAUSE, 2.0**times)
                if times == 1:
                    self._say(f"tracker {name} failed, the run goes on and tries again: {_first_line(error)}")
            else:
                if self._failed.pop(name, 0):
                    self._say(f"tracker {name} works again; what it missed is in log.jsonl")

    def close(self) -> None:
        """End all of them."""
        for name, tracker in self._started.items():
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    tracker.finish()
            except Exception as error:
                self._say(f"tracker {name} did not end well: {_first_line(error)}")
        self._started.clear()


def _make(
    name: Tracker, config: TrackingConfig, out: Path, samples_seen: int, before: Mapping[str, Any]
) -> tuple[GeneralTracker, dict[str, Any]]:
    """A tracker that is not started, and what to keep so that a restart goes on with the same run of it."""
    called = config.name or out.resolve().name
    if name == "tensorboard":
        # What a killed process logged behind its checkpoint is not shown twice.
        options: dict[str, Any] = {"purge_step": samples_seen + 1} if samples_seen else {}
        return TensorBoardTracker("tensorboard", logging_dir=str(out), **options | config.tensorboard), {}
    project = str(before.get("project", config.project))
    if name == "wandb":
        options = {"name": called, "dir": str(out)}
        if "id" in before:
            options |= {"id": before["id"], "resume": "allow"}
        options |= config.wandb
        options["settings"] = {"console": "off", "silent": True, **options.get("settings", {})}
        return WandBTracker(project, **options), {"project": project}
    called = str(before.get("name", called))
    options = {
        "name": called,
        "resume": "allow",
        "embed": False,
        "auto_log_cpu": False,
        "auto_log_gpu": False,
    }
    if not before:  # The name of a folder is not unique in a project; the moment makes it so.
        options["name"] = called = f"{called}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    with contextlib.suppress(KeyError):
        called = str(config.trackio["name"])
    return TrackioTracker(project, **options | config.trackio), {"project": project, "name": called}


def _run_of(name: str, tracker: GeneralTracker) -> dict[str, Any]:
    if name != "wandb":
        return {}
    url = getattr(tracker.run, "url", None)
    return {"id": tracker.run.id} | ({"url": url} if url else {})


def _read_ids(out: Path) -> dict[str, dict[str, Any]]:
    """trackers.json: which run of each tracker this run is; nothing when it is not there or broken."""
    return {k: v for k, v in read_object(out / "trackers.json").items() if isinstance(v, dict)}


def _write_ids(out: Path, ids: dict[str, dict[str, Any]]) -> None:
    if not any(ids.values()):
        return
    try:
        write_whole(out / "trackers.json", ids)
    except OSError as error:
        raise TrainkitError(f"{out / 'trackers.json'} cannot be written: {error}") from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:300]}"
