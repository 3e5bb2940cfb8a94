"""Moments as the files of a run have them."""

from __future__ import annotations

import time


def time_stamp() -> str:
    """The moment, with the offset of its time zone: "2026-11-27 09:42:00+0000"."""
    return time.strftime("%Y-%m-%d %H:%M:%S%z")
