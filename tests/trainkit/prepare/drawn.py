"""Pictures for the tests of prepare: drawn in memory, in every format."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SUFFIXES = {
    "JPEG": ".jpg",
    "PNG": ".png",
    "GIF": ".gif",
    "WEBP": ".webp",
    "BMP": ".bmp",
    "TIFF": ".tif",
    "AVIF": ".avif",
}


def drawn(width: int, height: int, seed: int = 0) -> Image.Image:
    """A few soft spots of colour."""
    rng = np.random.default_rng(seed)
    few = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(few).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, format: str, **more: Any) -> bytes:
    """The picture's file."""
    file = io.BytesIO()
    image.save(file, format, **more)
    return file.getvalue()


def put(folder: Path, name: str, data: bytes, tags: str = "fox, snow") -> Path:
    """A picture with a sidecar."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.with_suffix(".txt").write_text(tags, encoding="utf-8")
    return path


def put_many(folder: Path, count: int, *, first: int = 0) -> None:
    """So many different small JPEGs with different tags, in two folders."""
    for number in range(first, first + count):
        size = (300 + 10 * (number % 7), 300 + 20 * (number % 5))
        data = encoded(drawn(*size, seed=number), "JPEG", quality=60)
        put(folder, f"set{number % 2}/{number:04d}.jpg", data, f"fox, number {number}")
