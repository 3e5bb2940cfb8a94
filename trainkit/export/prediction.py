"""What a single file's model predicts, and with which noise schedule: whoever knows it, asked in turn."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from trainkit.errors import ModelError
from trainkit.export.metadata import MODEL_KEY
from trainkit.loss import Prediction

T = TypeVar("T")

_NAMES: dict[str, Prediction] = {
    "v": "v_prediction",
    "v_prediction": "v_prediction",
    "eps": "epsilon",
    "epsilon": "epsilon",
}


@dataclass(frozen=True, slots=True)
class Objective:
    """What was found out."""

    prediction: Prediction
    zero_terminal_snr: bool
    notes: tuple[str, ...]
    """Where it was found, and what was assumed, for the user to read."""


def find_objective(
    path: Path,
    metadata: dict[str, str],
    names: set[str],
    read: Callable[[str], Tensor],
    prediction: str | None,
    zero_terminal_snr: bool | None,
) -> Objective:
    """What the user says, else what the file says: its metadata, marker keys, the table of its noise
    schedule, the .yaml beside it. ``read`` gives a tensor of the file.

    Raises ModelError when nobody says what is predicted, or two say different things.
    """
    said: dict[str, Prediction] = {}
    zero: dict[str, bool] = {}
    _from_metadata(metadata, said, zero)
    if "v_pred" in names:
        said["the marker key v_pred"] = "v_prediction"
    if "ztsnr" in names:
        zero["the marker key ztsnr"] = True
    if "alphas_cumprod" in names:
        # Exactly 0, or as close to it as a front end's guard against a division by zero.
        zero["its table alphas_cumprod"] = bool(read("alphas_cumprod")[-1] < 1e-6)
    beside = path.with_suffix(".yaml")
    if beside.is_file() and (found := re.search(_YAML, beside.read_text(encoding="utf-8", errors="replace"))):
        said[beside.name] = _NAMES[found[1]]
    kind = _one("prediction", said, _NAMES[prediction] if prediction else None)
    if kind is None:
        raise ModelError(
            f"{path} does not say whether its model predicts v or noise (no metadata, marker key or "
            f"{beside.name}); give --prediction epsilon for Stable Diffusion 1.5 and most of its "
            "descendants, --prediction v for a v-prediction model"
        )
    notes = [f"predicts {'v' if kind == 'v_prediction' else 'noise (epsilon)'}: {_who(said, prediction)}"]
    if kind == "epsilon":
        if zero_terminal_snr:
            raise ModelError("--zero-terminal-snr cannot be used with a model that predicts noise (epsilon)")
        return Objective(kind, False, tuple(notes))
    snr = _one("zero terminal SNR", zero, zero_terminal_snr)
    if snr is None:
        notes.append(
            "zero terminal SNR: nothing in the file says; taken as not trained with it. Give "
            "--zero-terminal-snr if it was"
        )
    else:
        notes.append(f"zero terminal SNR: {'yes' if snr else 'no'}, {_who(zero, zero_terminal_snr)}")
    return Objective(kind, bool(snr), tuple(notes))


_YAML = r"(?m)^\s*parameterization:\s*[\"']?(v|eps)[\"']?\s*(?:#.*)?$"


def own_metadata(metadata: dict[str, str]) -> dict[str, Any]:
    """What trainkit itself wrote about the model; {} for files of others, or when it cannot be read."""
    try:
        own = json.loads(metadata.get(MODEL_KEY, "{}"))
    except (ValueError, RecursionError):
        return {}
    return own if isinstance(own, dict) else {}


def _from_metadata(metadata: dict[str, str], said: dict[str, Prediction], zero: dict[str, bool]) -> None:
    own = own_metadata(metadata)
    if (kind := own.get("prediction")) in _NAMES:
        said[f"its metadata ({MODEL_KEY})"] = _NAMES[kind]
    schedule = own.get("schedule")
    if isinstance(schedule, dict) and isinstance(snr := schedule.get("zero_terminal_snr"), bool):
        zero[f"its metadata ({MODEL_KEY})"] = snr
    if (kind := metadata.get("modelspec.prediction_type")) in _NAMES:
        said["its metadata (modelspec.prediction_type)"] = _NAMES[kind]
    if (value := metadata.get("ss_v_parameterization")) in ("True", "False"):
        said["its metadata (ss_v_parameterization)"] = "v_prediction" if value == "True" else "epsilon"
    if (value := metadata.get("ss_zero_terminal_snr")) in ("True", "False"):
        zero["its metadata (ss_zero_terminal_snr)"] = value == "True"


def _one(what: str, said: dict[str, T], own: T | None) -> T | None:
    """What the user says, else what all agree on. Raises ModelError when they do not."""
    if own is not None:
        return own
    if len(set(said.values())) > 1:
        told = ", ".join(f"{who}: {value}" for who, value in said.items())
        raise ModelError(f"the file contradicts itself about its {what} ({told}); say which with an option")
    return next(iter(said.values()), None)


def _who(said: dict[str, Any], own: object) -> str:
    return "as you say" if own is not None else "says " + ", ".join(said)
