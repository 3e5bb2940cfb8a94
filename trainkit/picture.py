"""One picture of the data set: what is known about it, how it is read, and how much it counts."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from PIL import Image

from captionkit import CaptionPipeline, Record
from trainkit.buckets import Size
from trainkit.errors import PictureError
from trainkit.images import PROBABLE_BOMB, decode, decode_gray
from trainkit.masks import Masks, fitting, mask_of
from trainkit.place import Place
from trainkit.store.store import Store

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


@dataclass(frozen=True)
class PictureReader:
    """Fetches pictures and decodes them, by the settings of the run."""

    store: Store
    transparent_as: str = "white"
    """Colour that shows through transparent parts."""
    max_pixels: int = PROBABLE_BOMB

    def fetch(self, pictures: Iterable[Picture]) -> Iterator[bytes | PictureError]:
        """The bytes of pictures in order, or what is wrong with each, as `Store.fetch`; for the methods that
        take ``data``."""
        return self.store.fetch(picture.place for picture in pictures)

    def layers(self, picture: Picture, data: bytes | None = None) -> tuple[Image.Image, Image.Image | None]:
        """The decoded picture with transparency laid on its ground, and its mask (None: all of it counts).

        ``data`` are its bytes, where they are at hand. Raises PictureError when one of the two cannot be
        used, or when the picture's size is no longer the one that was planned with; StoreError as the store.
        """
        image, alpha = self._decoded(picture.place, data)
        if image.size != picture.size:
            (w, h), (found_w, found_h) = picture.size, image.size
            raise PictureError(
                picture.place.name,
                f"the manifest says {w}x{h}, the file is {found_w}x{found_h}: prepare again",
            )
        return image, alpha if picture.mask == picture.place else self.mask(picture)

    def image(self, picture: Picture, data: bytes | None = None) -> Image.Image:
        """The decoded picture without its mask; raises PictureError as `layers` does."""
        return self.layers(replace(picture, mask=None), data)[0]

    def mask(self, picture: Picture, data: bytes | None = None) -> Image.Image | None:
        """The mask of a picture, None when all of it counts; raises PictureError when it cannot be used."""
        mask = picture.mask
        if mask is None:
            return None
        if mask == picture.place:
            return self._decoded(mask, data)[1]
        gray = decode_gray(self.store.read(mask), mask.name, self.max_pixels)
        return fitting(gray, mask.name, picture.place.name, picture.size)

    def size(self, place: Place) -> Size:
        """(width, height), upright; every pixel is decoded, so that what cannot be read is found now."""
        return self._decoded(place)[0].size

    def _decoded(self, place: Place, data: bytes | None = None) -> tuple[Image.Image, Image.Image | None]:
        data = self.store.read(place) if data is None else data
        return decode(data, place.name, self.transparent_as, self.max_pixels)


@dataclass(frozen=True)
class Maker:
    """Makes a picture of a record and a size, by the settings of the run."""

    folder: Path
    """The data folder, or that of the table."""
    pipelines: tuple[CaptionPipeline, ...]
    masks: Masks
    weights: tuple[tuple[str, float], ...]

    def __call__(self, record: Record, size: Size, place: Place) -> Picture:
        """Raises PictureError when the record's ``loss_weight`` is none, or its mask cannot be found."""
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
        name = relative_path(str(record.image), self.folder)
        return float(own) * math.prod(f for pattern, f in self.weights if fnmatchcase(name, pattern))


def relative_path(image: str, folder: Path) -> str:
    """A picture's path as the patterns of ``data.weights`` see it: relative to the data folder, with "/"."""
    if os.path.isabs(image):
        path, base = Path(image), folder.absolute()
        return (path.relative_to(base) if path.is_relative_to(base) else path).as_posix()
    return image.replace(os.sep, "/")


def idle_patterns(weights: Mapping[str, float], images: Iterable[str], folder: Path) -> tuple[str, ...]:
    """A note for every pattern of ``data.weights`` that matches none of the pictures."""
    idle = set(weights)
    for image in images if idle else ():
        name = relative_path(image, folder)
        idle = {pattern for pattern in idle if not fnmatchcase(name, pattern)}
        if not idle:
            break
    return tuple(f"data.weights: {pattern!r} matches no picture" for pattern in weights if pattern in idle)
