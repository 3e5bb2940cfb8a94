"""What each option of the networks and the optimizer does to speed and memory, in real runs.

    python tests/benchmarks/bench_options.py               a small model, on whatever there is
    python tests/benchmarks/bench_options.py --size sd15   Stable Diffusion 1.5's true size, random weights

Every variant is a `trainkit train` of its own on the same samples: the same model, pictures, captions and
seed, two chunks of text, cached latents. It is stopped after a few steps; the first half is not counted.
Speed is the median over the others as the run itself logs it, memory the most that was allocated on the GPU
(on a CPU: the most that was resident in the process).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel

from trainkit.export.vocabulary import clip_tokenizer

ROOT = Path(__file__).resolve().parents[2]

VARIANTS: dict[str, list[str]] = {
    "float32 without TF32": ["mixed_precision=no", "tf32=false"],
    "float32": ["mixed_precision=no"],
    "bf16": [],
    "bf16, attention = eager": ["model.attention=eager"],
    "bf16, channels_last": ["model.channels_last=true"],
    "bf16, compile = blocks": ["model.compile=blocks"],
    "bf16, compile = whole": ["model.compile=whole"],
    "bf16, gradient_checkpointing": ["model.gradient_checkpointing=true"],
    "bf16, fused adamw": ["optim.fused=true"],
    "bf16, adamw8bit": ["optim.optimizer=adamw8bit"],
    "bf16, paged_adamw8bit": ["optim.optimizer=paged_adamw8bit"],
    "bf16, adopt": ["optim.optimizer=adopt"],
    "bf16, two averages on the device": ["ema.sigma_rel=[0.05,0.1]", "ema.device=device"],
    "bf16, two averages in main memory": ["ema.sigma_rel=[0.05,0.1]"],
    "bf16, channels_last, whole, fused": [
        *("model.channels_last=true", "model.compile=whole", "optim.fused=true"),
    ],
}
ON_A_CPU = [name.removeprefix("bf16, ") for name in VARIANTS if name.startswith("bf16, ")]


def write_model(folder: Path, size: str) -> None:
    """A model from its configuration with random weights; drawn on the GPU where there is one, for time."""
    true = size == "sd15"
    widths = (320, 640, 1280, 1280) if true else (32, 64, 128, 128)
    hidden, layers, heads = (768, 12, 12) if true else (64, 4, 4)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        text = CLIPTextModel(
            CLIPTextConfig(
                hidden_size=hidden,
                intermediate_size=4 * hidden,
                num_hidden_layers=layers,
                num_attention_heads=heads,
                projection_dim=hidden,
                vocab_size=49408,
                bos_token_id=49406,
                eos_token_id=49407,
            )
        )
        unet = UNet2DConditionModel(
            sample_size=64, block_out_channels=widths, cross_attention_dim=hidden, attention_head_dim=8
        )
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512) if true else (16, 32, 32, 32),
            layers_per_block=2 if true else 1,
            norm_num_groups=32 if true else 8,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
        )
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    parts = (vae, text, clip_tokenizer(), unet, scheduler, None, None)
    pipeline: Any = StableDiffusionPipeline(*parts, requires_safety_checker=False)
    pipeline.to("cpu").save_pretrained(folder)


def write_data(folder: Path, pixels: int, count: int = 32) -> None:
    """Pictures of noise, each with enough tags for two chunks of text."""
    rng = random.Random(0)
    folder.mkdir(parents=True)
    for i in range(count):
        Image.effect_noise((pixels, pixels), 80).convert("RGB").save(folder / f"{i}.png")
        tags = [f"{rng.choice(['red', 'blue', 'tall', 'small'])} thing {n}" for n in range(24)]
        (folder / f"{i}.txt").write_text(", ".join(tags))


def measure(words: list[str], out: Path, steps: int, patience: float) -> dict[str, float] | str:
    """Speed and memory of one run, which is killed when it has logged so many steps; or why there is none."""
    log = out / "log.jsonl"
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path}
    started = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-m", "trainkit", "train", *words],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        while not (log.exists() and log.read_text().count("\n") >= steps):
            if process.poll() is not None:
                assert process.stderr is not None
                return process.stderr.read().decode()[-400:]
            if time.monotonic() - started > patience:
                os.killpg(process.pid, signal.SIGKILL)
                return f"no {steps} steps in {patience:.0f} s"
            time.sleep(0.05)
        resident = _most_resident(process.pid)
        os.killpg(process.pid, signal.SIGKILL)
    lines = [json.loads(line) for line in log.read_text().splitlines()[:steps]]
    counted = lines[len(lines) // 2 :]
    found = {
        "samples_per_s": median(line["samples_per_s"] for line in counted),
        "waited": median(line["waited"] for line in counted),
    }
    found["memory_gb"] = max(line.get("gpu_memory_gb", resident) for line in lines)
    return found


def _most_resident(pid: int) -> float:
    """The most memory that a process had resident so far, in GiB; Linux only."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", choices=["small", "sd15"], default="small")
    parser.add_argument("--pixels", type=int, default=None, help="default 512 for sd15, 128 for small")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=16, help="optimizer steps per variant")
    parser.add_argument(
        "--only",
        default="",
        help="variants, by a part of their name, with | between; the first runs in any case",
    )
    parser.add_argument("--seconds", type=float, default=3600, help="begin no variant after so long")
    parser.add_argument("--out", type=Path, help="also write the figures to this JSON file")
    options = parser.parse_args()
    gpu = torch.cuda.is_available()
    pixels = options.pixels or (512 if options.size == "sd15" else 128)
    start, results = time.monotonic(), dict[str, Any]()
    names = list(VARIANTS) if gpu else ["bf16", *(f"bf16, {name}" for name in ON_A_CPU)]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_model(folder / "model", options.size)
        write_data(folder / "data", pixels)
        print(f"model and data made in {time.monotonic() - start:.0f} s", flush=True)
        run = folder / "run.toml"
        run.write_text(
            f'out = "out"\nsamples = 1_000_000\nbatch = {options.batch}\naccumulate = 1\n'
            "checkpoint_every = 0\nkeep_checkpoints = 1\ntrackers = []\n"
            f'[model]\nbase = "model"\n[data]\npath = "data"\ncache = "latents"\nworkers = 4\n'
            f"buckets = {{ resolution = {pixels}, max_side = {pixels}, min_side = {pixels} }}\n"
            '[text]\nmax_tokens = 150\n[optim]\noptimizer = "adamw"\n'
        )
        for name in names:
            if name != "bf16" and not any(part in name for part in options.only.split("|")):
                continue
            if time.monotonic() - start > options.seconds:
                print(f"no time left for: {name}", flush=True)
                continue
            words = VARIANTS[name] if gpu else [w for w in VARIANTS[name] if not w.startswith("mixed")]
            out = folder / f"out-{len(results)}"
            found = measure([str(run), f"out={out}", *words], out, options.steps, patience=600)
            results[name if gpu else name.removeprefix("bf16, ").replace("bf16", "as it is")] = found
            print(name, found, flush=True)
            if options.out:
                options.out.write_text(json.dumps(results, indent=1))
    device = torch.cuda.get_device_name() if gpu else "CPU"
    print(f"\n{device}, torch {torch.__version__}, {options.size}, {pixels} pixels, batch {options.batch}")
    base = results.get("bf16" if gpu else "as it is")
    for name, found in results.items():
        if isinstance(found, str):
            print(f"| {name} | failed: {found.splitlines()[-1] if found else '?'} | | |")
            continue
        ratio = found["samples_per_s"] / base["samples_per_s"] if isinstance(base, dict) else float("nan")
        print(
            f"| {name} | {found['samples_per_s']:.2f} | {ratio:.2f} | {found['memory_gb']:.2f} | "
            f"{found['waited']:.1%} |"
        )


if __name__ == "__main__":
    main()
