"""Where a tagger lies: it is named by its folder, or by a model's file in there."""

from __future__ import annotations

from pathlib import Path


def folder_of(tagger: Path) -> Path:
    """The folder of a tagger that is named in either way."""
    return tagger if tagger.is_dir() else tagger.parent
