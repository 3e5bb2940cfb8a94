"""A hash of 64 bits that is nearly the same for pictures that look nearly the same."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps

from captionkit.pictures import KINDS

_DRAFT = (64, 64)
"""JPEG is decoded no larger than it takes to have so many pixels: an eighth of each side at the smallest."""


def perceptual_hash(data: bytes) -> int:
    """The pHash of imagehash: which of the 64 lowest frequencies of the gray picture are above their median.

    The first frame, upright, transparency laid on white. Raises what decoders raise.
    """
    import imagehash

    with Image.open(io.BytesIO(data), formats=KINDS) as opened:
        opened.draft("RGB", _DRAFT)
        image = ImageOps.exif_transpose(opened)
        if image.has_transparency_data:
            layer = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
        bits = imagehash.phash(image.convert("RGB")).hash
    return int.from_bytes(np.packbits(bits).tobytes())
