"""From a picture to what a network takes: float32 [3, S, S], sRGB, normalised by the backbone's mean and
deviation."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Fit: TypeAlias = Literal["pad", "squash", "crop"]
"""How a picture becomes square. pad: shrunk whole, the rest filled with white; squash: its sides are scaled
by themselves; crop: its middle."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
GROUND = (255, 255, 255)
"""What is beside a picture that is padded or moved."""


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a network's pictures are made."""

    size: int
    """Width and height in pixels."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Of each channel, of 0 to 1."""
    std: tuple[float, float, float] = IMAGENET_STD
    fit: Fit = "pad"

    def square(self, image: Image.Image, size: int | None = None) -> Image.Image:
        """The picture as a square of RGB, the network's size or another."""
        side = size or self.size
        image = image if image.mode == "RGB" else image.convert("RGB")
        w, h = image.size
        if self.fit == "squash" or w == h:
            return image if (w, h) == (side, side) else image.resize((side, side), _HOW)
        if self.fit == "crop":
            short = min(w, h)
            left, top = (w - short) // 2, (h - short) // 2
            return image.resize((side, side), _HOW, (left, top, left + short, top + short))
        scale = side / max(w, h)
        inner = (max(1, round(w * scale)), max(1, round(h * scale)))
        whole = Image.new("RGB", (side, side), GROUND)
        whole.paste(image.resize(inner, _HOW), ((side - inner[0]) // 2, (side - inner[1]) // 2))
        return whole

    def array(self, square: Image.Image) -> NDArray[np.float32]:
        """A square of the network's size, [3, S, S], normalised."""
        pixels = np.asarray(square, dtype=np.float32) / np.float32(255)
        normal = (pixels - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return np.ascontiguousarray(normal.transpose(2, 0, 1))

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        """A picture of any size, [3, S, S], normalised."""
        return self.array(self.square(image))

    def describe(self) -> dict[str, Any]:
        """As tagger.json has it."""
        return asdict(self)


_HOW = Image.Resampling.BICUBIC


def preprocessing_of(told: dict[str, Any]) -> Preprocessing:
    """What `Preprocessing.describe` told. Raises KeyError, TypeError or ValueError for what it did not."""
    mean, std = (_three(told[name]) for name in ("mean", "std"))
    size, fit = told["size"], told["fit"]
    if not isinstance(size, int) or not 1 <= size <= 4096:
        raise ValueError(f"size is {size!r}, must be pixels from 1 to 4096")
    if fit not in ("pad", "squash", "crop"):
        raise ValueError(f"fit is {fit!r}, must be pad, squash or crop")
    if min(std) <= 0:
        raise ValueError(f"std is {std!r}, must be over 0")
    return Preprocessing(size, mean, std, fit)


def _three(values: Any) -> tuple[float, float, float]:
    r, g, b = (float(value) for value in values)
    if not np.isfinite([r, g, b]).all():
        raise ValueError(f"{values!r} must be finite")
    return r, g, b
