"""Whether a folder of files is as it was written: the length and the hash of each, in ``whole.json``.

A disk can give back other bytes than it was given, a copy can end early, a file can be lost. None of that is
noticed by reading alone: one flipped bit of a weight is another weight.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from torch import Tensor

from trainkit.export.tensor_file import Entry, bytes_of, header_of
from trainkit.file_hash import blake2b_of

INDEX = "whole.json"
"""The file that is written last and names all others."""

_FORMAT = 1
_TOGETHER = 4
"""Files that are hashed at the same time: BLAKE2b does 0.9 GB/s on one core, disks do more."""


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file one tensor at a time: no more than that is copied from a device.

    Raises OSError when it cannot be written.
    """
    # By the size of their elements, so that each begins at a multiple of it.
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    entries = [Entry(name, tensors[name].dtype, tuple(tensors[name].shape)) for name in names]
    header = header_of(entries, {})
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little"))
        file.write(header)
        for name in names:
            file.write(bytes_of(tensors[name]))


def seal(folder: Path) -> None:
    """Flush every file of a folder to the disk and write ``whole.json``. Raises OSError.

    A folder that holds ``whole.json`` holds all the others.
    """
    files = _files(folder)
    with ThreadPoolExecutor(_TOGETHER) as pool:
        told = dict(zip((p.name for p in files), pool.map(_describe, files), strict=True))
        list(pool.map(flush, files))
    index = folder / INDEX
    index.write_text(json.dumps({"format": _FORMAT, "files": told}, indent=1) + "\n", encoding="utf-8")
    flush(index)
    flush(folder)


def damage(folder: Path) -> list[str]:
    """What is wrong with a sealed folder, a line for each file; empty when every byte is as it was written.

    Reads everything once. What is not named in ``whole.json`` does not matter.
    """
    try:
        told = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        if told["format"] != _FORMAT:
            return [f"{INDEX} has format {told['format']!r}, this version reads {_FORMAT}"]
        expected: dict[str, Any] = {name: told["files"][name] for name in sorted(told["files"])}
    except FileNotFoundError:
        return [f"{INDEX} is missing (an earlier version of trainkit wrote none)"]
    except OSError as error:
        return [f"{INDEX} cannot be read: {error.strerror or error}"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        return [f"{INDEX} is damaged ({type(error).__name__})"]
    if outside := [name for name in expected if Path(name).name != name]:
        return [f"{INDEX} names {outside[0]!r}, which is no file of this folder"]
    with ThreadPoolExecutor(_TOGETHER) as pool:
        found = pool.map(lambda name: _compare(folder / name, expected[name]), expected)
        return [problem for problem in found if problem is not None]


def size_of(folder: Path) -> int:
    """Bytes of a folder's files."""
    return sum(path.stat().st_size for path in _files(folder))


def flush(path: Path) -> None:
    """Make the system write a file or folder to the disk now."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        # Folders cannot be flushed on every system; a rename is then as safe as the system makes it.
        with contextlib.suppress(OSError) if path.is_dir() else contextlib.nullcontext():
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def _describe(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "blake2b": blake2b_of(path)}


def _compare(path: Path, expected: Any) -> str | None:
    """What is wrong with one file, or None."""
    try:
        size = path.stat().st_size
        if size != expected["bytes"]:
            return f"{path.name} has {size:,} bytes, was written with {expected['bytes']}"
        return None if blake2b_of(path) == expected["blake2b"] else f"{path.name} is not as it was written"
    except FileNotFoundError:
        return f"{path.name} is missing"
    except OSError as error:
        return f"{path.name} cannot be read: {error.strerror or error}"
    except (KeyError, TypeError):
        return f"{INDEX} does not say what {path.name} must be"
