"""Progress on a terminal is a bar; in a file that takes the output of a run it is a plain line now and
then."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

_EVERY = 30.0
"""Seconds between two lines in a file."""
_UP = re.compile(r"\x1b\[[0-9;]*A")
"""What moves a terminal's cursor up, to another bar."""

_SOON = 2.0
"""Seconds that something may take without anything being shown."""
_SCALED = frozenset({"B"})
"""Units of which thousands are written with a prefix."""


@contextmanager
def progress(
    does: str, unit: str, total: int | None, *, show: bool = True
) -> Iterator[Callable[[int], None]]:
    """Yield what takes note of an amount that is done; ``total`` is that of everything, None when nobody
    knows it. What ends at once shows nothing."""
    from tqdm import tqdm  # Here, as processes that only read pictures do without it.

    scaled = unit in _SCALED
    with tqdm(
        total=total,
        desc=does,
        unit=unit if scaled else f" {unit}",
        unit_scale=scaled,
        leave=False,
        delay=_SOON,
        disable=not show,
        **bar_style(),
    ) as bar:

        def done(amount: int) -> None:
            bar.update(amount)

        yield done


def bar_style(stream: TextIO | None = None) -> dict[str, Any]:
    """Arguments of a tqdm bar that suit where it goes, ``stream`` or the standard error."""
    stream = stream or sys.stderr
    if stream.isatty():
        return {"file": stream, "dynamic_ncols": True}
    # miniters = 1: tqdm looks at the clock at every step, and leaves the line alone between two.
    return {"file": _Lines(stream), "mininterval": _EVERY, "miniters": 1, "ncols": 0}


class _Lines:
    """A stream for tqdm: what would overwrite a line becomes a line of its own, empty ones are left out."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last = ""

    def write(self, text: str) -> int:
        """Write the lines of a text, unless it is what was written last."""
        for line in _UP.sub("", text.replace("\r", "\n")).splitlines():
            if line.strip() and line.rstrip() != self._last:
                self._last = line.rstrip()
                self._stream.write(self._last + "\n")
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        self._stream.flush()

    def isatty(self) -> bool:
        """It is no terminal."""
        return False
