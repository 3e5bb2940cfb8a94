"""A progress bar on the terminal, where there is one and tqdm is installed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SCALED = frozenset({"B"})
"""Units of which thousands are written with a prefix."""


@contextmanager
def progress(does: str, unit: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Yield what takes note of an amount that is done. Nothing is shown where stderr is no terminal.

    `total` is the amount of everything, None when nobody knows it.
    """
    bar = _bar(does, unit, total) if sys.stderr is not None and sys.stderr.isatty() else None
    if bar is None:
        yield _nothing
        return
    with bar:
        yield bar.update


def _bar(does: str, unit: str, total: int | None) -> Any:
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        return None
    spaced = unit if unit in SCALED else f" {unit}"
    return tqdm(total=total, desc=does, unit=spaced, unit_scale=unit in SCALED, leave=False, file=sys.stderr)


def _nothing(amount: int) -> None:
    """Takes note of nothing."""
