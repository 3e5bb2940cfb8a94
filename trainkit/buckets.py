"""Aspect-ratio buckets: the few shapes in which pictures are trained, and which picture goes where.

A picture resized to cover a bucket of another aspect ratio loses 1 - exp(-|ln a - ln b|) of its area to the
crop, so the bucket with the nearest *logarithm* of the aspect ratio is exactly the one that loses least. All
sizes are (width, height) in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from trainkit.merged import Merged

Size = tuple[int, int]

MULTIPLE = 8
"""A latent pixel is 8 picture pixels wide; buckets are multiples of it."""

_TIE = 1e-8
"""Closer than this to the middle between two buckets, in logarithms, `nearest_bucket` may see a tie (it
rounds at 1e-9)."""

_AT_ONCE = 1 << 18
"""Pictures that are placed in one go, so that millions need no memory to speak of."""


class BucketConfig(BaseModel):
    """The shapes pictures are trained in. The defaults are the hyperfusion recipe's first phase."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    resolution: int = Field(default=768, ge=16)
    """The area of a bucket is at most resolution x resolution pixels."""
    max_side: int | None = Field(default=None, ge=16)
    """Longest side in pixels; None means twice the resolution. With resolution 1024 and max_side 1024 every
    bucket that is not square wastes area (72 % used on average), so a warning is given when less than 90 % is
    used."""
    min_side: int | None = Field(default=None, ge=16)
    """Shortest side in pixels; None means half the resolution."""
    step: int = Field(default=32, ge=8)
    """Sides are multiples of this many pixels; itself a multiple of 8. 32 halves the crop loss of 64."""
    no_upscale: bool = False
    """Never enlarge: a picture that is smaller than its bucket goes to one of about its aspect of 7/8, 6/8
    and so on of the resolution, down to ``min_side``. Set that lower than its default then: what is smaller
    than every bucket is enlarged all the same."""
    min_pictures: int = Field(default=0, ge=0)
    """A bucket with fewer pictures is given up, and each of them goes to the nearest of those that stay;
    `check` says which, and what it costs. 0 keeps all: a bucket that is smaller than a batch waits some
    passes for it."""

    @model_validator(mode="after")
    def _sides_fit(self) -> Self:
        if self.step % MULTIPLE:
            raise ValueError(f"step is {self.step}, must be a multiple of {MULTIPLE} (one latent pixel)")
        if self.resolution % self.step:
            raise ValueError(f"resolution is {self.resolution}, must be a multiple of step ({self.step})")
        if self.longest < self.resolution or self.shortest > self.resolution:
            raise ValueError(
                f"resolution is {self.resolution}, must lie between min_side ({self.shortest}) and max_side "
                f"({self.longest})"
            )
        return self

    @property
    def longest(self) -> int:
        """Longest side, the default filled in."""
        return self.max_side if self.max_side is not None else 2 * self.resolution

    @property
    def shortest(self) -> int:
        """Shortest side, the default filled in."""
        return self.min_side if self.min_side is not None else max(self.step, self.resolution // 2)


@dataclass(frozen=True, slots=True)
class Fit:
    """How a picture is brought into its bucket: resized to cover, then cropped in the middle."""

    bucket: Size
    resized: Size
    """The size after resizing; each side at least the bucket's."""
    crop: Size
    """Left and top offset of the bucket inside the resized picture."""

    @property
    def kept(self) -> float:
        """Share of the picture's area that survives the crop, in (0, 1]."""
        return (self.bucket[0] * self.bucket[1]) / (self.resized[0] * self.resized[1])


def make_buckets(config: BucketConfig) -> tuple[Size, ...]:
    """All buckets, narrow to wide: for each width the greatest height within the area, and the same
    transposed; with ``no_upscale`` those of every scale."""
    found = {bucket for level in bucket_levels(config) for bucket in level}
    return tuple(sorted(found, key=lambda size: (size[0] / size[1], size)))


def bucket_levels(config: BucketConfig) -> tuple[tuple[Size, ...], ...]:
    """The buckets of every scale, from the resolution itself down; one scale without ``no_upscale``."""
    step = config.step
    scales = [config.resolution]
    if config.no_upscale:
        scales += [config.resolution * part // 8 // step * step for part in range(7, 0, -1)]
    scales = [side for side in dict.fromkeys(scales) if side >= max(step, config.shortest)]
    return tuple(_level(config, side) for side in scales)


def _level(config: BucketConfig, resolution: int) -> tuple[Size, ...]:
    area, step = resolution**2, config.step
    low, high = -(-config.shortest // step) * step, config.longest // step * step
    found = {(resolution, resolution)}
    for side in range(low, high + 1, step):
        other = min(high, area // side // step * step)
        if other >= low:
            found |= {(side, other), (other, side)}
    return tuple(sorted(found, key=lambda size: (size[0] / size[1], size)))


def nearest_bucket(size: Size, buckets: Sequence[Size], *, smallest: bool = False) -> Size:
    """The bucket that crops least. Ties go to the larger area, so that no shape wins by the order of a list,
    or to the smaller one."""
    ratio, sign = math.log(size[0] / size[1]), 1 if smallest else -1
    return min(buckets, key=lambda b: (round(abs(math.log(b[0] / b[1]) - ratio), 9), sign * b[0] * b[1], b))


def bucket_of(size: Size, config: BucketConfig) -> Size:
    """The bucket of a picture.

    With ``no_upscale`` that of the largest scale at which the nearest one is within the picture. Where there
    is none, the picture is enlarged as little as its aspect allows.
    """
    levels = bucket_levels(config)
    for level in levels:
        bucket = nearest_bucket(size, level)
        if not config.no_upscale or (bucket[0] <= size[0] and bucket[1] <= size[1]):
            return bucket
    return nearest_bucket(size, make_buckets(config), smallest=True)


def fit(size: Size, bucket: Size) -> Fit:
    """Resize to cover the bucket, crop the middle."""
    scale = max(bucket[0] / size[0], bucket[1] / size[1])
    resized = (max(bucket[0], round(size[0] * scale)), max(bucket[1], round(size[1] * scale)))
    return Fit(bucket, resized, ((resized[0] - bucket[0]) // 2, (resized[1] - bucket[1]) // 2))


@dataclass(frozen=True)
class Placement:
    """Which picture goes into which bucket, and what that costs."""

    buckets: tuple[Size, ...]
    """All buckets, as `make_buckets` orders them; some may be empty."""
    index: NDArray[np.uint16]
    """[N]: the place in ``buckets`` of every picture's bucket."""
    enlarged: int
    """How many pictures are smaller than their bucket and are enlarged."""
    kept: float
    """Mean share of a picture's area that survives the crop, in (0, 1]; 1 for no pictures."""
    used: float
    """Mean area of the chosen buckets as a share of resolution x resolution; 1 for no pictures."""
    merged: tuple[Merged, ...] = ()
    """Buckets that were given up."""

    def bucket(self, picture: int) -> Size:
        """The bucket of one picture."""
        return self.buckets[int(self.index[picture])]

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many pictures each bucket holds, in the order of ``buckets``."""
        return np.bincount(self.index, minlength=len(self.buckets))


def place(sizes: NDArray[np.int32], config: BucketConfig) -> Placement:
    """The bucket of every picture, as `bucket_of` and `fit` answer for each alone, all at once.

    ``sizes`` is [N, 2], width and height; 3.3 million take a second. No bucket is given up: see
    `trainkit.merging`.
    """
    buckets, levels = make_buckets(config), bucket_levels(config)
    index = np.zeros(len(sizes), dtype=np.uint16)
    for part in _parts(len(sizes)):
        index[part] = _choose(sizes[part], buckets, levels, config.no_upscale)
    return measured(sizes, config, buckets, index)


def measured(
    sizes: NDArray[np.int32],
    config: BucketConfig,
    buckets: tuple[Size, ...],
    index: NDArray[np.uint16],
    merged: tuple[Merged, ...] = (),
) -> Placement:
    """What it costs that pictures are where they are."""
    enlarged, kept, used = 0, 0.0, 0.0
    for part in _parts(len(sizes)):
        chosen = np.array(buckets, dtype=np.float64)[index[part]]
        resized = _resized(sizes[part], chosen)
        enlarged += int((resized[:, 0] > sizes[part, 0]).sum())
        areas = _areas(chosen)
        kept += float((areas / _areas(resized)).sum())
        used += float(areas.sum())
    count = len(sizes)
    return Placement(
        buckets,
        index,
        enlarged,
        kept=kept / count if count else 1.0,
        used=used / count / config.resolution**2 if count else 1.0,
        merged=merged,
    )


def kept_shares(sizes: NDArray[np.int32], buckets: NDArray[np.float64]) -> NDArray[np.float64]:
    """[N]: the share of each picture's area that survives the crop to its bucket; both are [N, 2]."""
    return _areas(buckets) / _areas(_resized(sizes, buckets))


def _parts(count: int) -> list[slice]:
    return [slice(first, first + _AT_ONCE) for first in range(0, count, _AT_ONCE)]


def _resized(sizes: NDArray[np.int32], buckets: NDArray[np.float64]) -> NDArray[np.float64]:
    """[N, 2]: the sizes to which pictures are resized to cover their buckets."""
    # Column by column: numpy is slow over an axis of two.
    scale = np.maximum(buckets[:, 0] / sizes[:, 0], buckets[:, 1] / sizes[:, 1])[:, None]
    # As Python's round: halves go to the even number.
    resized: NDArray[np.float64] = np.maximum(buckets, np.rint(sizes * scale))
    return resized


def _areas(sides: NDArray[np.float64]) -> NDArray[np.float64]:
    areas: NDArray[np.float64] = sides[:, 0] * sides[:, 1]
    return areas


def _choose(
    sizes: NDArray[np.int32], buckets: tuple[Size, ...], levels: Sequence[Sequence[Size]], no_upscale: bool
) -> NDArray[np.uint16]:
    """Each size's place in ``buckets``."""
    place_of = {bucket: i for i, bucket in enumerate(buckets)}
    index = _nearest(sizes, levels[0], place_of)
    if not no_upscale:
        return index
    table = np.array(buckets, dtype=np.int32)
    small = np.flatnonzero((table[index] > sizes).any(axis=1))
    for level in levels[1:]:
        found = _nearest(sizes[small], level, place_of)
        fits = (table[found] <= sizes[small]).all(axis=1)
        index[small[fits]] = found[fits]
        small = small[~fits]
    index[small] = _nearest(sizes[small], buckets, place_of, smallest=True)
    return index


def _nearest(
    sizes: NDArray[np.int32], buckets: Sequence[Size], place_of: dict[Size, int], *, smallest: bool = False
) -> NDArray[np.uint16]:
    """The place of each size's nearest bucket. Between two neighbouring ratios the middle of their logarithms
    decides; so near to a middle that `nearest_bucket` sees a tie, it is asked itself."""
    best: dict[float, Size] = {}
    better = min if smallest else max
    for bucket in buckets:  # Of buckets of one ratio one always wins.
        ratio = math.log(bucket[0] / bucket[1])
        best[ratio] = better(best.get(ratio, bucket), bucket, key=lambda b: b[0] * b[1])
    ratios = np.array(sorted(best))
    places = np.array([place_of[best[ratio]] for ratio in sorted(best)], dtype=np.uint16)
    middles = (ratios[1:] + ratios[:-1]) / 2
    logs = np.log(sizes[:, 0] / sizes[:, 1])
    above = np.searchsorted(middles, logs)
    index: NDArray[np.uint16] = places[above]
    if len(middles):
        near = np.minimum(
            np.abs(logs - middles[np.maximum(above - 1, 0)]),
            np.abs(logs - middles[np.minimum(above, len(middles) - 1)]),
        )
        tied = np.flatnonzero(near < _TIE)
        shapes, which = np.unique(sizes[tied], axis=0, return_inverse=True)
        answers = [place_of[nearest_bucket((int(w), int(h)), buckets, smallest=smallest)] for w, h in shapes]
        index[tied] = np.array(answers, dtype=np.uint16)[which.reshape(-1)]
    return index
