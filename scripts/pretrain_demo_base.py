"""Pre-train the small base model that ships with the package (trainkit/demo/base).

Usage:
    pip download --no-deps open_clip_torch==3.3.0        # holds CLIP's byte-pair merges (MIT)
    unzip -j open_clip_torch-3.3.0-py3-none-any.whl open_clip/bpe_simple_vocab_16e6.txt.gz
    python scripts/pretrain_demo_base.py vae  --minutes 18 --out build/base
    python scripts/pretrain_demo_base.py unet --minutes 32 --out build/base --bpe bpe_simple_vocab_16e6.txt.gz

The result has Stable Diffusion 1.5's architecture at a fraction of its width: an AutoencoderKL with four
levels and a factor of 8, a CLIP text encoder with CLIP's own tokenization of the words it knows, and a UNet
with four levels. The UNet and the text encoder learn *epsilon* prediction on SD 1.5's original noise
schedule, on plain scenes only (one figure near the middle of a gray, brown or beige ground). Everything else
is left for the fine-tune to teach. On two busy cores the stages took 18 and 32 minutes.

Tensors: pictures are float32 NCHW in [-1, 1]; latents NCHW with unit variance after scaling.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import math
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from trainkit.demo.scenes import draw_scene, full_scene, plain_scene
from trainkit.demo.words import faulty_sentences, plain_sentence, tags_of

SIDE = 96
HIDDEN = 96
EXTRA_WORDS = (
    "photo picture drawing of the a an with two three many large tiny dark light pure big small no not and or"
)


def main() -> None:
    """Parse the command line and run one stage."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=["vae", "unet"])
    parser.add_argument("--minutes", type=float, required=True, help="training time of this stage")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--bpe", type=Path, help="bpe_simple_vocab_16e6.txt.gz (unet stage)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    if arguments.stage == "vae":
        pretrain_vae(arguments.out, arguments.minutes, arguments.seed)
    else:
        pretrain_unet(arguments.out, arguments.minutes, arguments.seed, arguments.bpe)


def to_tensor(image: Image.Image) -> torch.Tensor:
    """RGB picture -> [3, H, W] in [-1, 1]."""
    return torch.from_numpy(np.asarray(image, dtype=np.float32)).permute(2, 0, 1) / 127.5 - 1.0


def random_crop(image: Image.Image, rng: random.Random, side: int) -> Image.Image:
    """A square of ``side`` from anywhere in the picture."""
    x, y = rng.randint(0, image.width - side), rng.randint(0, image.height - side)
    return image.crop((x, y, x + side, y + side))


def shrunk(image: Image.Image, shorter: int) -> Image.Image:
    """The picture resized so that its shorter side is ``shorter``."""
    scale = shorter / min(image.size)
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)


# ---------------------------------------------------------------------------------------------------- VAE


def pretrain_vae(out: Path, minutes: float, seed: int) -> None:
    """Reconstruct crops of all kinds of scenes; write ``out``/vae.

    Two thirds of the time on crops of 32 pixels, which are cheap and teach the colours, the rest on 64 pixels
    with a term for edges. The posterior starts narrow (standard deviation 0.05): started at 1, as a plain
    initialisation does, the noise hides the colours for thousands of steps.
    """
    vae = AutoencoderKL(
        block_out_channels=(16, 32, 64, 64),
        layers_per_block=1,
        norm_num_groups=2,  # With two channels a group the norms would leave one sign of a flat colour.
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        sample_size=SIDE,
    ).to(memory_format=torch.channels_last)
    with torch.no_grad():
        vae.quant_conv.weight[4:] *= 0.1
        vae.quant_conv.bias[4:] = -6.0
    average = torch.optim.swa_utils.AveragedModel(
        vae, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.995)
    )
    optimizer = torch.optim.AdamW(
        vae.parameters(), lr=2e-3, betas=(0.9, 0.99), weight_decay=1e-4, foreach=True
    )
    rng = random.Random(f"vae/{seed}")
    scenes = [draw_scene(full_scene(rng)) for _ in range(3000)]
    small, large = (
        [shrunk(s, rng.randint(40, 72)) for s in scenes],
        [shrunk(s, rng.randint(72, 112)) for s in scenes],
    )
    start, step, running = time.monotonic(), 0, 0.5
    while (share := (time.monotonic() - start) / (minutes * 60)) < 1.0:
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1.0, (step + 1) / 100) * (0.5 + 0.5 * math.cos(math.pi * share))
        first = share < 2 / 3
        pool, batch, side = (small, 12, 32) if first else (large, 10, 64)
        x = torch.stack([to_tensor(random_crop(rng.choice(pool), rng, side)) for _ in range(batch)])
        x = recoloured(x, 1.0 if first else 0.3).contiguous(memory_format=torch.channels_last)
        posterior = vae.encode(x).latent_dist
        y = vae.decode(posterior.sample()).sample
        loss = (y - x).abs().mean() + 2.0 * F.mse_loss(y, x) + 1e-6 * posterior.kl().mean()
        if not first:
            loss = loss + sum((torch.diff(y, dim=d) - torch.diff(x, dim=d)).abs().mean() for d in (2, 3))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        average.update_parameters(vae)
        step += 1
        running = 0.98 * running + 0.02 * (y - x).abs().mean().item()
        if step % 100 == 0:
            print(f"vae step {step} ({share:.0%}) mean absolute error {running:.4f}", flush=True)
        if step % 500 == 0:
            average.module.save_pretrained(out / "vae")
    vae = average.module.eval()
    with torch.no_grad():
        x = torch.stack([to_tensor(random_crop(shrunk(s, SIDE), rng, SIDE)) for s in scenes[:256]])
        posteriors = [vae.encode(part).latent_dist for part in x.split(32)]
        z = torch.cat([p.sample() for p in posteriors])
        y = torch.cat([vae.decode(part).sample for part in z.split(32)])
    vae.register_to_config(scaling_factor=round(1.0 / z.std().item(), 5))
    vae.save_pretrained(out / "vae")
    error = (y - x).abs().mean().item()
    print(
        f"vae: {step} steps, scaling factor {vae.config.scaling_factor}, mean absolute error {error:.4f}",
        flush=True,
    )


