"""How a model folder was trained: its own files say so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trainkit.errors import ModelError
from trainkit.loss import ObjectiveConfig
from trainkit.schedule import ScheduleConfig
from trainkit.text import TextConfig


def read_objective(folder: Path) -> tuple[ScheduleConfig, ObjectiveConfig, TextConfig]:
    """How a model folder was trained, from its scheduler's configuration and trainkit.json.

    A folder that trainkit did not write has no trainkit.json; then captions are encoded with clip skip 1.
    """
    path = folder / "scheduler" / "scheduler_config.json"
    try:
        scheduler: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        schedule = ScheduleConfig(
            num_timesteps=scheduler.get("num_train_timesteps", 1000),
            beta_start=scheduler["beta_start"],
            beta_end=scheduler["beta_end"],
            beta_schedule=scheduler["beta_schedule"],
            zero_terminal_snr=scheduler.get("rescale_betas_zero_snr", False),
        )
        objective = ObjectiveConfig(prediction=scheduler.get("prediction_type", "epsilon"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path} cannot be used: {error}") from error
    about = folder / "trainkit.json"
    text = TextConfig(clip_skip=1)
    if about.is_file():
        try:
            text = TextConfig.model_validate_json(about.read_bytes())
        except (OSError, ValidationError) as error:
            raise ModelError(f"{about} cannot be used: {error}") from error
    return schedule, objective, text
