"""Small changes of a picture that leave its tags true, drawn anew in each epoch.

A draw is a function of (seed, record, epoch, draw), whatever process makes it. A picture is mirrored only
where the flip rules of a caption recipe allow its record, and a mirrored one says nothing of labels that know
left from right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from captionkit import PatternList
from trainkit.draws import derived_seed
from trainkit.tagging.preprocess import GROUND


def _low_to_high(pair: tuple[float, float]) -> tuple[float, float]:
    if not 0 < pair[0] <= pair[1] <= 4:
        raise ValueError(f"is {list(pair)!r}, must be [low, high], both over 0 and at most 4")
    return pair


class AugmentConfig(BaseModel):
    """How far pictures are changed. All zero and one: not at all."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    flip: float = Field(default=0.5, ge=0, le=1)
    """How often a picture is mirrored whose record allows it; 0 never."""
    recipe: str | dict[str, Any] = "hyperfusion"
    """Whose flip rules hold: a preset of captionkit, a recipe file or a recipe. Take the one that the images
    are trained with."""
    sided: PatternList = ("*left*", "*right*")
    """Labels that match, or match a ``no_flip`` pattern of the recipe, know left from right: a mirrored
    picture teaches nothing about them."""
    scale_range: Annotated[tuple[float, float], AfterValidator(_low_to_high)] = (0.85, 1.1)
    """The picture is drawn smaller or larger by a factor between these; what lies outside is cut."""
    aspect: float = Field(default=1.1, ge=1, le=2)
    """Width to height changes by at most this factor, either way."""
    shift: float = Field(default=0.08, ge=0, le=0.5)
    """The picture moves by at most this share of its side, either way."""
    rotate: float = Field(default=0.0, ge=0, le=180)
    """Degrees by which it turns at most, either way."""
    brightness: float = Field(default=0.15, ge=0, le=1)
    """Factor on all channels: 1 plus or minus this."""
    contrast: float = Field(default=0.15, ge=0, le=1)
    """Distance from the picture's mean, times 1 plus or minus this."""
    saturation: float = Field(default=0.15, ge=0, le=1)
    """Distance from gray, times 1 plus or minus this. Keep it small where tags name colours."""
    cutout: float = Field(default=0.0, ge=0, le=0.6)
    """Side of a square that is filled with gray, as a share of the picture's, at most (random erasing)."""


@dataclass(frozen=True)
class Augmentation:
    """Makes the network's square of a picture's square."""

    config: AugmentConfig
    seed: int
    size: int
    """Side of what comes out, in pixels."""

    def mirrored(self, key: int, epoch: int, draw: int) -> bool:
        """Whether a picture that may be mirrored is."""
        return bool(self._generator("mirror", key, epoch, draw).random() < self.config.flip)

    def __call__(
        self, square: Image.Image, key: int, epoch: int, draw: int, *, mirrored: bool
    ) -> Image.Image:
        """One draw of a picture, ``key`` being that of its record's id."""
        rng = self._generator("augment", key, epoch, draw)
        moved = self._moved(square, rng, mirrored)
        return Image.fromarray(self._coloured(np.asarray(moved, dtype=np.float32), rng))

    def _generator(self, purpose: str, key: int, epoch: int, draw: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(derived_seed(self.seed, purpose, key, epoch, draw)))

    def _moved(self, square: Image.Image, rng: np.random.Generator, mirrored: bool) -> Image.Image:
        """Scaled, turned, moved and mirrored, in one pass over the pixels."""
        config = self.config
        low, high = config.scale_range
        scale = np.exp(rng.uniform(np.log(low), np.log(high)))
        aspect = np.exp(rng.uniform(-1, 1) * np.log(config.aspect) / 2)
        angle = np.deg2rad(rng.uniform(-config.rotate, config.rotate))
        shift = rng.uniform(-config.shift, config.shift, 2) * square.width
        # From a pixel of the new picture back to one of the old one, both measured from the middle.
        ratio = square.width / self.size
        x, y = ratio / (scale * aspect), ratio / (scale / aspect)
        cos, sin = np.cos(angle), np.sin(angle)
        a, b, d, e = x * cos, -y * sin, x * sin, y * cos
        if mirrored:
            a, d = -a, -d
        middle, old = self.size / 2, square.width / 2
        c = old + shift[0] - (a + b) * middle
        f = old + shift[1] - (d + e) * middle
        return square.transform(
            (self.size, self.size),
            Image.Transform.AFFINE,
            (a, b, c, d, e, f),
            Image.Resampling.BICUBIC,
            fillcolor=GROUND,
        )

    def _coloured(self, pixels: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.uint8]:
        config = self.config
        brightness, contrast, saturation = (
            np.float32(1 + rng.uniform(-width, width))
            for width in (config.brightness, config.contrast, config.saturation)
        )
        gray = pixels @ np.array([0.299, 0.587, 0.114], np.float32)
        pixels = gray[..., None] + (pixels - gray[..., None]) * saturation
        pixels = (gray.mean() + (pixels - gray.mean()) * contrast) * brightness
        if config.cutout:
            side = int(self.size * rng.uniform(0, config.cutout))
            left, top = rng.integers(0, self.size - side + 1, 2)
            pixels[top : top + side, left : left + side] = 127
        return np.asarray(pixels.clip(0, 255).round(), dtype=np.uint8)
