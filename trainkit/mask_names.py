"""Which files beside pictures are their masks, by name. Imports no torch, for those that only list files."""

from __future__ import annotations

from pathlib import Path

from captionkit.readers.folder import PICTURE_SUFFIXES

ENDINGS = ("-masklabel.png", ".mask.png")
"""What stands behind a picture's name without its suffix: as OneTrainer names masks, and a plainer way."""

_SUFFIXES = sorted(PICTURE_SUFFIXES | {suffix.upper() for suffix in PICTURE_SUFFIXES})


def is_mask(path: Path) -> bool:
    """Whether a file is the mask of a picture beside it."""
    # Each is asked for: to list a folder for every mask in it takes the square of their number.
    return any(path.with_name(name).exists() for name in names_of_masked(path.name))


def names_of_masked(name: str) -> list[str]:
    """The names that the picture may have whose mask a file of this name is; none when it is no mask's."""
    for ending in ENDINGS:
        stem = name.removesuffix(ending)
        if stem != name and stem and not stem.endswith("/"):
            return [stem + suffix for suffix in _SUFFIXES]
    return []
