"""Whether the end of a picture's file is there, by what each format says of its own length.

Nothing is decoded. What follows the end, such as a second picture or padding, is no fault.
"""

from __future__ import annotations

import re
import struct

_PNG_BEGIN = 8
_SEGMENT = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff](?=..)", re.DOTALL)
"""A marker of JPEG with a length behind it. Searched for: a file may have megabytes of padding before one."""
_LATE = (b"XML:com.adobe.xmp", b"Raw profile type exif", b"Raw profile type APP1")


def cut_short(data: bytes, format: str) -> str | None:
    """Why a picture of a format, as Pillow names it, is not whole; None when nothing shows."""
    match format:
        case "JPEG" | "MPO":
            return None if _jpeg_ends(data) else "has no end marker"
        case "PNG":
            return None if _png_ends(data) else "has no IEND chunk"
        case "GIF":
            return None if count_gif_frames(data) is not None else "has no trailer"
        case "WEBP":
            return _beyond(data, struct.unpack_from("<I", data, 4)[0] + 8)
        case "AVIF":
            return _boxes(data)
        case "BMP":
            return _bitmap(data)
        case _:
            return None


def png_has_late_orientation(data: bytes) -> bool:
    """Whether a PNG says behind its pixels which side is up, where only a decoder gets to."""
    at, pixels = _PNG_BEGIN, False
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        pixels = pixels or kind == b"IDAT"
        late = kind == b"eXIf" or (kind in (b"tEXt", b"zTXt", b"iTXt") and data.startswith(_LATE, at + 8))
        if pixels and late:
            return True
        if kind == b"IEND":
            return False
        at += length + 12
    return False


def count_gif_frames(data: bytes) -> int | None:
    """How many pictures a GIF holds; None when it ends before its trailer."""
    if len(data) < 13:
        return None
    at = 13 + _gif_table(data[10])
    frames = 0
    while at < len(data):
        kind = data[at]
        if kind == 0x3B:
            return frames
        if kind == 0x2C and at + 10 < len(data):
            frames += 1
            at += 11 + _gif_table(data[at + 9])
        elif kind == 0x21:
            at += 2
        elif kind == 0:  # Padding between blocks, which decoders pass over too.
            at += 1
            continue
        else:
            return None
        while at < len(data) and data[at]:
            at += data[at] + 1
        at += 1
    return None


def _gif_table(packed: int) -> int:
    """Bytes of a table of colours."""
    return 3 << (packed & 7) + 1 if packed & 0x80 else 0


def _jpeg_ends(data: bytes) -> bool:
    """An end marker behind the first scan's header: one before it belongs to a thumbnail."""
    at = 2
    while (segment := _SEGMENT.search(data, at)) is not None:
        at = segment.start()
        if data[at + 1] == 0xDA:
            return data.rfind(b"\xff\xd9", at) >= 0
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return False


def _png_ends(data: bytes) -> bool:
    at = _PNG_BEGIN
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IEND":
            return True
        at += length + 12
    return False


def _boxes(data: bytes) -> str | None:
    """The boxes of an ISO media file at its top."""
    at = 0
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4])
        if length == 1:
            length = int.from_bytes(data[at + 8 : at + 16])
        elif length == 0:  # To the end of the file.
            return None
        if length < 8:
            return None
        at += length
    return _beyond(data, at)


def _bitmap(data: bytes) -> str | None:
    """Rows of a plain bitmap; packed ones do not say how long they are."""
    if len(data) < 34 or int.from_bytes(data[14:18], "little") < 40:
        return None
    begin, width, height = (
        struct.unpack_from("<I", data, 10)[0],
        *struct.unpack_from("<ii", data, 18),
    )
    bits, packing = struct.unpack_from("<HI", data, 28)
    if packing != 0:
        return None
    return _beyond(data, begin + (width * bits + 31) // 32 * 4 * abs(height))


def _beyond(data: bytes, end: int) -> str | None:
    return None if end <= len(data) else f"has {len(data):,} bytes of {end:,}"
