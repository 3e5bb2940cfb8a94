"""``trainkit demo``: draw a data set, fine-tune the small base model on it, judge the result, show it."""

from __future__ import annotations

import json
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from trainkit.config import RunConfig
from trainkit.demo import base_folder
from trainkit.demo.dataset import judged_prompts, write_recipe, write_run, write_scenes
from trainkit.demo.judge import luminance, shown_colour
from trainkit.demo.page import write_page
from trainkit.demo.scenes import FIGURE_COLOURS, Scene, draw_scene
from trainkit.errors import TrainkitError
from trainkit.models import ModelConfig, load_model
from trainkit.run_file import load_run
from trainkit.sample import PreviewConfig, Request, sample_pictures
from trainkit.text import Tokens
from trainkit.train import train
from trainkit.trained_as import read_objective

SAMPLES = 20_000
"""Samples seen in the fine-tune: twenty passes over the thousand scenes."""
SIZE = (96, 96)


@dataclass(frozen=True)
class Judged:
    """Sampled pictures of one model for the judged prompts."""

    pictures: list[Image.Image]
    shown: list[str | None]
    asked_share: float
    """Share of pictures that show the asked colour."""
    chance: float
    """The same share when every picture is held against all eight colours in turn."""
    luminance: dict[str, float]
    """Mean lightness (0 to 100) of the ground in pictures that were asked for a black or a white one."""


def run_demo(out: Path, *, samples: int | None = None, seed: int = 0) -> Path:
    """Do everything into ``out``; returns the page. Started again, training goes on where it stopped.

    Raises TrainkitError when the package came without its base model.
    """
    start = time.monotonic()
    if not (base_folder() / "model_index.json").is_file():
        raise TrainkitError(
            f"the demo's base model is not in {base_folder()}; install the package with its data files"
        )
    out.mkdir(parents=True, exist_ok=True)
    print(f"1/4 drawing the data set into {out / 'scenes'}", flush=True)
    scenes = write_scenes(out / "scenes", seed=seed)
    write_recipe(out)
    run = load_run(write_run(out, samples=samples or SAMPLES, seed=seed))

    print("2/4 sampling the base model, which predicts epsilon", flush=True)
    before = judge(base_folder(), run, clip_skip=run.text.clip_skip)
    print(f"3/4 fine-tuning it to v-prediction with zero terminal SNR, {run.samples} samples", flush=True)
    result = train(run)
    print("4/4 judging the samples and writing the page", flush=True)
    after = judge(result.model, run, clip_skip=run.text.clip_skip)
    summary = _summary(after, before, scenes, result.samples_seen, time.monotonic() - start)
    page = write_page(out, run, result, scenes, before.pictures, after.pictures, after.shown, summary)
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    print(
        f"the asked colour is in {summary['asked_colour_share']:.0%} of the samples "
        f"(chance {summary['chance']:.0%}, before {summary['before']['asked_colour_share']:.0%}); "
        f"{summary['seconds']:.0f} s, {summary['peak_memory_mb']:.0f} MB",
        flush=True,
    )
    return page


def judge(folder: Path, run: RunConfig, *, clip_skip: int) -> Judged:
    """Sample the judged prompts from a model folder and hold them against what was asked."""
    schedule, objective, text = read_objective(folder)
    text = text.model_copy(update={"clip_skip": clip_skip})
    model = load_model(ModelConfig(base=folder, train_text_encoder=False), text)
    asked = judged_prompts()
    requests = [Request(prompt, number) for number, (prompt, _) in enumerate(asked)]
    config: PreviewConfig = run.preview
    tokens = Tokens(model.tokenizer, text.max_tokens, text.backtrack)
    pictures = sample_pictures(model, tokens, config, schedule, objective, requests, SIZE, batch=16)
    shown = [shown_colour(picture) for picture in pictures]
    hits = [colour == name for (_, colour), name in zip(asked, shown, strict=True)]
    by_chance = [name == colour for name in shown for colour in FIGURE_COLOURS]
    return Judged(
        pictures,
        shown,
        asked_share=sum(hits) / len(hits),
        chance=sum(by_chance) / len(by_chance),
        luminance={
            ground: _mean(
                [
                    luminance(p)
                    for (prompt, _), p in zip(asked, pictures, strict=True)
                    if f"{ground} back" in prompt
                ]
            )
            for ground in ("black", "white")
        },
    )


def _summary(
    after: Judged, before: Judged, scenes: list[Scene], samples_seen: int, seconds: float
) -> dict[str, Any]:
    """Everything that is claimed, as measured in this run."""
    single = [s for s in scenes if s.layout == "single"]
    right = [shown_colour(draw_scene(s)) == s.figures[0].colour for s in single]
    return {
        "asked_colour_share": round(after.asked_share, 4),
        "chance": round(after.chance, 4),
        "samples": len(after.pictures),
        "seconds": round(seconds, 1),
        "peak_memory_mb": round(_peak_memory_mb(), 1),
        "samples_seen": samples_seen,
        "rule_right_on_real_scenes": round(sum(right) / len(right), 4),
        "black_ground_lightness": round(after.luminance["black"], 2),
        "white_ground_lightness": round(after.luminance["white"], 2),
        "before": {
            "asked_colour_share": round(before.asked_share, 4),
            "black_ground_lightness": round(before.luminance["black"], 2),
            "white_ground_lightness": round(before.luminance["white"], 2),
        },
    }


def _peak_memory_mb() -> float:
    """Largest resident memory of this process so far. Linux counts in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def _mean(values: list[float]) -> float:
    return sum(values) / max(1, len(values))
