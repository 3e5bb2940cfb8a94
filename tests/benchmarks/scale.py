"""The arithmetic of docs/scale.md: what a run of so many pictures on so many devices needs.

    python tests/benchmarks/scale.py --pictures 1e9 --devices 512

What is measured stands in the constants, with its source. Nothing here is measured at that size.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

ROW_BYTES = 1.07e9 / 3.3e6
"""Of a prepared folder: docs/data.md."""
PLAN_BYTES, PLAN_PEAK, PLAN_SECONDS = 556 * 2**20 / 33e6, 1059 * 2**20 / 33e6, 11.29 / 33e6
"""For each picture: tests/benchmarks/bench_plan.py --pictures 33000000."""
ORDER_BYTES = 4
"""For each picture, the order of a pass: docs/data.md."""
CAPTION_SECONDS = 0.25e-3 + 1 / 12_820
"""A picture made of its row (docs/data.md), its caption and token ids (docs/performance.md)."""
DECODE_SECONDS = 9.5e-3 + 0.51e-3
"""One picture of 1024 x 768, and its hash: docs/stores.md."""
WEIGHTS = 859.5e6 + 116.0e6
"""Trained: the UNet and the text encoder without the layer that clip skip 2 leaves out."""
GPU_HOURS_PER_FAILURE = 16_384 * 54 * 24 / 419
"""Unexpected interruptions in the pre-training of Llama 3 (arXiv:2407.21783, section 3.3.4)."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """What is assumed."""

    pictures: float
    devices: int
    per_machine: int = 8
    batch: int = 8
    """Pictures per device and micro-batch."""
    samples_per_second: float = 38.99
    """Of one device: bf16 on an H200 at 512 pixels, docs/performance.md."""
    workers: int = 8
    network: float = 50e9
    """Bytes a second into and out of a machine: 400 Gb/s."""
    disk: float = 10e9
    """Bytes a second of the shared disk."""
    writer: float = 1e9
    """Bytes a second of the one process that writes a checkpoint."""

    @property
    def rate(self) -> float:
        """Samples a second of all devices."""
        return self.devices * self.samples_per_second

    @property
    def step(self) -> float:
        """Seconds of a micro-batch."""
        return self.batch / self.samples_per_second


def table(c: Cluster) -> list[tuple[str, str]]:
    """(what, how much)."""
    machines = max(1, c.devices / c.per_machine)
    captions = c.batch * c.devices * CAPTION_SECONDS
    exchanged = 2 * (machines - 1) / machines * WEIGHTS * 4
    checkpoint = WEIGHTS * 4 * 5  # Weights, two moments of Adam, two averages.
    saving = checkpoint / c.writer
    failure = GPU_HOURS_PER_FAILURE / c.devices * 3600
    cadence = math.sqrt(2 * saving * failure)
    lost = saving / cadence + cadence / (2 * failure)
    return [
        ("samples/s", f"{c.rate:,.0f}"),
        ("hours of a pass", f"{c.pictures / c.rate / 3600:,.1f}"),
        ("smallest batch, and with this micro-batch", f"{c.devices:,} and {c.batch * c.devices:,}"),
        ("manifest, GB", f"{c.pictures * ROW_BYTES / 1e9:,.0f}"),
        ("plan, GB for each process, and at most", _two(c.pictures * PLAN_BYTES, c.pictures * PLAN_PEAK)),
        (
            "the same for each machine",
            _two(*(c.per_machine * c.pictures * b for b in (PLAN_BYTES, PLAN_PEAK))),
        ),
        ("planning, s of one core", f"{c.pictures * PLAN_SECONDS:,.0f}"),
        ("order of a pass, GB for each process", f"{c.pictures * ORDER_BYTES / 1e9:,.1f}"),
        ("captions of a micro-batch, s of a worker", f"{captions:.2f}"),
        ("micro-batch, s of a device", f"{c.step:.3f}"),
        ("workers for each device that captions alone need", f"{captions / c.step:.1f}"),
        (
            "devices at which they need all workers",
            f"{c.workers * c.step / (c.batch * CAPTION_SECONDS):,.0f}",
        ),
        ("workers if each rendered its own", f"{c.batch * CAPTION_SECONDS / c.step:.3f}"),
        (
            "cached latents at 512, TB; mean alone",
            f"{c.pictures * 65_536 / 1e12:,.0f}; {c.pictures * 32_768 / 1e12:,.0f}",
        ),
        ("cached latents read, GB/s", f"{c.rate * 65_536 / 1e9:.1f}"),
        ("live: pictures of 300 kB, GB/s; GETs/s", f"{c.rate * 300e3 / 1e9:.1f}; {c.rate:,.0f}"),
        ("live: cores of each machine that decode", f"{c.rate * DECODE_SECONDS / machines:.1f}"),
        ("live: $ of a pass at 0.40 $ a million GETs", f"{c.pictures / 1e6 * 0.40:,.0f}"),
        ("gradients of float32, GB through each machine's network", f"{exchanged / 1e9:.1f}"),
        ("their exchange, s; in bfloat16", f"{exchanged / c.network:.3f}; {exchanged / c.network / 2:.3f}"),
        ("checkpoint with two averages, GB; s to write", f"{checkpoint / 1e9:.1f}; {saving:.0f}"),
        ("read by every process from one disk, s", f"{checkpoint * c.devices / c.disk:,.0f}"),
        ("hours between failures", f"{failure / 3600:.0f}"),
        ("best time between checkpoints, min (Young)", f"{cadence / 60:.0f}"),
        ("the same in samples", f"{cadence * c.rate / 1e6:,.0f} million"),
        ("share of time that checkpoints and failures take", f"{lost:.2%}"),
    ]


def _two(*amounts: float) -> str:
    return " and ".join(f"{amount / 1e9:,.0f}" for amount in amounts)


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=float, default=1e9)
    parser.add_argument("--devices", type=int, default=512)
    parser.add_argument("--samples-per-second", type=float, default=38.99)
    options = parser.parse_args()
    for what, much in table(
        Cluster(options.pictures, options.devices, samples_per_second=options.samples_per_second)
    ):
        print(f"| {what} | {much} |")


if __name__ == "__main__":
    main()
