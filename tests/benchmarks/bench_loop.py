"""trainkit's loop beside a bare one: the same model, shapes, optimizer and threads, step by step in turns.

    python tests/benchmarks/bench_loop.py tags.csv.gz

``tags.csv.gz`` has no header and begins with name, category number, post count, as e621's exports do;
captions of 40 such tags and two sentences are made by the hyperfusion preset. The bare loop is that of
diffusers' text-to-image script (examples/text_to_image/train_text_to_image.py), written plainly: noise,
velocity, min-SNR weights, backward, clip, AdamW, a learning-rate schedule; the text encoder is trained as
well. Its data lie in memory as tensors. trainkit reads cached latents, makes captions and token ids in the
same process (no workers), logs, and checks every gradient.

Both run in one process: after each of trainkit's optimizer steps the bare loop makes one on the same shapes
while trainkit's clock stands still, so both see the machine at the same speed. The ratio is the median over
pairs of steps. The same ratio of two bare steps (``--null``) says how much of it is chance and order.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import gzip
import json
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.training_utils import compute_snr
from PIL import Image
from torch.nn import functional
from torch.optim.optimizer import register_optimizer_step_post_hook
from transformers import CLIPTextConfig, CLIPTextModel

from trainkit import train as loop
from trainkit.config import RunConfig
from trainkit.ema import Ema
from trainkit.export.vocabulary import clip_tokenizer
from trainkit.feed import Batch, Feed
from trainkit.models import Denoiser, load_model, scheduler_for
from trainkit.reporter import Reporter
from trainkit.schedule import ScheduleConfig
from trainkit.step import Stepper
from trainkit.text import encode_chunks

WARM_UP = 3
"""Steps of each round that are not counted."""
PICTURES, TAGS = 96, 40
PROSE = "The image showcases a fox in a white shirt. There are trees behind it, and the sky is blue."


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tags", type=Path, help="tags.csv.gz")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=24, help="counted steps of each round")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--set",
        nargs="*",
        default=[],
        metavar="key=value",
        help="change trainkit's settings of optim, such as fused=true",
    )
    parser.add_argument("--null", action="store_true", help="measure two bare loops instead")
    parser.add_argument("--json", type=Path, help="write every step's seconds here")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    optim = {key: json.loads(value) for key, _, value in (s.partition("=") for s in options.set)}
    with tempfile.TemporaryDirectory() as folder:
        base, data = write_model(Path(folder) / "base"), write_data(Path(folder) / "data", options.tags)
        rounds = [
            measure(run_of(base, data, Path(folder) / f"run{n}", options.steps, optim), null=options.null)
            for n in range(options.rounds)
        ]
    report(rounds)
    if options.json is not None:
        told = [
            {"bare": r.bare, "trainkit": r.ours, "bare_parts": r.bare_parts, "parts": r.parts} for r in rounds
        ]
        options.json.write_text(json.dumps({"threads": options.threads, "rounds": told}, indent=1) + "\n")


def write_model(folder: Path) -> Path:
    """Stable Diffusion 1.5's architecture, narrow: a step takes about a second on one thread."""
    torch.manual_seed(0)
    tokenizer = clip_tokenizer()
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=256,
            num_hidden_layers=4,
            num_attention_heads=4,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    unet = UNet2DConditionModel(
        sample_size=32, block_out_channels=(32, 64, 128, 128), attention_head_dim=8, cross_attention_dim=64
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 16, 16, 16),
        norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    )
    scheduler = DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False
    )
    parts: Any = (vae, text_encoder, tokenizer, unet, scheduler, None, None)
    pipeline: Any = StableDiffusionPipeline(*parts, requires_safety_checker=False)
    pipeline.save_pretrained(folder)
    return folder


