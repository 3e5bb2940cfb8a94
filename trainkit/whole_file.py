"""Files that another process may read at any moment: it finds the old or the new one, never half of one."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def whole_file(path: Path, *, flushed: bool = False, alone: bool = False) -> Iterator[Path]:
    """Yield another name to write a file under, ``.<name>.<host>-<process>.partial``: it is renamed where the
    block ends, and where the block raises nothing is left.

    ``flushed`` when it must be on the disk before it has its name; ``alone`` when no other process writes
    this file, so that what killed ones left half-written may go. Raises OSError.
    """
    if alone:
        for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
            with contextlib.suppress(OSError):
                leftover.unlink()
    partial = path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}.partial")
    try:
        yield partial
        if flushed:
            with partial.open("r+b") as file:
                os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def replace_whole(path: Path, content: bytes, *, flushed: bool = False) -> None:
    """Write some bytes as a file, as `whole_file` does. Raises OSError."""
    with whole_file(path, flushed=flushed) as partial:
        partial.write_bytes(content)


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
