"""The demo's UNet under three ways for OpenMP's threads to wait, alone and beside a second process.

Forward and backward passes of 32 samples.

Usage:
    python tests/benchmarks/bench_waiting_threads.py

"beside" is beside a second process that does the same under the same setting.
"""

from __future__ import annotations

import os
import subprocess
import sys

SETTINGS = {
    "default": {},
    "short spin": {"GOMP_SPINCOUNT": "10000"},
    "no spin": {"OMP_WAIT_POLICY": "PASSIVE"},
}

PASSES = """
import statistics, time, torch
from diffusers import UNet2DConditionModel
from trainkit.demo import base_folder
unet = UNet2DConditionModel.from_pretrained(base_folder() / "unet", torch_dtype=torch.float32)
x, t, c = torch.randn(32, 4, 12, 12), torch.randint(0, 1000, (32,)), torch.randn(32, 77, 96)
times = []
for _ in range(7):
    start = time.perf_counter()
    unet(x, t, c).sample.square().mean().backward()
    times.append(time.perf_counter() - start)
print(32 / statistics.median(times[2:]))
"""


def samples_per_second(setting: dict[str, str]) -> float:
    """Median over five passes of 32 samples, in a process of its own."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1"} | setting
    done = subprocess.run(
        [sys.executable, "-c", PASSES], env=environment, capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def main() -> None:
    """Print a table of samples/s."""
    print(f"{'':12} {'alone':>8} {'beside':>8}   samples/s")
    alone = {name: samples_per_second(setting) for name, setting in SETTINGS.items()}
    for name, setting in SETTINGS.items():
        endless = PASSES.replace("range(7)", "iter(int, 1)")
        other = subprocess.Popen(
            [sys.executable, "-c", endless], env=os.environ | {"HF_HUB_OFFLINE": "1"} | setting
        )
        try:
            print(f"{name:12} {alone[name]:8.1f} {samples_per_second(setting):8.1f}", flush=True)
        finally:
            other.kill()


if __name__ == "__main__":
    main()
