"""Pictures for a page: found inside the folders that may be read, and made small without trusting them."""

from __future__ import annotations

import io
import stat
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captionkit.errors import DataError
from captionkit.needs import needed

MAX_PX = 90_000_000
"""More pixels are not decoded: a file of a few kilobytes can claim any number of them."""
MAX_BYTES = 256 << 20
"""A larger file is not opened."""
KINDS = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
"""What Pillow may take a file for. Not the kinds for which it starts another program, such as EPS."""

_UNKNOWN = "it is of no known kind, or damaged"


@dataclass(frozen=True, slots=True)
class PictureFolders:
    """Where pictures are looked for, and the folders that may be read; nothing outside of them is opened."""

    root: Path
    """Where relative paths begin."""
    also: tuple[Path, ...] = ()
    """Further folders that may be read."""

    def find(self, image: str | None) -> Path:
        """The file of a record's picture, with links followed.

        Raises `DataError` when the record names none, when there is none, and when it lies outside.
        """
        if image is None:
            raise DataError("the record names no picture")
        try:
            path = (self.root / image).resolve(strict=True)
            regular = stat.S_ISREG(path.stat().st_mode)
        except (OSError, ValueError, RuntimeError) as error:  # Not there, a zero byte, links in a ring.
            why = (getattr(error, "strerror", None) or "the path is none").lower()
            raise DataError(f"cannot be opened: {why}", where=image) from error
        if not any(path.is_relative_to(folder) for folder in self._allowed()):
            raise DataError(
                "lies outside of the data's folder, so it is not read",
                where=image,
                hint="name its folder with --pictures",
            )
        if not regular:
            raise DataError("is no file", where=image)
        return path

    def _allowed(self) -> Iterable[Path]:
        return (folder.resolve() for folder in (self.root, *self.also))


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small WebP picture."""

    data: bytes
    width: int
    height: int


def thumbnail(path: Path, side_px: int, *, quality: int = 60) -> Thumbnail:
    """A picture made so small that its longer side has at most `side_px` pixels; never made larger.

    The first frame of an animation, turned as its EXIF says. Raises `DataError` for what is no picture, is
    broken, has more than `MAX_PX` pixels or more than `MAX_BYTES` bytes.
    """
    needed("PIL", "report", "showing pictures")
    if (size := path.stat().st_size) > MAX_BYTES:
        raise DataError(f"has {size:,} bytes, more than {MAX_BYTES:,} are not read", where=str(path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Decoders warn of odd metadata; sizes are judged below.
            return _small(path, side_px, quality)
    except DataError:
        raise
    except Exception as error:  # Decoders raise nearly anything for bytes that were made to break them.
        why = error.strerror if isinstance(error, OSError) and error.strerror else _UNKNOWN
        if type(error).__name__.startswith("DecompressionBomb"):
            why = "it claims more pixels than are decoded"
        hint = f"a page shows {', '.join(KINDS)}: convert it, or take it out"
        raise DataError(f"is no picture that can be read: {why}", where=str(path), hint=hint) from error


def _small(path: Path, side_px: int, quality: int) -> Thumbnail:
    from PIL import Image, ImageOps

    with Image.open(path, formats=KINDS) as opened:
        image: Any = opened
        if image.width * image.height > MAX_PX:
            raise DataError(
                f"has {image.width:,} x {image.height:,} pixels, more than {MAX_PX:,} are not decoded",
                where=str(path),
            )
        image.draft("RGB", (side_px, side_px))  # JPEG can be decoded at a fraction of its size.
        image = ImageOps.exif_transpose(image)
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
        image.thumbnail((side_px, side_px))
        written = io.BytesIO()
        image.save(written, "WEBP", quality=quality, method=4)
        return Thumbnail(written.getvalue(), image.width, image.height)
