"""The settings of ``trainkit prepare``: what is looked at, and what is remarked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from trainkit.place import is_url, wrong_with_url
from trainkit.prepare.problems import Remark

MOST_ROWS = 65_536
"""In one part."""
PILLOWS_LIMIT = 89_478_485
"""Pixels above which Pillow warns of a decompression bomb; above twice as many it refuses."""


class PrepareConfig(BaseModel):
    """What decides the prepared manifest, beside the data."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    root: Path | None = None
    """Folder at which relative paths of pictures begin, and which none may leave; None for the data's own."""
    stored_at: str | None = None
    """URL at which training will find the root, such as ``s3://bucket/pictures``, when ``data`` is a copy or
    a mount of it; the manifest names it as its root. None: training reads where prepare does."""
    untagged: bool = False
    """Also take pictures of which no tag and no caption is known. They are trained with empty captions until
    `trainkit tagger` or `trainkit caption` says more."""
    min_side: int = Field(default=256, ge=0)
    """Pixels. A picture whose shorter side has fewer is remarked as too small: for the 512 that Stable
    Diffusion 1.5 was trained at, it would be enlarged more than twofold."""
    max_aspect: float = Field(default=4.0, ge=1)
    """Longer side over shorter. A picture beyond is remarked: buckets end there or before, and more would be
    cut off than stays."""
    max_pixels: int = Field(default=PILLOWS_LIMIT, ge=1, le=2 * PILLOWS_LIMIT)
    """A picture of more is left out undecoded: a file of a few kilobytes can claim any number. The default is
    where Pillow begins to warn, the most is where it refuses."""
    decode: bool = False
    """Decode every pixel, which finds what neither the header nor the end of a file shows."""
    near: bool = False
    """Make a perceptual hash of every picture, and remark on those that look like an earlier one."""
    near_distance: int = Field(default=4, ge=0, le=8)
    """Bits of 64 in which two perceptual hashes may differ for that."""
    leave_out: frozenset[Remark] = frozenset()
    """Remarks that forbid use after all."""
    quarantine: bool = False
    """Also list in quarantine.txt everything that should be looked at or moved."""
    rows_per_part: int = Field(default=MOST_ROWS, ge=1, le=MOST_ROWS)
    """Rows in each part, which is one record batch."""

    @field_validator("stored_at")
    @classmethod
    def _is_store(cls, url: str | None) -> str | None:
        if url is not None and (wrong := wrong_with_url(url) if is_url(url) else f"{url!r} is no URL"):
            raise ValueError(wrong)
        return url


def rows_per_part(settings: Mapping[str, Any]) -> int:
    """What the settings in a manifest.json say of it."""
    rows = settings.get("rows_per_part")
    return rows if isinstance(rows, int) and 1 <= rows <= MOST_ROWS else MOST_ROWS
