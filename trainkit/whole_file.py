"""Small JSON files that another process may read at any moment: it finds the old or the new one, never half
of one."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_whole(path: Path, told: Mapping[str, Any]) -> None:
    """Write an object under another name and rename it."""
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        partial.write_text(
            json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8", errors="replace"
        )
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_object(path: Path) -> dict[str, Any]:
    """The object in a file; empty when there is no file, or none that can be read."""
    try:
        told = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}
