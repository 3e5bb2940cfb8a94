"""A tagger's folder: ``tagger.json``, ``model.safetensors`` and ``backbone/config.json``; it stands alone."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from trainkit.errors import ModelError, TrainkitError
from trainkit.modes import open_to_others
from trainkit.sealed import write_tensors
from trainkit.tagging.backbone import Backbone, Pool
from trainkit.tagging.curves import EVALUATION
from trainkit.tagging.label import Label
from trainkit.tagging.learned import Learned, write_learned
from trainkit.tagging.outputs import Outputs, Temperatures
from trainkit.tagging.preprocess import Preprocessing, preprocessing_of
from trainkit.tagging.split import SplitConfig
from trainkit.whole_file import replace_whole, whole_file

ABOUT = "tagger.json"
WEIGHTS = "model.safetensors"
FORMAT = 1
_MOST_BYTES = 64 << 20


@dataclass(frozen=True)
class About:
    """What ``tagger.json`` says."""

    name: str
    outputs: Outputs
    preprocessing: Preprocessing
    pool: Pool
    split: SplitConfig
    """Which pictures were held out."""
    mirrored_too: bool
    sided: tuple[str, ...]
    """Labels that know left from right."""
    temperatures: Temperatures
    backbone: str
    """The backbone's name or kind, for people."""
    leave_out_sources: tuple[str, ...]
    """Sources of tags that were no truth to it; its own name never is."""
    measured: Mapping[str, Any]
    settings: Mapping[str, Any]
    """All settings of its training."""


def is_tagger_folder(path: Path) -> bool:
    """Whether a folder is that of a tagger of ours."""
    return (path / ABOUT).is_file()


def write_tagger(
    folder: Path,
    about: About,
    backbone: Backbone,
    weights: Mapping[str, Tensor],
    learned: Iterable[Learned] = (),
) -> None:
    """Write a tagger into a folder; ``tagger.json`` comes last, so that a folder with it is whole.

    Raises TrainkitError when it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ABOUT).unlink(missing_ok=True)
        (folder / EVALUATION).unlink(missing_ok=True)  # Its thresholds are those of the weights before.
        shutil.rmtree(folder / "backbone", ignore_errors=True)
        backbone.config.save_pretrained(folder / "backbone")
        with whole_file(folder / WEIGHTS, flushed=True, alone=True) as partial:
            write_tensors(partial, dict(weights))
        open_to_others(folder / "backbone")
        write_learned(folder, learned)
        write_about(folder, about)
    except OSError as error:
        raise TrainkitError(f"{folder} could not be written: {error.strerror or error}") from error


def write_about(folder: Path, about: About) -> None:
    """Replace ``tagger.json``. Raises OSError."""
    told = {
        "format": FORMAT,
        "name": about.name,
        "labels": [
            {"name": label.name, "category": label.category, "group": label.group}
            for label in about.outputs.labels
        ],
        "groups": {
            name: {"none": name in about.outputs.none_of, "tags": len(places)}
            for name, places in about.outputs.groups.items()
        },
        "implications": [list(pair) for pair in about.outputs.implications],
        "sided": list(about.sided),
        "preprocessing": about.preprocessing.describe(),
        "backbone": {"name": about.backbone, "pool": about.pool},
        "mirrored_too": about.mirrored_too,
        "split": about.split.model_dump(),
        "temperature": {"tags": about.temperatures.tags, "groups": dict(about.temperatures.groups)},
        "leave_out_sources": list(about.leave_out_sources),
        "measured": dict(about.measured),
        "settings": dict(about.settings),
    }
    text = json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    replace_whole(folder / ABOUT, text.encode("utf-8", "replace"), flushed=True)


def read_about(folder: Path) -> About:
    """What a tagger's folder says of it. Raises ModelError for one that is none, or is damaged."""
    path = folder / ABOUT
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        raise ModelError(
            f"{folder} is no tagger: it holds no {ABOUT}; `trainkit tagger train` makes one"
        ) from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        if len(content) > _MOST_BYTES:
            raise ValueError(f"is larger than {_MOST_BYTES >> 20} MiB")
        told = json.loads(content)
        if told["format"] != FORMAT:
            raise ValueError(f"format is {told['format']!r}, this version reads {FORMAT}")
        return _about(told)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        why = f"{error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise ModelError(f"{path}: {why[:300]}; train the tagger again, or copy the file again") from error


def _about(told: Mapping[str, Any]) -> About:
    labels = tuple(
        Label(_text(entry["name"]), _text_or_none(entry["category"]), _text_or_none(entry["group"]))
        for entry in told["labels"]
    )
    if not labels or not all(label.name.strip() for label in labels):
        raise ValueError("labels: there must be one or more, each with a name")
    none_of = tuple(name for name, group in told["groups"].items() if group["none"])
    pairs = tuple((_place(a, len(labels)), _place(b, len(labels))) for a, b in told["implications"])
    outputs = Outputs(labels, none_of, pairs)
    if unknown := set(none_of) - set(outputs.groups):
        raise ValueError(f"groups: no label is in {sorted(unknown)[0]!r}")
    pool = told["backbone"]["pool"]
    if pool not in ("pooler", "mean", "cls", "cls+mean"):
        raise ValueError(f"backbone.pool is {pool!r}")
    temperature = told["temperature"]
    return About(
        _text(told["name"]),
        outputs,
        preprocessing_of(told["preprocessing"]),
        pool,
        SplitConfig.model_validate(told["split"]),
        bool(told["mirrored_too"]),
        tuple(map(_text, told["sided"])),
        Temperatures(
            _positive(temperature["tags"]),
            {str(name): _positive(value) for name, value in temperature["groups"].items()},
        ),
        _text(told["backbone"]["name"]),
        tuple(map(_text, told["leave_out_sources"])),
        dict(told["measured"]),
        dict(told["settings"]),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} must be text")
    return value


def _text_or_none(value: Any) -> str | None:
    return None if value is None else _text(value)


def _place(value: Any, count: int) -> int:
    if not isinstance(value, int) or not 0 <= value < count:
        raise ValueError(f"implications: {value!r} is no label")
    return value


def _positive(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not (0 < value < math.inf):
        raise ValueError(f"temperature {value!r} must be a number over 0")
    return float(value)
