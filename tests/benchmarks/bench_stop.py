"""How long a run takes to stop when it is asked to, and to begin again.

    PYTHONPATH=. python tests/benchmarks/bench_stop.py                  a small model, on whatever there is
    PYTHONPATH=. python tests/benchmarks/bench_stop.py --size sd15      Stable Diffusion 1.5's true size

A `trainkit train` with 8-bit AdamW and one average is sent SIGUSR1 after four steps, started again and sent
SIGTERM. Told are the seconds from the start to the fourth step, and from the signal to the end.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.bench_options import ROOT, write_data, write_model


def logged(out: Path) -> int:
    """Optimizer steps in the log."""
    log = out / "log.jsonl"
    return log.read_text().count("\n") if log.exists() else 0


def stopped_by(run: Path, out: Path, signum: signal.Signals) -> str:
    """Start a run, end it by a signal after four steps, and say how long that took."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    before, began = logged(out), time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-m", "trainkit", "train", str(run)],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        while process.poll() is None and logged(out) < before + 4:
            time.sleep(0.05)
        started, asked = time.monotonic() - began, time.monotonic()
        process.send_signal(signum)
        _, said = process.communicate()
        ended = time.monotonic() - asked
    if process.returncode not in (75, 143):
        raise RuntimeError(said.decode()[-1000:])
    newest = sorted((out / "checkpoints").glob("0*"))[-1]
    size = sum(file.stat().st_size for file in newest.iterdir())
    return (
        f"{signum.name}: four steps after {started:.1f} s, ended with status {process.returncode} "
        f"{ended:.1f} s after the signal, checkpoint of {size / 1e9:.2f} GB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", choices=["small", "sd15"], default="small")
    options = parser.parse_args()
    pixels = 512 if options.size == "sd15" else 128
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_model(folder / "model", options.size)
        write_data(folder / "data", pixels)
        run = folder / "run.toml"
        run.write_text(
            'out = "out"\nsamples = 100_000\nbatch = 8\naccumulate = 4\ncheckpoint_every = 0\n'
            'trackers = []\n[model]\nbase = "model"\n[data]\npath = "data"\nworkers = 4\n'
            f"buckets = {{ resolution = {pixels}, max_side = {pixels}, min_side = {pixels} }}\n"
            '[text]\nmax_tokens = 150\n[optim]\noptimizer = "adamw8bit"\n[ema]\nsigma_rel = [0.1]\n'
        )
        for signum in (signal.SIGUSR1, signal.SIGTERM):
            print(stopped_by(run, folder / "out", signum), flush=True)


if __name__ == "__main__":
    main()
