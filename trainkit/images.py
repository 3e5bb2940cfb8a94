"""From a picture's bytes to the pixels of its bucket.

Pictures are float32 tensors [3, H, W] in [-1, 1], sRGB, as every Stable Diffusion VAE expects them.
"""

from __future__ import annotations

import functools
import io
import warnings

import numpy as np
import torch
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError
from torch import Tensor

from trainkit.buckets import Fit
from trainkit.errors import PictureError
from trainkit.gif_comments import too_many_comments

MAX_PIXELS = 178_956_970
"""The most pixels of a picture that Pillow decodes at all."""
PROBABLE_BOMB = MAX_PIXELS // 2
"""More pixels Pillow takes for a probable bomb."""

# Pillow warns of pictures over 89 million pixels; ``max_pixels`` decides here instead.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)

_FORMATS = frozenset(
    {
        *("AVIF", "BMP", "DIB", "GIF", "HEIF", "ICO", "JPEG", "JPEG2000", "JXL", "MPO", "PCX", "PNG", "PPM"),
        *("QOI", "SGI", "TGA", "TIFF", "WEBP"),
    }
)
"""Formats that are decoded, where Pillow or a plug-in of it knows them. Of the others some start programs
(EPS: Ghostscript), some read further files."""


def decode(
    data: bytes, name: str, ground: str = "white", max_pixels: int = PROBABLE_BOMB
) -> tuple[Image.Image, Image.Image | None]:
    """A picture upright by its EXIF orientation, transparency laid on ``ground``, mode RGB; and its alpha
    channel (mode L, 255 is opaque), None when it has none. Of an animation the first picture.

    Raises PictureError, which calls it ``name``, when any part of it cannot be decoded, and when it has more
    than ``max_pixels``, before they are decoded.
    """
    if too_many_comments(data):
        raise PictureError(name, "its comments are in too many pieces; save it without them")
    try:
        with Image.open(io.BytesIO(data), formats=_formats()) as opened:
            if (pixels := opened.width * opened.height) > max_pixels:
                size = f"{opened.width}x{opened.height}"
                raise PictureError(name, _too_many(f"{size} are {pixels:,} pixels", max_pixels))
            opened.load()
            ImageOps.exif_transpose(opened, in_place=True)
            return _on_ground(_eight_bits(opened), ground)
    except PictureError:
        raise
    except Image.DecompressionBombError as error:
        raise PictureError(name, _too_many(str(error).partition(", could")[0], max_pixels)) from error
    except UnidentifiedImageError as error:
        reason = "is not a picture that Pillow can read" if data else "the file is empty"
        raise PictureError(name, reason) from error
    except Exception as error:  # Decoders of hostile bytes raise everything, warnings that are errors too.
        raise PictureError(name, f"cannot be decoded ({error or type(error).__name__})") from error


def _on_ground(image: Image.Image, ground: str) -> tuple[Image.Image, Image.Image | None]:
    """A picture without transparency in RGB, and its alpha channel. No copy is made that can be spared:
    three at most of four bytes a pixel are in memory."""
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB"), None
    layer = image if image.mode == "RGBA" else image.convert("RGBA")
    alpha = layer.getchannel("A")
    laid = Image.alpha_composite(Image.new("RGBA", layer.size, ImageColor.getcolor(ground, "RGBA")), layer)
    return laid.convert("RGB"), alpha


def decode_gray(data: bytes, name: str, max_pixels: int = PROBABLE_BOMB) -> Image.Image:
    """A picture as gray, upright, mode L; raises PictureError as `decode` does."""
    return decode(data, name, "black", max_pixels)[0].convert("L")


@functools.cache
def _formats() -> list[str]:
    Image.init()
    return sorted(_FORMATS & set(Image.OPEN))


def _too_many(found: str, max_pixels: int) -> str:
    return f"{found}, more than data.max_pixels allows ({max_pixels:,}); make it smaller"


def _eight_bits(image: Image.Image) -> Image.Image:
    """A gray picture of 16 bits as one of 8; Pillow's own conversion cuts all values over 255 to white."""
    if image.mode == "F":
        raise ValueError("pixels are floating-point numbers of unknown range; save it with 8 or 16 bits")
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))


def to_bucket(image: Image.Image, fit: Fit, *, mirrored: bool = False) -> Tensor:
    """Resize to cover the bucket, crop the middle, mirror if told so: [3, H, W] in [-1, 1]."""
    return to_tensor(cut(image, fit, Image.Resampling.LANCZOS, mirrored=mirrored))


def cut(image: Image.Image, fit: Fit, how: Image.Resampling, *, mirrored: bool) -> Image.Image:
    """Resize to cover the bucket, crop the middle, mirror if told so."""
    if image.size != fit.resized:
        image = image.resize(fit.resized, how)
    left, top = fit.crop
    image = image.crop((left, top, left + fit.bucket[0], top + fit.bucket[1]))
    return ImageOps.mirror(image) if mirrored else image


def to_tensor(image: Image.Image) -> Tensor:
    """RGB picture to [3, H, W] in [-1, 1]."""
    return torch.from_numpy(np.array(image, dtype=np.float32)).permute(2, 0, 1).contiguous() / 127.5 - 1.0


def to_image(pixels: Tensor) -> Image.Image:
    """[3, H, W] in [-1, 1] back to an RGB picture."""
    array = ((pixels.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(array)
