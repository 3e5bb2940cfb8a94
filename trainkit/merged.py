"""What became of a bucket with too few pictures."""

from __future__ import annotations

from dataclasses import dataclass

Size = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True, slots=True)
class Merged:
    """A bucket that was given up because it held too few pictures."""

    bucket: Size
    pictures: int
    into: tuple[tuple[Size, int], ...]
    """Where they are now, and how many in each."""
    kept_before: float
    kept_after: float
    """Mean share of their area that survives the crop."""

    def __str__(self) -> str:
        to = ", ".join(f"{count} to {w} x {h}" for (w, h), count in self.into)
        width, height = self.bucket
        return (
            f"bucket {width} x {height} has only {self.pictures} pictures, fewer than min_pictures: {to}; "
            f"{self.kept_after:.1%} of their area is kept instead of {self.kept_before:.1%}"
        )
