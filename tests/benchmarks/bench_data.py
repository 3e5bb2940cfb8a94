"""Time and memory of captionkit's commands over a large table: whole processes, as a user starts them.

    python tests/benchmarks/make_manifest.py tags.csv.gz 3300000 build/m33/manifest.parquet
    python tests/benchmarks/bench_data.py build/m33/manifest.parquet hyperfusion

Memory is the proportional set size (Pss) of the command and all its children together, looked at every
quarter of a second: pages that several processes share count once. Needs Linux.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq

LOOK_EVERY = 0.25


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    pids = [pid]
    for one in pids:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            pids += [int(child) for child in task.read_text().split()]
    return pids


def memory(pid: int) -> int:
    """Bytes of a process and its descendants; 0 for those that have ended meanwhile."""
    total = 0
    for one in family(pid):
        try:
            rows = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(1024 * int(row.split()[1]) for row in rows if row.startswith("Pss:"))
    return total


def measure(command: list[str]) -> tuple[float, int]:
    """Seconds and peak bytes of a command. Raises CalledProcessError when it fails."""
    begun, peak = time.perf_counter(), 0
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        while process.poll() is None:
            peak = max(peak, memory(process.pid))
            time.sleep(LOOK_EVERY)
        if process.returncode:
            output.seek(0)
            raise subprocess.CalledProcessError(process.returncode, command, output.read())
    return time.perf_counter() - begun, peak


def main() -> None:
    """Run every command once and print a line for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", type=Path, help="a Parquet file, as make_manifest.py writes it")
    parser.add_argument("recipe", help="a recipe file, or a preset's name")
    parser.add_argument("--processes", default="2")
    parser.add_argument("--only", choices=("parquet", "jsonl", "back", "stats", "lint"), action="append")
    options = parser.parse_args()
    rows = pq.ParquetFile(options.table).metadata.num_rows
    captionkit = [sys.executable, "-m", "captionkit"]
    with tempfile.TemporaryDirectory(dir=options.table.parent) as scratch:
        folder = Path(scratch)
        lines = folder / "lines.jsonl"
        commands = {
            "parquet": ["convert", str(options.table), str(folder / "again.parquet")],
            "jsonl": ["convert", str(options.table), str(lines)],
            "back": ["convert", str(lines), str(folder / "back.parquet")],
            "stats": ["stats", options.recipe, str(options.table), "--json"],
            "lint": ["lint", options.recipe, str(options.table), "--json"],
        }
        for name, command in commands.items():
            if options.only and name not in options.only:
                continue
            seconds, peak = measure([*captionkit, *command, "--processes", options.processes])
            each = 1e6 * seconds / rows
            print(f"{name:8} {seconds:7.1f} s  {each:6.1f} us a row  {peak / 2**20:7,.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
