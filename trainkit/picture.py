"""One picture of the data set: what is known about it, how it is read, and how much it counts."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from PIL import Image

from captionkit import CaptionPipeline, Record
from trainkit.buckets import Size
from trainkit.errors import PictureError
from trainkit.images import read_layers
from trainkit.masks import Masks, mask_of, read_mask
from trainkit.place import Place

WEIGHT_FACT = "loss_weight"
"""The fact of a record that says how much its picture counts."""

_MOST = 1_000_000
"""A picture that counts more is a mistake."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One usable picture: what is known about it, where it is, and how much it counts."""

    record: Record
    place: Place
    size: Size
    """Width and height in pixels, upright."""
    may_flip: bool
    """Whether any caption pipeline of the run may mirror it."""
    weight: float = 1.0
    """Factor on its loss, 0 or more."""
    mask: Place | None = None
    """Where its mask lies: a gray picture, or the picture itself, whose alpha channel is meant then. None
    when all of it counts."""


def load_layers(picture: Picture, ground: str) -> tuple[Image.Image, Image.Image | None]:
    """The decoded picture with transparency laid on ``ground``, and its mask (None: all of it counts).

    Raises PictureError when one of the two cannot be used, or when the picture's size is no longer the one
    that was planned with.
    """
    image, alpha = read_layers(Path(picture.place.path), ground)
    if image.size != picture.size:
        (w, h), (found_w, found_h) = picture.size, image.size
        raise PictureError(
            picture.place.name, f"the manifest says {w}x{h}, the file is {found_w}x{found_h}: prepare again"
        )
    return image, alpha if picture.mask == picture.place else load_mask(picture)


def load_image(picture: Picture, ground: str) -> Image.Image:
    """The decoded picture without its mask; raises PictureError as `load_layers` does."""
    return load_layers(replace(picture, mask=None), ground)[0]


def load_mask(picture: Picture) -> Image.Image | None:
    """The mask of a picture, None when all of it counts; raises PictureError when it cannot be used."""
    return None if picture.mask is None else read_mask(picture.mask, picture.place, picture.size)


@dataclass(frozen=True)
class Maker:
    """Makes a picture of a record and a size, by the settings of the run."""

    folder: Path
    pipelines: tuple[CaptionPipeline, ...]
    masks: Masks
    weights: tuple[tuple[str, float], ...]

    def __call__(self, record: Record, size: Size) -> Picture:
        """Raises PictureError when the record's ``loss_weight`` is none."""
        assert record.image is not None, "seen to before the size was known"
        place = Place(str(self.folder / record.image))
        may_flip = any(pipeline.may_flip(record) for pipeline in self.pipelines)
        return Picture(record, place, size, may_flip, self._weight(record), mask_of(place, self.masks))

    def _weight(self, record: Record) -> float:
        own = record.fact(WEIGHT_FACT)
        if own is None:
            own = 1.0
        if isinstance(own, bool | str) or not 0 <= own <= _MOST:  # NaN is not.
            where = str(self.folder / str(record.image))
            raise PictureError(where, f"{WEIGHT_FACT} is {own!r}, must be a number from 0 to {_MOST}")
        if not self.weights:
            return float(own)
        name = _relative(str(record.image), self.folder)
        return float(own) * math.prod(f for pattern, f in self.weights if fnmatchcase(name, pattern))


def _relative(image: str, folder: Path) -> str:
    """A picture's path as the patterns of ``data.weights`` see it: relative to the data folder, with "/"."""
    if os.path.isabs(image):
        path, base = Path(image), folder.absolute()
        return (path.relative_to(base) if path.is_relative_to(base) else path).as_posix()
    return image.replace(os.sep, "/")


def idle_patterns(weights: Mapping[str, float], images: Iterable[str], folder: Path) -> tuple[str, ...]:
    """A note for every pattern of ``data.weights`` that matches none of the pictures."""
    idle = set(weights)
    for image in images if idle else ():
        name = _relative(image, folder)
        idle = {pattern for pattern in idle if not fnmatchcase(name, pattern)}
        if not idle:
            break
    return tuple(f"data.weights: {pattern!r} matches no picture" for pattern in weights if pattern in idle)
