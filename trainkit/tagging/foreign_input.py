"""How a tagger of others wants its pictures: size, order of channels, range of values.

Pictures come as RGB with 8 bits a channel. What `prepare` gives is float32, [H, W, 3] or [3, H, W].
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, model_validator

MOST_SIDE = 4096
_RESAMPLE = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

Resample = Literal["nearest", "bilinear", "bicubic", "lanczos"]


class InputConfig(BaseModel):
    """What is done to a picture before the network sees it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    size: int | None = Field(default=None, ge=8, le=MOST_SIDE)
    """Side of the square that the network takes, pixels; None takes it from the model."""
    layout: Literal["NHWC", "NCHW"] | None = None
    """Where the channels stand; None takes it from the model's shape."""
    channels: Literal["RGB", "BGR"] = "RGB"
    """Their order."""
    fit: Literal["pad", "stretch", "crop"] = "pad"
    """How a picture becomes a square: whole, with ``ground`` beside it; stretched; or its middle."""
    ground: tuple[int, int, int] = (255, 255, 255)
    """The colour of what is added to make it square: red, green, blue, 0 to 255."""
    resample: Resample = "bicubic"
    """How it is made smaller or larger."""
    scale: float = Field(default=255.0, gt=0.0, le=65535.0)
    """Values from 0 to 255 are divided by this; 1 leaves them as they are."""
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Taken off after that, for red, green and blue."""
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """What is left is divided by these."""

    @model_validator(mode="after")
    def _can_be(self) -> Self:
        if min(self.std) <= 0:
            raise ValueError(f"std is {self.std}, each must be above 0")
        if not all(0 <= value <= 255 for value in self.ground):
            raise ValueError(f"ground is {self.ground}, each must be from 0 to 255")
        return self

    def prepare(self, image: Image.Image, size: int, layout: Literal["NHWC", "NCHW"]) -> NDArray[np.float32]:
        """A picture (RGB) as the network takes it."""
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        pixels = np.asarray(self._square(image, size), dtype=np.float32) / np.float32(self.scale)
        if mean.any() or (std != 1).any():
            pixels -= mean
            pixels /= std
        if self.channels == "BGR":
            pixels = pixels[:, :, ::-1]
        if layout == "NCHW":
            pixels = pixels.transpose(2, 0, 1)
        return np.ascontiguousarray(pixels, dtype=np.float32)

    def _square(self, image: Image.Image, size: int) -> Image.Image:
        resample, (width, height) = _RESAMPLE[self.resample], image.size
        if self.fit == "stretch" or width == height:
            return image if image.size == (size, size) else image.resize((size, size), resample)
        if self.fit == "crop":
            side = min(width, height)
            left, top = (width - side) / 2, (height - side) / 2
            return image.resize((size, size), resample, box=(left, top, left + side, top + side))
        # Made small first: the square of a long strip could be a hundred times its size.
        factor = size / max(width, height)
        small = (max(1, round(width * factor)), max(1, round(height * factor)))
        square = Image.new("RGB", (size, size), self.ground)
        square.paste(image.resize(small, resample), ((size - small[0]) // 2, (size - small[1]) // 2))
        return square


WD = InputConfig(channels="BGR", scale=1.0)
"""Of the WD taggers' ONNX files and those that were exported like them: BGR from 0 to 255, NHWC, on white."""
JTP = InputConfig(ground=(128, 128, 128), resample="lanczos", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
"""Of JTP PILOT and PILOT2: RGB from -1 to 1, on gray."""
WD_TIMM = InputConfig(channels="BGR", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
"""Of the WD taggers' safetensors files: BGR from -1 to 1, on white."""


def from_timm(config: Mapping[str, Any]) -> InputConfig | None:
    """What the ``config.json`` of a timm model says (``pretrained_cfg``); None when it says nothing of it."""
    told = config.get("pretrained_cfg")
    if not isinstance(told, dict) or not _three(told.get("mean")) or not _three(told.get("std")):
        return None
    shape = told.get("input_size")
    size = shape[-1] if isinstance(shape, list) and shape and isinstance(shape[-1], int) else None
    interpolation = told.get("interpolation")
    return InputConfig(
        size=size,
        resample=interpolation if interpolation in _RESAMPLE else "bicubic",
        mean=tuple(told["mean"]),
        std=tuple(told["std"]),
    )


def _three(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in value)
    )