def recoloured(x: torch.Tensor, share: float) -> torch.Tensor:
    """Pictures [B, 3, H, W] of which ``share`` have their colour channels permuted and some of them inverted.

    Most of a scene is its ground, and grounds are gray, brown, beige, black and white: left to itself the VAE
    spends its first thousands of steps on brightness alone and makes every figure gray (seen).
    """
    out = x.clone()
    for i in range(int(share * len(x))):
        signs = torch.randint(0, 2, (3, 1, 1)) * 2.0 - 1.0
        out[i] = x[i, torch.randperm(3)] * signs
    return out


# --------------------------------------------------------------------------------------------------- UNet


def make_tokenizer(bpe: Path, first_merges: int = 1500) -> CLIPTokenizer:
    """CLIP's tokenizer cut down to the first merges and those that the words of the scenes need.

    Every word of the scenes is split exactly as by the full vocabulary: byte-pair encoding takes the earliest
    merge that fits at each turn, and all merges that the full vocabulary would take are kept in their order.
    """
    lines = gzip.decompress(bpe.read_bytes()).decode("utf-8").split("\n")[1 : 49152 - 256 - 2 + 1]
    merges = [tuple(line.split()) for line in lines]
    rank = {merge: i for i, merge in enumerate(merges)}
    kept = set(range(first_merges))
    for word in scene_words():
        symbols = [*word[:-1], word[-1] + "</w>"]
        while True:
            pairs = [(rank[p], k) for k, p in enumerate(itertools.pairwise(symbols)) if p in rank]
            if not pairs:
                break
            best, k = min(pairs)
            kept.add(best)
            symbols[k : k + 2] = [symbols[k] + symbols[k + 1]]
    ordered = [merges[i] for i in sorted(kept)]
    # A kept merge may join two symbols that only a left-out merge makes; it then never applies: harmless.
    alphabet = _byte_alphabet()
    tokens = [*alphabet, *(a + "</w>" for a in alphabet), *(a + b for a, b in ordered)]
    tokens = [*dict.fromkeys(tokens), "<|startoftext|>", "<|endoftext|>"]
    present = set(tokens)
    usable = [(a, b) for a, b in ordered if a in present and b in present]
    return CLIPTokenizer(vocab={t: i for i, t in enumerate(tokens)}, merges=usable, model_max_length=77)


def scene_words() -> list[str]:
    """All words that tags and sentences of scenes can contain."""
    rng = random.Random("words")
    words: set[str] = set(EXTRA_WORDS.split())
    for _ in range(4000):
        scene = full_scene(rng)
        text = " ".join([*(t.name.replace("_", " ") for t in tags_of(scene)), faulty_sentences(scene, rng)])
        words |= set("".join(c if c.isalpha() else " " for c in text.lower()).split())
    return sorted(words)


