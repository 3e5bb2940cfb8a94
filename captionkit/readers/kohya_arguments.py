"""Files of trainer arguments (`--config_file`, what kohya_ss saves), told from dataset configurations."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from captionkit.errors import DataError
from captionkit.readers.kohya_options import OPTIONS

MARKS = frozenset(
    {
        *("pretrained_model_name_or_path", "train_data_dir", "reg_data_dir", "in_json", "dataset_config"),
        *("network_module", "network_dim", "output_dir", "output_name", "learning_rate", "optimizer_type"),
        *("max_train_steps", "max_train_epochs", "train_batch_size", "mixed_precision", "LoRA_type"),
    }
)
"""Arguments of sd-scripts, or fields of kohya_ss, that no dataset configuration has."""


class TrainerArgumentsError(DataError):
    """The file holds trainer arguments where a dataset configuration is asked for."""

    def __init__(self, path: Path, arguments: Mapping[str, Any]) -> None:
        super().__init__(
            "these are trainer arguments, not a dataset configuration",
            where=str(path),
            hint=f"`captionkit import kohya {path}` prints one to begin with",
        )
        self.path = path
        self.arguments = dict(arguments)


def require_no_arguments(path: Path, data: Mapping[str, Any]) -> None:
    """Raises `TrainerArgumentsError` for what is no dataset configuration and has trainer arguments.

    sd-scripts lets arguments stand in tables of any name, which mean nothing.
    """
    if "datasets" in data:
        return
    flat = {key: value for key, value in data.items() if not isinstance(value, Mapping)}
    for key, table in data.items():
        if key != "general" and isinstance(table, Mapping):
            flat |= table
    if any(key in MARKS or key in OPTIONS for key in flat):
        raise TrainerArgumentsError(path, flat)


def found(path: str, file: Path) -> Path:
    """A path that stands in a file, absolute: relative to the working folder, or else to the file's own."""
    here = Path(os.path.abspath(path))
    beside = Path(os.path.abspath(file.parent / path))
    # These two, unlike a Path's, never raise: for names that no system could have.
    return beside if not os.path.exists(here) and os.path.exists(beside) else here
