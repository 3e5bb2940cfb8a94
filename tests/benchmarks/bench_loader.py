"""How long a device waits for its pictures, by workers, prefetch, and where latents come from.

    PYTHONPATH=. python tests/benchmarks/bench_loader.py                   a tiny model on two cores
    PYTHONPATH=. python tests/benchmarks/bench_loader.py --device cuda     Stable Diffusion 1.5's true size

One process sets a run up as `trainkit train` does (hyperfusion captions, two chunks of text, UNet and text
encoder trained, AdamW, one micro-batch per optimizer step, which is the hardest for a loader) and then trains
a few steps for every variant, each with workers of its own. "waited" is the share of the time in which the
loop stood in the loader, as log.jsonl has it; the first steps of a variant, in which the workers start, are
not counted. Live pictures are JPEG files of --source pixels with the grain of photographs, decoded, resized
and encoded by the VAE in each step. --device cuda takes less than a minute on an H100.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageFilter

from tests.benchmarks.bench_options import write_model
from tests.trainkit.tiny import write_tiny_model
from trainkit.devices import wrapped
from trainkit.loader import micro_batches
from trainkit.optim import begin, make_optimizer, trained_parts, unfreeze
from trainkit.phases import Phase
from trainkit.run_file import make_run
from trainkit.setup import Setup, set_up


@dataclass(frozen=True)
class Variant:
    """One line of the table."""

    latents: str
    workers: int
    prefetch: int


@dataclass(frozen=True)
class Found:
    """What was measured."""

    samples_per_s: float
    waited: float


def variants(cuda: bool) -> list[Variant]:
    """Cached and live; on a GPU those that fit a minute."""
    if cuda:
        pairs = {
            "cached": [(0, 1), (1, 2), (2, 2)],
            "live": [(0, 1), (2, 2), (4, 2), (8, 2), (12, 2), (12, 4)],
        }
        return [Variant(latents, *pair) for latents, some in pairs.items() for pair in some]
    few = [(0, 1), *((w, p) for w in (1, 2) for p in (1, 2, 4))]
    return [Variant(latents, *pair) for latents in ("cached", "live") for pair in few]


def write_pictures(folder: Path, pixels: int, count: int) -> None:
    """JPEG files with the grain of photographs, each with enough tags for two chunks of text."""
    rng = random.Random(0)
    folder.mkdir(parents=True)
    for i in range(count):
        coarse = Image.effect_noise((pixels // 16, pixels // 16), 90).resize((pixels, pixels))
        fine = Image.effect_noise((pixels, pixels), 25).filter(ImageFilter.GaussianBlur(0.7))
        Image.merge("RGB", (coarse, Image.blend(coarse, fine, 0.4), fine)).save(
            folder / f"{i}.jpg", quality=92
        )
        tags = [f"{rng.choice(['red', 'blue', 'tall', 'small'])} thing {n}" for n in range(24)]
        (folder / f"{i}.txt").write_text(", ".join(tags))


def measure(setup: Setup, phase: Phase, variant: Variant, steps: int, warm_up: int) -> Found:
    """Train a few steps with a loader of this kind."""
    feed = setup.feed(phase)
    if variant.latents == "live":
        feed = replace(feed, cache=None)
    run, accelerator, stepper = phase.run, setup.accelerator, setup.stepper(phase)
    optimizer = make_optimizer(run.optim, setup.model.denoiser, setup.parts)
    trained = trained_parts(run.optim, setup.parts, 0, phase.pass_length)
    unfreeze(run.optim, setup.parts, trained)
    model, prepared = wrapped(accelerator, setup.model.denoiser, optimizer)
    begin(optimizer, trained)
    batches = micro_batches(feed, 0, warm_up + steps, workers=variant.workers, prefetch=variant.prefetch)
    waited, began = 0.0, time.perf_counter()
    for step in range(warm_up + steps):
        if step == warm_up:
            waited, began = 0.0, time.perf_counter()
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        losses = stepper.loss(model, batch)
        accelerator.backward(losses.total / run.batch)
        prepared.step()
        prepared.zero_grad(set_to_none=True)
        losses.total.item()  # As the loop does, which looks whether the loss is finite.
    seconds = time.perf_counter() - began
    assert next(batches, None) is None  # Ends the workers.
    return Found(steps * run.batch / seconds, waited / seconds)


def set_up_run(folder: Path, options: argparse.Namespace) -> Setup:
    """The run, with all latents cached."""
    run: dict[str, Any] = {
        "out": str(folder / "out"),
        "samples": 10_000_000,
        "batch": options.batch,
        "accumulate": 1,
        "trackers": [],
        "model": {"base": str(folder / "model")},
        "data": {
            "path": str(folder / "data"),
            "buckets": {
                "resolution": options.pixels,
                "max_side": options.pixels,
                "min_side": options.pixels,
            },
        },
        "text": {"max_tokens": 150},
        "optim": {"optimizer": "adamw", "fused": options.device == "cuda"},
    }
    setup = set_up(make_run(run, folder, "benchmark"))
    setup.fill_cache(setup.phases[0])
    return setup


def show(results: Sequence[tuple[Variant, Found]]) -> None:
    """The table as Markdown."""
    print("| latents | workers | prefetch | samples/s | waited |\n|---|---:|---:|---:|---:|")
    for variant, found in results:
        print(
            f"| {variant.latents} | {variant.workers} | {variant.prefetch if variant.workers else '-'} | "
            f"{found.samples_per_s:.2f} | {found.waited:.1%} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--pixels", type=int, help="default 512 on a GPU, 64 on a CPU")
    parser.add_argument("--source", type=int, default=1024, help="pixels of the files (default 1024)")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=12, help="that are counted, per variant")
    parser.add_argument("--warm-up", type=int, default=4, help="that are not")
    parser.add_argument("--seconds", type=float, default=3600, help="begin no variant after so long")
    parser.add_argument("--out", type=Path, help="also write the figures to this JSON file")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: there is no CUDA device")
    cuda = options.device == "cuda"
    options.pixels = options.pixels or (512 if cuda else 64)
    began = time.monotonic()
    results: list[tuple[Variant, Found]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if cuda:
            write_model(folder / "model", "sd15")
        else:
            write_tiny_model(folder / "model")
        write_pictures(folder / "data", options.source, 4 * options.batch)
        setup = set_up_run(folder, options)
        setup.watchdog.close()
        print(f"model and data made and loaded in {time.monotonic() - began:.0f} s", flush=True)
        for variant in variants(cuda):
            if time.monotonic() - began > options.seconds:
                print(f"no time left for {variant}", flush=True)
                continue
            results.append(
                (variant, measure(setup, setup.phases[0], variant, options.steps, options.warm_up))
            )
            print(variant, results[-1][1], f"{time.monotonic() - began:.0f} s", flush=True)
    device = torch.cuda.get_device_name() if cuda else f"CPU, {torch.get_num_threads()} threads"
    print(f"\n{device}, torch {torch.__version__}, {options.pixels} pixels, batch {options.batch}")
    show(results)
    if options.out:
        told = [vars_of(variant, found) for variant, found in results]
        options.out.write_text(json.dumps({"device": device, "results": told}, indent=1))


def vars_of(variant: Variant, found: Found) -> dict[str, Any]:
    """One line of the table as plain data."""
    return {**variant.__dict__, **found.__dict__}


if __name__ == "__main__":
    main()
