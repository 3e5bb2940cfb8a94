"""Figures as JSON values."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from captionkit.stats.result import Share


def plain(value: Any) -> Any:
    """A value of `captionkit.stats.result` as dicts and lists; a share with its interval.

    >>> plain(Share(1, 4, exact=True))
    {'hits': 1, 'of': 4, 'share': 0.25, 'exact': True}
    """
    if isinstance(value, Share):
        numbers: dict[str, Any] = {"hits": value.hits, "of": value.of, "share": round(value.value, 6)}
        if value.exact:
            return numbers | {"exact": True}
        low, high = value.interval
        return numbers | {"exact": False, "low": round(low, 6), "high": round(high, 6)}
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    return value
