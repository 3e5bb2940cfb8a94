"""Amounts in words. Imports nothing, as commands that answer at once use it."""

from __future__ import annotations


def gigabytes(count: float) -> str:
    """A number of bytes in words."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count:.0f} bytes"
