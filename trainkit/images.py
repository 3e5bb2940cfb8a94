"""From a picture file to the pixels of its bucket.

Pictures are float32 tensors [3, H, W] in [-1, 1], sRGB, as every Stable Diffusion VAE expects them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError
from torch import Tensor

from trainkit.buckets import Fit, Size
from trainkit.errors import PictureError

_WAYS_TO_FAIL = (
    *(OSError, ValueError, SyntaxError, EOFError, MemoryError, RuntimeError),
    Image.DecompressionBombError,
)
"""What Pillow's decoders raise for files that are no pictures, cut off, or absurdly large."""


def read_picture(path: Path, ground: str = "white") -> Image.Image:
    """Decode a whole picture: upright by its EXIF orientation, transparency laid on ``ground``, mode RGB.

    Raises PictureError with the reason when any part of the file cannot be decoded.
    """
    return read_layers(path, ground)[0]


def read_layers(path: Path, ground: str = "white") -> tuple[Image.Image, Image.Image | None]:
    """`read_picture`, and the picture's alpha channel (mode L, 255 is opaque), None when it has none."""
    try:
        with Image.open(path) as opened:
            opened.load()
            upright = _eight_bits(ImageOps.exif_transpose(opened))
            if not upright.has_transparency_data:
                return upright.convert("RGB"), None
            layer = upright.convert("RGBA")
            over = Image.new("RGBA", layer.size, ImageColor.getcolor(ground, "RGBA"))
            return Image.alpha_composite(over, layer).convert("RGB"), layer.getchannel("A")
    except _WAYS_TO_FAIL as error:
        raise PictureError(str(path), _reason(path, error)) from error


def read_gray(path: Path) -> Image.Image:
    """Decode a whole picture as gray, upright, mode L; raises PictureError as `read_picture` does."""
    return read_picture(path, "black").convert("L")


def _eight_bits(image: Image.Image) -> Image.Image:
    """A gray picture of 16 bits as one of 8; Pillow's own conversion cuts all values over 255 to white."""
    if image.mode == "F":
        raise ValueError("pixels are floating-point numbers of unknown range; save it with 8 or 16 bits")
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))


def picture_size(path: Path) -> Size:
    """(width, height) after EXIF rotation; every pixel is decoded, so that what cannot be read is found
    now."""
    return read_picture(path).size


def _reason(path: Path, error: BaseException) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, UnidentifiedImageError):
        empty = path.is_file() and path.stat().st_size == 0
        return "the file is empty" if empty else "is not a picture that Pillow can read"
    return f"cannot be decoded ({error})"


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
