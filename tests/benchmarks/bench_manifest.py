"""How long a manifest takes to open and to place in buckets, and how much memory.

python tests/benchmarks/bench_manifest.py build/m33/manifest.parquet
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

from captionkit import preset
from trainkit.buckets import BucketConfig, place
from trainkit.pictures import DataConfig, read_data


def _memory() -> str:
    """The most that was ever resident, and what of it cannot be given back to the file it came from."""
    status = Path("/proc/self/status").read_text()
    own = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon"))
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB at most, {own >> 10} MiB its own"


def main() -> None:
    """Measure once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", type=Path)
    path = parser.parse_args().manifest
    pipeline = preset("hyperfusion")
    print(f"before: {_memory()}")
    began = time.perf_counter()
    data = read_data(DataConfig(path=path), [pipeline])
    print(f"{len(data.pictures):,} rows opened in {time.perf_counter() - began:.1f} s: {_memory()}")
    began = time.perf_counter()
    for resolution in (768, 1024):
        placement = place(data.sizes, BucketConfig(resolution=resolution))
    print(f"placed twice in {time.perf_counter() - began:.1f} s, {placement.kept:.1%} kept: {_memory()}")
    began = time.perf_counter()
    found = data.spread(2000)
    print(f"{len(found)} pictures made in {time.perf_counter() - began:.2f} s: {_memory()}")


if __name__ == "__main__":
    main()
