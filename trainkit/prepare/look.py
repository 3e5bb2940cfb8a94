"""What the bytes of a picture say about it, from the header alone unless pixels are asked for."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import Any

from PIL import ExifTags, Image, UnidentifiedImageError

from captionkit.pictures import KINDS
from trainkit.gif_comments import too_many_comments
from trainkit.prepare.ends import count_gif_frames, cut_short, png_has_late_orientation
from trainkit.prepare.problems import Fault, UnusableError

FORMATS = (*KINDS, "MPO")
"""What a picture can be: what Pillow may take a file for, and what it then calls some JPEGs."""

_OF_SUFFIX = {
    ".avif": ("AVIF",),
    ".bmp": ("BMP",),
    ".gif": ("GIF",),
    ".jpeg": ("JPEG", "MPO"),
    ".jpg": ("JPEG", "MPO"),
    ".png": ("PNG",),
    ".tif": ("TIFF",),
    ".tiff": ("TIFF",),
    ".webp": ("WEBP",),
}
_SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations in which width and height change places."""


@dataclass(frozen=True, slots=True)
class Look:
    """A picture as its header describes it."""

    width: int
    height: int
    """Pixels, upright."""
    format: str
    """One of FORMATS."""
    animated: bool


def look_at(data: bytes, *, max_pixels: int, decode: bool) -> Look:
    """What a picture is. With ``decode`` every pixel of its first frame is decoded.

    Warnings of Pillow are the caller's to silence. Raises UnusableError for what cannot be trained.
    """
    if not data:
        raise UnusableError(Fault.BROKEN, "the file is empty")
    if too_many_comments(data):
        raise UnusableError(Fault.BROKEN, "its comments are in too many pieces")
    try:
        with Image.open(io.BytesIO(data), formats=KINDS) as image:
            return _look(image, data, max_pixels, decode)
    except UnusableError:
        raise
    except UnidentifiedImageError:
        raise UnusableError(Fault.BROKEN, "is not a picture that Pillow can read") from None
    except Image.DecompressionBombError as error:
        raise UnusableError(Fault.BOMB, str(error)) from None
    except Exception as error:  # Decoders raise nearly anything for bytes that were made to break them.
        truncated = isinstance(error, OSError) and "truncated" in str(error)
        fault = Fault.TRUNCATED if truncated else Fault.BROKEN
        raise UnusableError(fault, f"cannot be decoded ({error or type(error).__name__})") from None


def _look(image: Any, data: bytes, max_pixels: int, decode: bool) -> Look:
    format = str(image.format)
    if image.width * image.height > max_pixels:
        what = f"{image.width:,} x {image.height:,} pixels; allowed are {max_pixels:,}"
        raise UnusableError(Fault.BOMB, what)
    if image.mode == "F":
        raise UnusableError(Fault.BROKEN, "pixels are floating-point numbers of unknown range")
    if why := cut_short(data, format):
        raise UnusableError(Fault.TRUNCATED, why)
    if format == "TIFF" and (end := _last_strip(image)) > len(data):
        raise UnusableError(Fault.TRUNCATED, f"has {len(data):,} bytes of {end:,}")
    animated = _is_animated(image, format, data)
    late = format == "PNG" and png_has_late_orientation(data)
    width, height = image.size
    # The method of PNG's own class decodes the pixels.
    turned = format != "TIFF" and not late and _orientation(Image.Image.getexif(image)) in _SIDEWAYS
    if decode or late:
        image.load()
        turned = _orientation(image.getexif()) in _SIDEWAYS if late else turned
    return Look(height, width, format, animated) if turned else Look(width, height, format, animated)


def _orientation(exif: Any) -> int:
    found = exif.get(ExifTags.Base.Orientation, 1)
    return found if isinstance(found, int) else 1


def _is_animated(image: Any, format: str, data: bytes) -> bool:
    if format == "GIF":
        return (count_gif_frames(data) or 0) > 1
    return format in ("PNG", "WEBP", "AVIF") and bool(getattr(image, "is_animated", False))


def _last_strip(image: Any) -> int:
    """Where the last strip or tile of a TIFF ends; 0 when it does not say."""
    ends = [0]
    for offsets, lengths in ((273, 279), (324, 325)):
        begins, counts = (image.tag_v2.get(tag, ()) for tag in (offsets, lengths))
        ends += [begin + count for begin, count in zip(begins, counts, strict=False)]
    return max(ends)


def mislabelled(name: str, format: str) -> bool:
    """Whether a name's suffix stands for another format; one that stands for none does not lie."""
    known = _OF_SUFFIX.get(os.path.splitext(name)[1].lower())
    return known is not None and format not in known
