"""What it costs until a run could begin: seconds and memory, of this process and of its workers.

Each measurement runs in a fresh process (`trainkit.bench.startup_process`), since a second opening in one
process finds memory and caches of the first.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from trainkit.errors import TrainkitError
from trainkit.table_files import is_manifest

MIB = 1 << 20


def measure_startup(
    manifest: Path,
    *,
    workers: int = 8,
    resolution: int = 768,
    batch: int = 8,
    validation: float = 0.0,
    micro_batches: int = 1000,
    runs: int = 3,
) -> dict[str, Any]:
    """The medians of several runs, and all runs by themselves.

    Each of ``workers`` processes prepares ``micro_batches`` of ``batch`` pictures, all but decoding;
    ``validation`` is the share of pictures that is held out. Raises TrainkitError for what is no manifest or
    cannot be opened.
    """
    if not manifest.exists():
        raise TrainkitError(f"no such folder or table: {manifest}")
    if not is_manifest(manifest):
        raise TrainkitError(f"{manifest} is no manifest; make one of it with `trainkit prepare`")
    asked = {
        "manifest": str(manifest),
        "workers": workers,
        "resolution": resolution,
        "batch": batch,
        "validation": validation,
        "micro_batches": micro_batches,
    }
    found = [_once(asked) for _ in range(runs)]
    return {**asked, **_medians(found), "runs": found}


def _once(asked: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, "-m", "trainkit.bench.startup_process", json.dumps(asked)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    told = done.stdout.splitlines()[-1:] or ["{}"]
    try:
        found = json.loads(told[0])
    except ValueError:
        found = {}
    if "error" in found:
        raise TrainkitError(found["error"])
    if done.returncode or not found:
        last = "\n".join(done.stderr.splitlines()[-3:])
        raise TrainkitError(f"the measuring process ended with status {done.returncode}:\n{last}")
    assert isinstance(found, dict)
    return found


def _medians(found: list[dict[str, Any]]) -> dict[str, Any]:
    """One like them, with the median of every number."""
    middle: dict[str, Any] = {}
    for key, first in found[0].items():
        values = [one[key] for one in found]
        if isinstance(first, dict):
            middle[key] = _medians(values)
        else:
            number = statistics.median(values)
            middle[key] = round(number, 4) if isinstance(first, float) else int(number)
    return middle


def describe(report: dict[str, Any]) -> str:
    """The report as lines to read."""
    bare, ready, worker = report["bare"], report["ready"], report["worker"]
    lines = [
        f"{report['pictures']:,} pictures, {report['buckets']} buckets at {report['resolution']}, "
        f"batches of {report['batch']}; medians of {len(report['runs'])} fresh processes",
        "",
        f"{'ready to train after':28} {ready['seconds']:8.2f} s   buckets assigned, first batch planned",
        *(
            f"  {name.replace('_', ' '):26} {ready[name + '_seconds']:8.2f} s"
            for name in ("open", "hold_out", "plan", "first_batch")
        ),
        f"{'memory over the bare process':28} {_mib(ready['peak'])} MiB at most, "
        f"{_mib(ready['steady'])} MiB when ready ({_mib(bare)} MiB bare, everything imported)",
        f"{'records':28} {report['records_per_second']:8,.0f} /s   pictures made of rows in random order",
    ]
    if report["workers"]:
        own, first = _mib(worker["dirty"]), _mib(worker["dirty_at_once"])
        lines += [
            "",
            f"each of {report['workers']} workers, after {report['micro_batches']:,} micro-batches:",
            f"{'  memory of its own':28} {own} MiB   ({first} MiB of it when it began)",
            f"{'  with its part of the shared':28} {_mib(worker['proportional'])} MiB   "
            f"({_mib(worker['resident'])} MiB with the shared counted in full)",
        ]
    return "\n".join(lines)


def _mib(size: float) -> str:
    return f"{size / MIB:8,.1f}".strip()
