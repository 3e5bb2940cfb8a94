"""Settings that are other ones than before, each by its address."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any


def changed(
    before: Mapping[str, Any], now: Mapping[str, Any], inside: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """(address, before, now) of every setting with another value; None for one that is not there."""
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from changed(old, new, f"{inside}{name}.")
        elif old != new:
            yield f"{inside}{name}", old, new


def in_short(value: Any, most: int = 80) -> str:
    """A value as JSON, cut to so many characters."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= most else text[: most - 3] + "..."
