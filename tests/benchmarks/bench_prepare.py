"""How fast `trainkit prepare` goes over a folder of pictures: from the headers, again, decoded, near.

Usage: python tests/benchmarks/bench_prepare.py [PICTURES] [--count N] [--processes 1 2]

Without PICTURES, N photographs' worth of JPEGs (1024 pixels, some 150 kB) are drawn into a temporary folder.
Prints one JSON object a line: pictures per second and microseconds per picture.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from trainkit.prepare import PrepareConfig, prepare


def draw_pictures(folder: Path, count: int) -> None:
    """Soft colours with some noise, so that the files are as large as photographs."""
    for number in range(count):
        rng = np.random.default_rng(number)
        width, height = (1024, 768) if number % 2 else (832, 1152)
        few = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        soft = np.asarray(few.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
        noisy = (soft + rng.integers(-9, 10, soft.shape)).clip(0, 255).astype(np.uint8)
        path = folder / f"{number % 10}" / f"{number:06d}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(noisy).save(path, quality=85)
        path.with_suffix(".txt").write_text(f"fox, snow, day, number {number}", encoding="utf-8")


def measure(what: str, data: Path, out: Path, config: PrepareConfig, processes: int) -> None:
    """Prepare once and print how long it took."""
    began = time.perf_counter()
    prepared = prepare(data, out, config, processes=processes)
    seconds = time.perf_counter() - began
    print(
        json.dumps(
            {
                "what": what,
                "processes": processes,
                "pictures": prepared.rows,
                "read": prepared.num_read,
                "pictures_per_second": round(prepared.rows / seconds, 1),
                "microseconds_per_picture": round(1e6 * seconds / prepared.rows, 1),
            }
        ),
        flush=True,
    )


def main() -> None:
    """Measure with each number of processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", nargs="?", type=Path)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        data = options.pictures
        if data is None:
            data = Path(scratch, "pictures")
            data.mkdir()
            draw_pictures(data, options.count)
        os.sync()
        for processes in options.processes:
            out = Path(scratch, f"out{processes}")
            measure("headers and digests", data, out, PrepareConfig(), processes)
            measure("again, nothing changed", data, out, PrepareConfig(), processes)
            near = PrepareConfig(near=True)
            measure("perceptual hashes", data, Path(scratch, f"near{processes}"), near, processes)
            every = PrepareConfig(decode=True)
            measure("every pixel decoded", data, Path(scratch, f"decode{processes}"), every, processes)


if __name__ == "__main__":
    main()
