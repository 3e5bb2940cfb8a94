"""A pixel rule that tells which of the known colours a sampled scene shows.

Every pixel is given to the nearest of all figure and ground colours in CIELAB; the figure colour with most
pixels is what the picture shows. How often the rule is right on the data set's own pictures of one figure is
measured in every run and stands on the demo's page; chance is one in eight.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainkit.demo.scenes import FIGURE_COLOURS, GROUND_COLOURS
from trainkit.probe import lightness

LEAST_AREA = 0.01
"""A figure smaller than this share of the picture does not count; the smallest drawn one covers 2 %."""
FARTHEST = 40.0
"""Pixels farther than this from every known colour (Delta E 76) belong to none."""


def shown_colour(image: Image.Image) -> str | None:
    """The figure colour a picture shows, or None when it shows none."""
    names = [*FIGURE_COLOURS, *GROUND_COLOURS]
    palette = np.array([*FIGURE_COLOURS.values(), *GROUND_COLOURS.values()], dtype=np.float64)
    pixels = np.asarray(image.convert("RGB"), dtype=np.float64).reshape(-1, 3)
    distance = np.linalg.norm(to_lab(pixels)[:, None, :] - to_lab(palette)[None, :, :], axis=-1)
    nearest = np.where(distance.min(axis=1) <= FARTHEST, distance.argmin(axis=1), -1)
    counts = np.bincount(nearest[nearest >= 0], minlength=len(names))[: len(FIGURE_COLOURS)]
    if counts.max() < LEAST_AREA * len(pixels):
        return None
    return names[int(counts.argmax())]


def luminance(image: Image.Image) -> float:
    """Mean CIELAB lightness of the picture's border (an eighth of each side): 0 black, 100 white."""
    L = lightness(image)
    h, w = L.shape
    border = np.ones_like(L, dtype=bool)
    border[h // 8 : -(h // 8), w // 8 : -(w // 8)] = False
    return float(L[border].mean())


def to_lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """sRGB in 0..255, shape [N, 3], to CIELAB under D65 (IEC 61966-2-1 and CIE 15)."""
    c = rgb / 255.0
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    xyz = linear @ to_xyz.T / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    lab: NDArray[np.float64] = np.stack(
        [116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=-1
    )
    return lab