def _byte_alphabet() -> list[str]:
    """The 256 printable stand-ins for bytes, in the order of CLIP's and GPT-2's vocabularies."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    others = [b for b in range(256) if b not in printable]
    return [*(chr(b) for b in printable), *(chr(256 + n) for n in range(len(others)))]


def caption_of(scene: Any, rng: random.Random) -> str:
    """A short caption of a plain scene: two tags in either order, a sentence, or (1 in 10) nothing."""
    roll = rng.random()
    if roll < 0.1:
        return ""
    if roll < 0.3:
        return plain_sentence(scene)
    figure = scene.figures[0]
    tags = [f"{figure.colour} {figure.kind}", f"{scene.ground} background"]
    rng.shuffle(tags)
    return ", ".join(tags)


def pretrain_unet(out: Path, minutes: float, seed: int, bpe: Path) -> None:
    """Epsilon prediction on the latents of plain scenes; writes the other parts of the model folder."""
    vae = AutoencoderKL.from_pretrained(out / "vae").eval()
    tokenizer = make_tokenizer(bpe)
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=HIDDEN,
            intermediate_size=4 * HIDDEN,
            num_hidden_layers=4,
            num_attention_heads=4,
            projection_dim=HIDDEN,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    unet = UNet2DConditionModel(
        sample_size=SIDE // 8,
        block_out_channels=(32, 48, 64, 64),
        layers_per_block=2,
        norm_num_groups=4,
        attention_head_dim=4,
        cross_attention_dim=HIDDEN,
    ).to(memory_format=torch.channels_last)
    print(
        f"unet {count(unet)}, text encoder {count(text_encoder)}, vae {count(vae)}, {len(tokenizer)} tokens",
        flush=True,
    )
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    alphas_cumprod = torch.cumprod(1.0 - betas, dim=0)
    alpha, sigma = alphas_cumprod.sqrt().float(), (1.0 - alphas_cumprod).sqrt().float()

    rng = random.Random(f"unet/{seed}")
    scenes = [plain_scene(rng, width=112, height=112) for _ in range(6000)]
    with torch.no_grad():
        pictures = [to_tensor(random_crop(draw_scene(s), rng, SIDE)) for s in scenes]
        z = torch.cat(
            [
                vae.encode(torch.stack(pictures[i : i + 50])).latent_dist.sample()
                for i in range(0, len(pictures), 50)
            ]
        )
    z = z * vae.config.scaling_factor

    modules = torch.nn.ModuleList([unet, text_encoder])
    mean = torch.optim.swa_utils.AveragedModel(
        modules, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998)
    )
    optimizer = torch.optim.AdamW(
        modules.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=1e-2, foreach=True
    )
    start, step, running = time.monotonic(), 0, 1.0
    while (share := (time.monotonic() - start) / (minutes * 60)) < 1.0:
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1.0, (step + 1) / 200) * (0.5 + 0.5 * math.cos(math.pi * share))
        picked = [rng.randrange(len(scenes)) for _ in range(32)]
        ids = tokenizer(
            [caption_of(scenes[i], rng) for i in picked],
            padding="max_length",
            max_length=77,
            return_tensors="pt",
        )
        # Clip skip 2: the last layer is left out, the final layer norm kept, as in the recipe's training.
        states = text_encoder(ids["input_ids"], output_hidden_states=True).hidden_states[-2]
        context = text_encoder.final_layer_norm(states)
        t = (torch.rand(()) + torch.arange(32) / 32).remainder(1.0).mul(1000).long()
        epsilon = torch.randn(32, *z.shape[1:])
        x_t = alpha[t].view(-1, 1, 1, 1) * z[picked] + sigma[t].view(-1, 1, 1, 1) * epsilon
        loss = F.mse_loss(unet(x_t, t, context).sample, epsilon)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(modules.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        mean.update_parameters(modules)
        step += 1
        running = 0.99 * running + 0.01 * loss.item()
        if step % 100 == 0:
            print(f"unet step {step} ({share:.0%}) loss {running:.4f}", flush=True)
        if step % 1000 == 0:
            save(out, vae, mean.module[1], tokenizer, mean.module[0])
    save(out, vae, mean.module[1], tokenizer, mean.module[0])
    (out / "ORIGIN.json").write_text(
        json.dumps({"steps": step, "batch": 32, "seed": seed, "objective": "epsilon"}, indent=2)
    )


def save(out: Path, vae: Any, text_encoder: Any, tokenizer: Any, unet: Any) -> None:
    """Write a diffusers folder with half-precision weights, as base models are shipped."""
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="epsilon",
    )
    StableDiffusionPipeline(
        vae,
        text_encoder,
        tokenizer,
        unet,
        scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(out / "full")
    pipe = StableDiffusionPipeline.from_pretrained(out / "full", torch_dtype=torch.float16)
    pipe.save_pretrained(out / "half")
    for path in (out / "half").rglob("*.json"):  # A path of the machine that made it is nobody's business.
        data = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(data, dict) and data.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def count(module: torch.nn.Module) -> str:
    """Number of parameters, readable."""
    return f"{sum(p.numel() for p in module.parameters()) / 1e6:.2f}M"


if __name__ == "__main__":
    main()
