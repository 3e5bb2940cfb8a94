"""What a process takes of the machine's memory, as Linux counts it. All figures are bytes."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path

from trainkit.errors import TrainkitError


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory of this process at one moment."""

    resident: int
    """All pages that are in memory and in its tables, shared ones in full."""
    own: int
    """Those of no file: what it has allocated, and what it shares with the process it was forked from."""
    files: int
    """Those of files, such as a mapped manifest; the system may take them back at any time."""
    proportional: int
    """As ``resident``, but of a page in n processes only one nth."""
    dirty: int
    """Pages that nobody else has and that stand in no file: what this process alone costs."""


def measure() -> Memory:
    """The memory of this process now."""
    sums = _fields(Path("/proc/self/smaps_rollup"))
    status = _fields(Path("/proc/self/status"))
    return Memory(
        resident=sums["Rss"],
        own=status["RssAnon"],
        files=status["RssFile"] + status["RssShmem"],
        proportional=sums["Pss"],
        dirty=sums["Private_Dirty"],
    )


def peak() -> int:
    """The most that was resident since the process began, or since `forget_peak`."""
    return _fields(Path("/proc/self/status"))["VmHWM"]


def forget_peak() -> None:
    """Count the peak anew from now on, where the system lets us."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def require_linux() -> None:
    """Raises TrainkitError where memory cannot be measured."""
    if sys.platform != "linux" or not Path("/proc/self/smaps_rollup").exists():
        raise TrainkitError(
            "memory is measured from /proc/self/smaps_rollup, which only Linux has (from 4.14)"
        )


def _fields(file: Path) -> dict[str, int]:
    """The lines of a file of /proc that count kilobytes, as bytes."""
    rows = [line.split() for line in file.read_text(encoding="utf-8").splitlines()]
    return {row[0].rstrip(":"): 1024 * int(row[1]) for row in rows if row[2:3] == ["kB"]}
