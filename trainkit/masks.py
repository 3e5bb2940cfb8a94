"""Which part of a picture counts: a mask from its alpha channel or from a file beside it.

White counts, black does not. A mask is cut exactly as its picture is, then averaged over the pixels of each
latent pixel, so that it weights the loss there.
"""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from trainkit.buckets import Fit, Size
from trainkit.errors import PictureError
from trainkit.images import cut
from trainkit.mask_names import ENDINGS
from trainkit.place import Place

Masks = Literal["none", "alpha", "file"]


def mask_of(picture: Place, masks: Masks) -> Place | None:
    """Where the mask of a picture stands: in the picture itself, in a file beside it, or nowhere (all of it
    counts).

    A file beside it is looked for on a disk only. Raises PictureError for a picture in a tar or a store: what
    stands beside it is not known there.
    """
    if masks == "alpha":
        return picture
    if masks == "none":
        return None
    if picture.remote or picture.member:
        where = "a store" if picture.remote else "a tar"
        raise PictureError(
            picture.name,
            f'data.masks = "file" finds no masks in {where}; make them alpha channels of the pictures '
            '(data.masks = "alpha"), or unpack the pictures',
        )
    path = Path(picture.path)
    beside = (path.with_name(path.stem + ending) for ending in ENDINGS)
    return next((Place(str(path)) for path in beside if path.is_file()), None)


def fitting(mask: Image.Image, name: str, picture: str, size: Size) -> Image.Image:
    """The mask ``name`` of a picture of ``size``. Raises PictureError, which names the picture, when its
    aspect ratio is not the picture's (to within a pixel of the mask)."""
    (w, h), (mask_w, mask_h) = size, mask.size
    if abs(mask_w - mask_h * w / h) > 1 and abs(mask_h - mask_w * h / w) > 1:
        raise PictureError(
            picture,
            f"its mask {PurePath(name).name} is {mask_w}x{mask_h}, which is no scaled copy of {w}x{h}; draw "
            "it anew",
        )
    return mask


def latent_mask(mask: Image.Image, fit: Fit, factor: int, *, mirrored: bool, floor: float) -> Tensor:
    """How much each latent pixel counts: [1, h, w] in [floor, 1].

    ``factor`` is the number of picture pixels per latent pixel; what is black in the mask counts ``floor``.
    """
    seen = cut(mask, fit, Image.Resampling.BILINEAR, mirrored=mirrored)
    pixels = torch.from_numpy(np.array(seen, dtype=np.float32))[None] / 255
    return floor + (1 - floor) * torch.nn.functional.avg_pool2d(pixels, factor)
