"""Pointers of Git LFS: what a clone without it holds in place of a model, three lines of text."""

from __future__ import annotations

from pathlib import Path

from trainkit.errors import ModelError

_BEGIN = b"version https://git-lfs"


def refuse_pointer(path: Path) -> None:
    """Raise ModelError where a file is only a pointer to itself, with what to do."""
    try:
        with path.open("rb") as file:
            begin = file.read(len(_BEGIN))
    except OSError:
        return  # Whoever reads it says why that cannot be done.
    if begin == _BEGIN:
        raise ModelError(
            f"{path} is a pointer of Git LFS and not the file itself: run `git lfs pull` in its folder, or "
            "download the file"
        )
