"""The demo's data set and run file on disk, in the formats that users have: pictures, sidecars, CSV, TOML."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

from captionkit import Record
from trainkit.demo.scenes import FIGURE_COLOURS, GROUND_COLOURS, Scene, draw_scene, full_scene
from trainkit.demo.words import implications, record_of

NUM_SCENES = 1000

NO_FLIP = (
    "sequence",
    "asymmetrical*",
    "before and after",
    "text on*",
    "written*",
    "* facing *",
    "* at left",
    "* at right",
)
"""The recipe's no-flip list as far as it meets this world, and what else is not its own mirror image here."""

RECIPE = """# The caption recipe of this data set: the hyperfusion preset with three lists of its own.
preset = "hyperfusion"
implications = "implications.csv"
important = [{important}]
no_flip = [{no_flip}]
"""

RUN = """# The demo's run. Try: trainkit check run.toml
out = "run"
seed = {seed}
samples = {samples}
batch = 32
accumulate = 1
checkpoint_every = {checkpoint_every}
keep_checkpoints = 1

[model]
base = "demo-base"              # the epsilon-prediction base model that ships with trainkit

[data]
path = "scenes"
recipe = "recipe.toml"
workers = 0
buckets = {{ resolution = 96, step = 32, min_side = 64, max_side = 128 }}

[text]
max_tokens = 525
clip_skip = 2

[schedule]
zero_terminal_snr = true

[objective]
prediction = "v_prediction"     # the base predicts epsilon: turning it round is the recipe's real job
weighting = "soft_min_snr"
gamma = 3.0
ip_noise_gamma = 0.02

[optim]                         # a small model moves at larger rates than the recipe's 4e-6 and 1e-6
optimizer = "adamw8bit"
lr = {lr}
lr_text_encoder = {lr_text}
schedule = "linear"
warmup_samples = 640

[preview]
every = {preview_every}
steps = 20
guidance = 4.0
guidance_rescale = 0.7
prompts = [
{prompts}
]
"""

PREVIEW_PROMPTS = (
    "red circle, black background",
    "yellow star, white background",
    "blue heart, gray background",
    "green triangle, black background",
    "pink square, white background",
    "purple cross, beige background",
    "orange ring, black background",
    "cyan circle, brown background",
    "big red star, white background",
    "small yellow circle, black background",
    "green arrow, arrow facing right, gray background",
    "yellow crescent, black background",
    "a blue square on a white background",
    "a big pink heart on a black background",
    "blue circle, text on circle, white background",
    "red square, green star, 2 shapes, gray background",
)


def write_scenes(folder: Path, *, count: int = NUM_SCENES, seed: int = 0) -> list[Scene]:
    """Draw ``count`` scenes with a JSON sidecar each; the same seed gives the same files."""
    folder.mkdir(parents=True, exist_ok=True)
    scenes = []
    for number in range(count):
        rng = random.Random(f"scenes/{seed}/{number}")
        scene = full_scene(rng)
        name = f"scene_{number:04d}"
        draw_scene(scene).save(folder / f"{name}.png")
        sidecar = _sidecar(record_of(scene, name, f"{name}.png", rng))
        (folder / f"{name}.json").write_text(json.dumps(sidecar, indent=1) + "\n", encoding="utf-8")
        scenes.append(scene)
    return scenes


def _sidecar(record: Record) -> dict[str, object]:
    by_category: dict[str, list[str]] = {}
    for tag in record.tags:
        by_category.setdefault(str(tag.category), []).append(tag.name)
    captions = {prose.source: prose.text for prose in record.prose}
    return {"tags": by_category, "captions": captions} if captions else {"tags": by_category}


def write_recipe(folder: Path) -> None:
    """implications.csv (e621's columns) and recipe.toml."""
    with (folder / "implications.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "antecedent_name", "consequent_name", "created_at", "status"])
        rows.writerows([n, a, b, "", "active"] for n, (a, b) in enumerate(implications(), start=1))
    important = ", ".join(json.dumps(f"{colour} *") for colour in FIGURE_COLOURS)
    no_flip = ", ".join(map(json.dumps, NO_FLIP))
    text = RECIPE.format(important=important, no_flip=no_flip)
    (folder / "recipe.toml").write_text(text, encoding="utf-8")


def write_run(folder: Path, *, samples: int, seed: int) -> Path:
    """run.toml; returns its path."""
    prompts = "\n".join(f"    {json.dumps(prompt)}," for prompt in PREVIEW_PROMPTS)
    quarter = max(1, samples // 4)
    text = RUN.format(
        seed=seed,
        samples=samples,
        checkpoint_every=quarter,
        preview_every=quarter,
        prompts=prompts,
        lr=6e-4,
        lr_text=2e-4,
    )
    path = folder / "run.toml"
    path.write_text(text, encoding="utf-8")
    return path


def judged_prompts() -> list[tuple[str, str]]:
    """(prompt, asked colour) for every figure colour with eight kinds and all grounds."""
    kinds = ("circle", "square", "triangle", "star", "heart", "cross", "ring", "arrow")
    grounds = list(GROUND_COLOURS)
    return [
        (f"{colour} {kind}, {grounds[(c + k) % len(grounds)]} background", colour)
        for c, colour in enumerate(FIGURE_COLOURS)
        for k, kind in enumerate(kinds)
    ]
