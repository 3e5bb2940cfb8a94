"""What captions are made by: the settings that must not change while those of one source are made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainkit.additions.lines import header_of
from trainkit.additions.places import file_of, journal_of
from trainkit.captioning.config import CaptionConfig
from trainkit.errors import TrainkitError

_HOW = {
    *("device", "batch", "attention", "dtype", "trust_remote_code"),
    *("urls", "api_key_env", "concurrency", "retry", "per_minute", "price_in", "price_out"),
}
"""Settings of back ends that say where and how fast, not what is answered: they may change meanwhile."""


def made_by(config: CaptionConfig, source: str, model: str) -> dict[str, Any]:
    """The settings of a source. Which pictures are chosen is none of them; neither are the cleaning and the
    gate, which work on what was kept."""
    told: dict[str, Any] = {"model": model, "per_picture": config.num_per_picture}
    backend = config.backend.model_dump(mode="json", exclude={"model"} | _HOW)
    told |= {f"backend.{key}": value for key, value in backend.items()}
    for prompt in config.prompts:
        if config.source_of(prompt) == source:
            values = prompt.model_dump(mode="json", exclude={"name"})
            told |= {f"prompts.{prompt.name}.{key}": value for key, value in values.items()}
    if len(config.prompts) > 1:
        told["seed"] = config.seed
    for name, table in (("words", config.words), ("sampling", config.sampling)):
        told |= {f"{name}.{key}": value for key, value in table.model_dump(mode="json").items()}
    return told


def named_model(config: CaptionConfig) -> str:
    """The model as the run file names it, of a folder only the last part, so that it may be moved; "" where
    it takes what the servers serve."""
    model = config.backend.model
    return Path(model).resolve().name if model and Path(model).is_dir() else model


def recorded_model(manifest: Path, sources: Sequence[str]) -> str:
    """The model that made what is there of some sources; "" when nothing is there, or nothing can be read."""
    for source in sources:
        folder = journal_of(manifest, source)
        for path in (*sorted(folder.glob("rank-*.jsonl")), file_of(manifest, source)):
            header = header_of(path)
            model = header.settings.get("model") if header is not None else None
            if isinstance(model, str) and model:
                return model
    return ""


def check_served(recorded: str, served: str) -> None:
    """Raise TrainkitError when servers serve another model than made what is there."""
    if recorded != served:
        raise TrainkitError(
            f"backend.model is not set, and the servers serve {served!r} now; what is there was made by "
            f"{recorded!r}: serve that, choose another name, or --restart to make all of it anew"
        )