def write_data(folder: Path, tags: Path) -> Path:
    """Pictures of noise in many shapes, each with 40 tags drawn by their count, and a caption."""
    with gzip.open(tags, "rt", encoding="utf-8", newline="") as file:
        rows = [(name, int(count)) for name, _, count, *_ in csv.reader(file)]
    names, counts = zip(*((name, n) for name, n in rows if n >= 100 and "," not in name), strict=True)
    rng, noise = random.Random(0), np.random.default_rng(0)
    folder.mkdir()
    for number in range(PICTURES):
        width = round(256 * 2 ** rng.gauss(0, 0.35))
        pixels = noise.integers(0, 256, (256 * 256 // width, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")
        drawn = list(dict.fromkeys(rng.choices(names, counts, k=4 * TAGS)))[:TAGS]
        record = {"tags": {"general": drawn}, "captions": {"cogvlm": PROSE}}
        (folder / f"{number:03d}.json").write_text(json.dumps(record))
    return folder


def run_of(base: Path, data: Path, out: Path, steps: int, optim: dict[str, Any]) -> RunConfig:
    """The recipe's settings, batch 4, 256 px, float32."""
    return RunConfig.model_validate(
        {
            "out": out,
            "samples": 4 * (WARM_UP + steps),
            "batch": 4,
            "accumulate": 1,
            "checkpoint_every": 0,
            "mixed_precision": "no",
            "trackers": [],
            "model": {"base": base},
            "data": {"path": data, "cache": data.parent / "latents", "workers": 0}
            | {"buckets": {"resolution": 256}},
            "optim": {"optimizer": "adamw", "schedule": "linear"} | optim,
        }
    )


@dataclass
class Clock:
    """Trainkit's time by what it is spent on. A part's time is its own, without that of parts inside it."""

    parts: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    paused: float = 0.0
    inner: list[float] = field(default_factory=lambda: [0.0])

    def now(self) -> float:
        return time.perf_counter() - self.paused

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = self.now()
        self.inner.append(0.0)
        try:
            yield
        finally:
            spent = self.now() - start
            self.parts[name] += spent - self.inner.pop()
            self.inner[-1] += spent

    def take(self) -> dict[str, float]:
        """The parts' seconds since the last call."""
        taken = dict(self.parts)
        self.parts.clear()
        return taken

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.paused += time.perf_counter() - start


@dataclass
class Round:
    """Seconds of every counted step, whole and by what they were spent on."""

    bare: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)
    bare_parts: list[dict[str, float]] = field(default_factory=list)
    parts: list[dict[str, float]] = field(default_factory=list)
    shapes: set[tuple[int, ...]] = field(default_factory=set)


METHODS = (
    (Feed, "__getitem__", "captions, token ids, latents"),
    (Stepper, "loss", "noise, target, loss"),
    (Denoiser, "forward", "forward"),
    (Accelerator, "backward", "backward"),
    (loop, "grad_norms", "gradient norms, clip"),
    (loop, "clip_gradients", "gradient norms, clip"),
    (AcceleratedOptimizer, "step", "optimizer"),
    (Reporter, "step", "log"),
    (Ema, "update", "averages"),
)


def measure(run: RunConfig, *, null: bool) -> Round:
    """One run of trainkit with a bare step after every step of its own."""
    clock, bare, found, seen = Clock(), Bare(run), Round(), Seen()
    with contextlib.ExitStack() as stack:
        for owner, name, part in METHODS:
            stack.enter_context(timed(owner, name, part, clock, seen))
        hook = register_optimizer_step_post_hook(
            lambda optimizer, *_: in_turn(optimizer, clock, bare, found, seen, null)
        )
        stack.callback(hook.remove)
        loop.train(run)
    return found


@dataclass
class Seen:
    """What the hook must remember from one step to the next."""

    batch: Batch | None = None
    steps: int = 0
    last: float = 0.0


@contextlib.contextmanager
def timed(owner: Any, name: str, part: str, clock: Clock, seen: Seen) -> Iterator[None]:
    """The owner's method, its time counted."""
    method: Callable[..., Any] = getattr(owner, name)

    def counted(*args: Any, **kwargs: Any) -> Any:
        if owner is Stepper:
            seen.batch = args[2]
        with clock.part(part):
            return method(*args, **kwargs)

    setattr(owner, name, counted)
    try:
        yield
    finally:
        setattr(owner, name, method)


def in_turn(optimizer: Any, clock: Clock, bare: Bare, found: Round, seen: Seen, null: bool) -> None:
    """After each of trainkit's optimizer steps: note its time, then make a bare step."""
    if optimizer is bare.optimizer:
        return
    now = clock.now()
    with clock.pause():
        assert seen.batch is not None
        seen.steps += 1
        inputs = bare.inputs(seen.batch)
        # The optimizer's own part is still open here: its time counts with the next step's.
        first, parts = (bare.step(*inputs), {}) if null else (now - seen.last, clock.take())
        seconds = bare.step(*inputs)
        bare_parts = bare.clock.take()
        if seen.steps > WARM_UP:
            found.ours.append(first)
            found.bare.append(seconds)
            found.parts.append(parts)
            found.bare_parts.append(bare_parts)
            found.shapes.add((*inputs[0].shape, inputs[1].shape[1]))
    seen.last = now


class Bare:
    """The text-to-image script's loop: what a step cannot do without."""

    def __init__(self, run: RunConfig) -> None:
        model = load_model(run.model, run.text)
        self.unet, self.text_encoder = model.denoiser.unet.train(), model.denoiser.text_encoder.train()
        self.scaling_factor, self.gamma = model.scaling_factor, run.objective.ip_noise_gamma
        self.schedule = DDPMScheduler.from_config(scheduler_for(ScheduleConfig(), run.objective).config)
        self.weights = [*self.unet.parameters(), *self.text_encoder.parameters()]
        groups = [
            {"params": list(self.unet.parameters()), "lr": run.optim.lr},
            {"params": list(self.text_encoder.parameters()), "lr": run.optim.lr_text_encoder},
        ]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
        self.rates = torch.optim.lr_scheduler.LinearLR(self.optimizer, 1.0, 0.1, 1000)
        self.max_grad_norm, self.clock, self.told = run.optim.max_grad_norm, Clock(), 0.0

    def inputs(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Latents [B, 4, h, w] and token ids [B, n, 77] of trainkit's batch, ready in memory."""
        assert batch.latents is not None
        return batch.latents[0] * self.scaling_factor, batch.ids.clone()

    def step(self, x0: torch.Tensor, ids: torch.Tensor) -> float:
        """Seconds of one optimizer step."""
        start, part = time.perf_counter(), self.clock.part
        with part("noise, target, loss"):
            eps = torch.randn_like(x0)
            t = torch.randint(0, 1000, (len(x0),))
            x_t = self.schedule.add_noise(x0, eps + self.gamma * torch.randn_like(eps), t)
            target = self.schedule.get_velocity(x0, eps, t)
        with part("forward"):
            context = encode_chunks(self.text_encoder, ids, "concat77")
            prediction = self.unet(x_t, t, context).sample
        with part("noise, target, loss"):
            snr = compute_snr(self.schedule, t)
            weight = snr.clamp(max=3.0) / (snr + 1)
            error = functional.mse_loss(prediction, target, reduction="none").mean(dim=(1, 2, 3))
            loss = (error * weight).mean()
        with part("backward"):
            loss.backward()
        with part("gradient norms, clip"):
            torch.nn.utils.clip_grad_norm_(self.weights, self.max_grad_norm)
        with part("optimizer"):
            self.optimizer.step()
        with part("log"):
            self.rates.step()
            self.optimizer.zero_grad()
            self.told += loss.item()
        return time.perf_counter() - start


def report(rounds: list[Round]) -> None:
    """The ratio of each round and of all, and where the time goes."""
    pairs = [pair for r in rounds for pair in zip(r.bare, r.ours, strict=True)]
    ours_is = "trainkit" if rounds[0].parts[0] else "bare again"
    shapes = set().union(*(r.shapes for r in rounds))
    print(f"\n{len(pairs)} pairs of steps in {len(shapes)} shapes (latents and chunks)")
    print(f"{'round':<8}{'bare, s':>10}{f'{ours_is}, s':>15}{f'bare / {ours_is}':>19}")
    for number, r in enumerate(rounds, start=1):
        show(str(number), list(zip(r.bare, r.ours, strict=True)))
    show("all", pairs)
    if not rounds[0].parts[0]:
        return
    print(f"\n{'seconds per step, median':<32}{'bare':>10}{'trainkit':>10}{'difference, % of a step':>26}")
    whole = median(ours for _, ours in pairs)
    for name in [*dict.fromkeys(part for *_, part in METHODS), "rest of the loop"]:
        bare = median(of(name, [p for r in rounds for p in r.bare_parts], [b for b, _ in pairs]))
        ours = median(of(name, [p for r in rounds for p in r.parts], [o for _, o in pairs]))
        print(f"{name:<32}{bare:>10.4f}{ours:>10.4f}{100 * (ours - bare) / whole:>25.2f}%")


def of(name: str, steps: list[dict[str, float]], whole: list[float]) -> list[float]:
    """Every step's seconds of one part; "rest of the loop" is what no part has."""
    if name == "rest of the loop":
        return [seconds - sum(parts.values()) for seconds, parts in zip(whole, steps, strict=True)]
    return [parts.get(name, 0.0) for parts in steps]


def show(name: str, pairs: list[tuple[float, float]]) -> None:
    bare, ours = (median(side) for side in zip(*pairs, strict=True))
    print(f"{name:<8}{bare:>10.3f}{ours:>15.3f}{median(b / o for b, o in pairs):>19.3f}")


if __name__ == "__main__":
    main()
