"""Small real things for trainkit's tests: a model folder from configurations with random weights, and drawn
pictures."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from trainkit.demo.scenes import draw_scene, full_scene
from trainkit.demo.words import record_of

ROOT = Path(__file__).resolve().parents[2]
"""The checkout, for processes that must import it."""


def byte_tokenizer() -> CLIPTokenizer:
    """A CLIP tokenizer without merges: one token per byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(b) for b in printable] + [chr(256 + n) for n in range(256 - len(printable))]
    tokens = [*letters, *(c + "</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={t: i for i, t in enumerate(tokens)}, merges=[], model_max_length=77)


def write_tiny_model(folder: Path, *, layers: int = 3, seed: int = 0) -> Path:
    """A two-level UNet, a four-level VAE and a CLIP text encoder, as a diffusers folder that predicts
    epsilon."""
    torch.manual_seed(seed)
    tokenizer = byte_tokenizer()
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=layers,
            num_attention_heads=2,
            projection_dim=16,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=2,
        cross_attention_dim=16,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )
    vae = AutoencoderKL(
        block_out_channels=(4, 4, 8, 8),
        layers_per_block=1,
        norm_num_groups=2,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        sample_size=64,
    )
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    pipeline: Any = StableDiffusionPipeline(
        vae, text_encoder, tokenizer, unet, scheduler, None, None, requires_safety_checker=False
    )
    pipeline.save_pretrained(folder)
    return folder


def write_pictures(folder: Path, count: int, *, seed: int = 0) -> Path:
    """Drawn scenes with JSON sidecars."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        rng = random.Random(f"{seed}/{i}")
        scene = full_scene(rng)
        draw_scene(scene).save(folder / f"{i:03d}.png")
        record = record_of(scene, f"{i:03d}", f"{i:03d}.png", rng)
        by_category: dict[str, list[str]] = {}
        for tag in record.tags:
            by_category.setdefault(str(tag.category), []).append(tag.name)
        captions = {prose.source: prose.text for prose in record.prose}
        (folder / f"{i:03d}.json").write_text(json.dumps({"tags": by_category, "captions": captions}))
    return folder


def run_data(model: Path, data: Path, out: Path, /, **changes: Any) -> dict[str, Any]:
    """A small run as plain data; ``changes`` replace whole top-level settings."""
    run: dict[str, Any] = {
        "out": str(out),
        "samples": 48,
        "batch": 4,
        "accumulate": 2,
        "trackers": [],
        "model": {"base": str(model)},
        "data": {
            "path": str(data),
            "workers": 0,
            "buckets": {"resolution": 64, "max_side": 96, "min_side": 32},
        },
        "text": {"max_tokens": 150},
        "optim": {"optimizer": "adamw", "lr": 1e-3, "lr_text_encoder": 1e-4},
    }
    return run | changes
