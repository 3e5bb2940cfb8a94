"""Comments in a GIF that would keep a decoder busy for hours.

Pillow joins the pieces of a comment one by one, each time copying all before: five million pieces of one
byte, a file of 10 MB, are 12 TB to copy.
"""

from __future__ import annotations

_MOST_COPIED = 1 << 31
"""Bytes; below a second. A comment of 700 kB in pieces of 255 bytes, the longest there are, takes half."""


def too_many_comments(data: bytes) -> bool:
    """Whether a picture is a GIF in which opening the first frame would copy more than that."""
    if not data.startswith((b"GIF87a", b"GIF89a")) or len(data) < 13:
        return False
    at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    size = copied = 0
    while at + 1 < len(data) and data[at] != 0x2C:
        comment = data[at] == 0x21 and data[at + 1] == 0xFE
        if data[at] != 0x21:  # Padding, or what decoders pass over.
            at += 1
            continue
        at += 2
        while at < len(data) and (length := data[at]):
            if comment:
                size += length
                copied += size
                if copied > _MOST_COPIED:
                    return True
            at += length + 1
        at += 1
    return False
