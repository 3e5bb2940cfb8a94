"""Files that another process may read at any moment: it finds the old or the new one, never half of one."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def replace_whole(path: Path, content: bytes, *, flushed: bool = False) -> None:
    """Write a file under another name, ``.<name>.<host>-<process>.partial``, and rename it; ``flushed`` when
    it must be on the disk before. Raises OSError, and leaves nothing then."""
    partial = path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            if flushed:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def write_whole(path: Path, told: Mapping[str, Any]) -> None:
    """Write an object as JSON. Raises OSError."""
    text = json.dumps(told, indent=1, ensure_ascii=False) + "\n"
    replace_whole(path, text.encode("utf-8", "replace"))


def read_object(path: Path) -> dict[str, Any]:
    """The object in a file; empty when there is no file, or none that can be read."""
    try:
        told = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}
