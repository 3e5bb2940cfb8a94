"""Pictures: the same alone and in company, from the last timestep on, black where black is asked for."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

import trainkit.sample
from trainkit.commands import sample as command
from trainkit.demo import base_folder
from trainkit.demo.judge import luminance
from trainkit.draws import generator
from trainkit.errors import TrainkitError
from trainkit.loss import ObjectiveConfig
from trainkit.models import Model, ModelConfig, load_model, make_pipeline
from trainkit.png_text import KEY
from trainkit.sample import PreviewConfig, Request, sample_pictures, save_picture
from trainkit.samplers import SamplerName, trailing_timesteps
from trainkit.schedule import ScheduleConfig, make_schedule
from trainkit.text import TextConfig, Tokens, encode_chunks

ALL: tuple[SamplerName, ...] = get_args(SamplerName)
SCHEDULE, OBJECTIVE = ScheduleConfig(), ObjectiveConfig()
LONG = "red circle, blue star, " * 12
"""Four chunks for the tiny model's tokenizer."""


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Model:
    return load_model(ModelConfig(base=tiny_model), TextConfig(clip_skip=2))


def paint(model: Model, requests: list[Request], **options: Any) -> list[Image.Image]:
    keywords = {key: options.pop(key) for key in ("batch", "model_name") if key in options}
    size = options.pop("size", (64, 64))
    config = PreviewConfig(**{"steps": 3} | options)
    tokens = Tokens(model.tokenizer)
    return sample_pictures(model, tokens, config, SCHEDULE, OBJECTIVE, requests, size, **keywords)


class Seen:
    """What the UNet was shown: per call (latents, timestep, context)."""

    def __init__(self, unet: nn.Module) -> None:
        self.calls: list[tuple[Tensor, int, Tensor]] = []
        self.hook = unet.register_forward_pre_hook(self._note)

    def _note(self, _: nn.Module, shown: tuple[Any, ...]) -> None:
        x, t, context = shown
        self.calls.append((x.clone(), int(t), context.clone()))


@pytest.fixture
def seen(model: Model) -> Iterator[Seen]:
    found = Seen(model.denoiser.unet)
    yield found
    found.hook.remove()


def apart(a: Image.Image, b: Image.Image) -> int:
    """Largest difference of two pictures in levels of 0 to 255."""
    assert a.size == b.size
    return int(np.abs(np.asarray(a, dtype=int) - np.asarray(b, dtype=int)).max())


REQUESTS = [
    Request("red circle", 0),
    Request(LONG, 1),
    Request("blue star", 2, negative=LONG),
    Request("", 3, size=(40, 88)),
    Request("red circle", 4, negative="dull"),
    Request("red circle", 5, size=(72, 48)),
]


@pytest.mark.parametrize("sampler", ALL)
def test_a_picture_is_the_same_alone_and_in_any_company(model: Model, sampler: SamplerName) -> None:
    alone = [paint(model, [request], sampler=sampler)[0] for request in REQUESTS]
    for batch in (1, 2, 8):
        together = paint(model, REQUESTS, sampler=sampler, batch=batch)
        backwards = paint(model, REQUESTS[::-1], sampler=sampler, batch=batch)[::-1]
        for one, a, b in zip(alone, together, backwards, strict=True):
            assert max(apart(one, a), apart(one, b)) <= 1
    assert [p.size for p in alone] == [(64, 64)] * 3 + [(40, 88), (64, 64), (72, 48)]
    assert apart(alone[0], alone[4]) > 1  # Another seed and another negative prompt.


def test_noise_is_the_seeds_bit_for_bit_and_every_prompt_has_its_negatives_length(
    model: Model, seen: Seen
) -> None:
    paint(model, REQUESTS, seed=7, steps=1)
    firsts: dict[tuple[int, ...], Tensor] = {}
    for x, _, context in seen.calls:
        assert len(x) == len(context)
        assert torch.equal(*x.chunk(2))
        for row in x.chunk(2)[0]:
            firsts[tuple(row.flatten()[:4].tolist())] = row
    for request in REQUESTS:
        width, height = request.size or (64, 64)
        shape = (4, height // 8, width // 8)
        noise = torch.randn(shape, generator=generator(7 + request.number, "preview"))
        assert torch.equal(firsts[tuple(noise.flatten()[:4].tolist())], noise)
    assert sorted({context.shape[1] // 77 for _, _, context in seen.calls}) == [1, 4]


def test_the_next_picture_has_the_next_seed(model: Model) -> None:
    one = paint(model, [Request("red circle", 3)], seed=4)
    other = paint(model, [Request("red circle", 0)], seed=7)
    assert one[0].tobytes() == other[0].tobytes()


@pytest.mark.parametrize("sampler", ALL)
def test_previews_keep_to_the_trained_schedule(model: Model, seen: Seen, sampler: SamplerName) -> None:
    """The best-known trainer's previews do not: its scheduler knows no zero SNR and never visits t = 999."""
    for steps in (1, 4, 61):
        seen.calls.clear()
        paint(model, REQUESTS[:1], sampler=sampler, steps=steps)
        assert [t for _, t, _ in seen.calls] == trailing_timesteps(1000, steps)
        # Nothing but noise, of standard deviation 1, whatever the sampler multiplies it with.
        noise = torch.randn(4, 8, 8, generator=generator(0, "preview"))
        torch.testing.assert_close(seen.calls[0][0][0], noise, rtol=1e-6, atol=1e-7)


def test_without_guidance_the_unet_runs_once(model: Model, seen: Seen) -> None:
    paint(model, REQUESTS[:1], guidance=1, steps=2)
    assert [len(x) for x, _, _ in seen.calls] == [1, 1]
    seen.calls.clear()
    paint(model, REQUESTS[:1], guidance=1.5, steps=2)
    assert [len(x) for x, _, _ in seen.calls] == [2, 2]


def test_ddim_is_the_exported_folders_own_pipeline(model: Model) -> None:
    tokens, steps = Tokens(model.tokenizer), 5
    [found] = paint(model, [Request(LONG, 0, negative="dull")], steps=steps, guidance=7.5)
    ids = tokens.chunks([LONG, "dull"])
    with torch.no_grad():
        context = encode_chunks(model.denoiser.text_encoder, ids, "concat77")
        pipe = make_pipeline(model, SCHEDULE, OBJECTIVE)
        pipe.set_progress_bar_config(disable=True)
        theirs = pipe(
            prompt_embeds=context[:1],
            negative_prompt_embeds=context[1:],
            latents=torch.randn(1, 4, 8, 8, generator=generator(0, "preview")),
            num_inference_steps=steps,
            guidance_scale=7.5,
            guidance_rescale=0.7,
            height=64,
            width=64,
        ).images[0]
    assert apart(found, theirs) <= 1


def test_the_vae_decodes_few_at_a_time(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = [Request("red circle", n) for n in range(5)]
    whole = paint(model, requests, steps=1)
    monkeypatch.setattr(trainkit.sample, "_DECODED_AT_ONCE", 2 * 64 * 64 + 1)
    decoded: list[int] = []
    hook = model.vae.decoder.register_forward_pre_hook(lambda _, z: decoded.append(len(z[0])))
    sliced = paint(model, requests, steps=1)
    hook.remove()
    assert decoded == [2, 2, 1]
    assert max(apart(a, b) for a, b in zip(whole, sliced, strict=True)) <= 1


def test_a_picture_that_is_not_finite_is_named_not_painted_black(model: Model) -> None:
    def spoil(_: nn.Module, shown: Any, result: Any) -> Any:
        result.sample[1] = torch.nan
        return result

    hook = model.denoiser.unet.register_forward_hook(spoil)
    requests = [Request("fine", 0), Request("the broken one", 1), Request("fine too", 2)]
    with pytest.raises(TrainkitError, match=r"^the picture for prompt 'the broken one' is not finite"):
        paint(model, requests, guidance=1)
    hook.remove()


def test_sizes_and_prompts_that_do_not_fit(model: Model) -> None:
    with pytest.raises(TrainkitError, match=r"size is 60x64, width and height must be multiples of 8"):
        paint(model, [Request("x", 0, size=(60, 64))])
    with pytest.raises(TrainkitError, match="caption has 600 tokens, at most 525 fit"):
        paint(model, [Request("a" * 600, 0)])
    assert paint(model, []) == []


def test_a_saved_picture_says_how_it_was_made(model: Model, tmp_path: Path) -> None:
    request = Request("red circle, 狐", 2, negative="dull", size=(64, 72))
    [picture] = paint(model, [request], sampler="dpmpp_2m", seed=40, model_name="my, model")
    save_picture(picture, tmp_path / "a.png")
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    with Image.open(tmp_path / "a.png") as image:
        assert image.info[KEY] == (
            "red circle, 狐\nNegative prompt: dull\nSteps: 3, Sampler: DPM++ 2M, Schedule type: SGM Uniform, "
            'CFG scale: 7.5, Seed: 42, Size: 64x72, Model: "my, model", Clip skip: 2, CFG Rescale: 0.7, '
            f"Noise Schedule: Zero Terminal SNR, Version: trainkit {trainkit.__version__}"
        )


class Exact(nn.Module):
    """In the place of a UNet: the exact v for a world of solid pictures, each the mean of a narrow normal
    distribution in latent space. A known prompt stands for its own picture, any other text for all of
    them."""

    def __init__(self, latents: Tensor, contexts: Tensor, spread: float = 0.1) -> None:
        super().__init__()
        self.latents, self.contexts, self.spread = latents.double(), contexts, spread
        self.schedule = make_schedule(SCHEDULE)

    def forward(self, x: Tensor, t: Tensor, context: Tensor) -> Any:
        a, s = float(self.schedule.alpha[int(t)]), float(self.schedule.sigma[int(t)])
        variance = (a * self.spread) ** 2 + s**2
        rows = []
        for x_t, wanted in zip(x.double(), context, strict=True):
            known = (self.contexts - wanted).abs().amax(dim=(1, 2)) < 1e-4
            share = torch.softmax(-((x_t - a * self.latents) ** 2).sum((1, 2, 3)) / (2 * variance), 0)
            if known.any():
                share = known.double()
            means = self.latents + a * self.spread**2 / variance * (x_t - a * self.latents)
            x0 = (means * share.reshape(-1, 1, 1, 1)).sum(0)
            rows.append(a * (x_t - a * x0) / s - s * x0)
        return SimpleNamespace(sample=torch.stack(rows).float())


class Greys(nn.Module):
    """In the place of a UNet: the exact v for a world of grey pictures, m + u d with u from N(0, 1): from
    below black to beyond white on the line between their latents."""

    def __init__(self, black: Tensor, white: Tensor, schedule: ScheduleConfig) -> None:
        super().__init__()
        self.m, self.d = (black + white).double() / 2, 0.3 * (white - black).double()
        self.schedule = make_schedule(schedule)

    def forward(self, x: Tensor, t: Tensor, context: Tensor) -> Any:
        del context
        a, s = float(self.schedule.alpha[int(t)]), float(self.schedule.sigma[int(t)])
        x_t = x.double()
        along = ((x_t - a * self.m) * self.d).sum((1, 2, 3), keepdim=True)
        x0 = self.m + self.d * a * along / (a**2 * self.d.square().sum() + s**2)
        return SimpleNamespace(sample=(a * (x_t - a * x0) / s - s * x0).float())


COLOURS = {"black": (0, 0, 0), "gray": (128, 128, 128), "white": (255, 255, 255), "red": (214, 28, 36)}


@pytest.fixture(scope="module")
def demo_model() -> Model:
    """The demo's base: its VAE, tokenizer and text encoder."""
    return load_model(ModelConfig(base=base_folder(), train_text_encoder=False), TextConfig(clip_skip=2))


@pytest.fixture(scope="module")
def solids(demo_model: Model) -> Tensor:
    """Latents of solid pictures of 96 x 96 pixels, [4, 4, 12, 12]."""
    pixels = torch.tensor(list(COLOURS.values())).reshape(4, 3, 1, 1).expand(4, 3, 96, 96) / 127.5 - 1
    with torch.no_grad():
        latents: Tensor = demo_model.vae.encode(pixels).latent_dist.mean * demo_model.scaling_factor
    return latents


def painted(model: Model, unet: nn.Module, config: PreviewConfig, *args: Any) -> list[Image.Image]:
    """With another network in the place of the UNet."""
    denoiser = model.denoiser
    kept, denoiser.unet = denoiser.unet, unet
    try:
        tokens = Tokens(model.tokenizer)
        return sample_pictures(model, tokens, config, args[0], OBJECTIVE, args[1], (96, 96))
    finally:
        denoiser.unet = kept


@pytest.mark.parametrize("guidance", [1.0, 4.0, 7.5])
@pytest.mark.parametrize("sampler", ALL)
def test_black_is_black_and_white_is_white(
    demo_model: Model, solids: Tensor, sampler: SamplerName, guidance: float
) -> None:
    """With a network that knows its pictures exactly, all the rest (text encoder, noise, sampler, guidance
    and its rescale, VAE) adds nothing that would keep a picture from being full black or white, or grey."""
    prompts = [f"{colour} background" for colour in COLOURS]
    ids = Tokens(demo_model.tokenizer).chunks(prompts)
    with torch.no_grad():
        contexts = encode_chunks(demo_model.denoiser.text_encoder, ids, "concat77")
    requests = [Request(prompt, number) for number, prompt in enumerate(prompts)]
    config = PreviewConfig(sampler=sampler, guidance=guidance)
    found = painted(demo_model, Exact(solids, contexts), config, SCHEDULE, requests)
    black, grey, white, _ = (luminance(picture) for picture in found)
    assert black < 5
    assert abs(grey - 53.4) < 3  # L* of sRGB 128 is 53.6; through the VAE 53.4.
    assert white > 95
    red = np.asarray(found[3], dtype=float).mean(axis=(0, 1))
    assert np.abs(red - COLOURS["red"]).max() < 12


@pytest.mark.parametrize("sampler", ALL)
def test_only_zero_snr_reaches_every_brightness(
    demo_model: Model, solids: Tensor, sampler: SamplerName
) -> None:
    """Two exact networks for the same world of greys, one with Stable Diffusion's own noise schedule: it
    takes the noise's mean for the picture's, and its samples crowd around the middle."""
    requests = [Request("", number) for number in range(24)]
    config = PreviewConfig(sampler=sampler, guidance=1)
    found = {}
    for zero in (True, False):
        schedule = ScheduleConfig(zero_terminal_snr=zero)
        world = Greys(solids[0], solids[2], schedule)
        found[zero] = [luminance(p) for p in painted(demo_model, world, config, schedule, requests)]
    assert min(found[True]) < 10
    assert max(found[True]) > 85
    assert np.std(found[True]) > 1.2 * np.std(found[False])


def run_command(*words: object) -> int:
    parser = argparse.ArgumentParser()
    command.add(parser.add_subparsers())
    options = parser.parse_args(["sample", *map(str, words)])
    return int(options.run(options))


def files_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def text_of(path: Path) -> str:
    with Image.open(path) as image:
        text: str = image.info[KEY]
    return text


def test_the_command_paints_what_was_asked(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("\ufeffblue star\n\n  狐, snow \n", encoding="utf-8")
    out = tmp_path / "out"
    words = ["Red circle!", "", "--prompts", tmp_path / "prompts.txt", "--out", out, "--steps", 2]
    rest = ["--sampler", "euler", "--size", "40x64", "--negative", "dull"]
    run_command(tiny_model, *words, *rest, "--seed", 5)
    names = ["000-red-circle.png", "001-empty.png", "002-blue-star.png", "003-狐-snow.png"]
    assert files_of(out) == [*names, "sheet.png"]
    negative = "\nNegative prompt: dull\nSteps: 2, Sampler: Euler, "
    assert text_of(out / names[3]).startswith("狐, snow" + negative)
    assert "Seed: 8, Size: 40x64, Model: model," in text_of(out / names[3])
    assert text_of(out / "sheet.png").startswith("Red circle!\n\nblue star\n狐, snow" + negative)
    # One picture made again, alone, by the seed in its file.
    again = tmp_path / "again"
    run_command(tiny_model, "狐, snow", "--out", again, "--steps", 2, *rest, "--seed", 8, "--batch", 1)
    with Image.open(out / names[3]) as a, Image.open(again / "000-狐-snow.png") as b:
        assert apart(a, b) <= 1


def test_a_run_is_sampled_with_its_average(tiny_model: Path, tmp_path: Path, model: Model) -> None:
    run = tmp_path / "fox"
    run.mkdir()
    (run / "run.json").write_text(json.dumps({}))
    with pytest.raises(TrainkitError, match="has not written its model yet"):
        run_command(run, "x")
    (run / "model").symlink_to(tiny_model)
    moved = {name: value * 1.5 for name, value in model.denoiser.unet.state_dict().items()}
    save_file({f"unet.{name}": value for name, value in moved.items()}, run / "average.safetensors")
    common = ("red circle", "--steps", 2, "--clip-skip", 2)
    run_command(run, *common, "--out", tmp_path / "own")
    run_command(run, *common, "--out", tmp_path / "ema", "--weights", run / "average.safetensors")
    assert "Model: fox, Clip skip: 2" in text_of(tmp_path / "own" / "000-red-circle.png")
    assert "Model: fox average, " in text_of(tmp_path / "ema" / "000-red-circle.png")
    paths = [tmp_path / name / "000-red-circle.png" for name in ("own", "ema")]
    assert paths[0].read_bytes() != paths[1].read_bytes()


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["x", "--steps", "0"], "--steps is 0: "),
        (["x", "--steps", "1001"], "--steps is 1001: "),
        (["x", "--sampler", "heun"], "--sampler is 'heun': must be 'ddim', 'euler' or 'dpmpp_2m'"),
        (["x", "--guidance", "0.5"], "--guidance is 0.5: "),
        (["x", "--guidance-rescale", "2"], "--guidance-rescale is 2.0: "),
        (["x", "--size", "60x64"], "--size is '60x64', must be WIDTHxHEIGHT in multiples of 8"),
        (["x", "--clip-skip", "9"], "clip_skip is 9, but the text encoder has only 3 layers"),
        (["x", "--batch", "0"], "--batch is 0, must be at least 1"),
        (["x", "--weights", "gone.safetensors"], "gone.safetensors cannot be read as a weights file"),
        ([], "no prompt: give at least one"),
        (["a\udcff"], r"prompt 'a\udcff' is not valid Unicode"),
    ],
)
def test_the_command_refuses_what_it_cannot_do(
    tiny_model: Path, tmp_path: Path, words: list[str], part: str
) -> None:
    with pytest.raises(TrainkitError) as caught:
        run_command(tiny_model, *words, "--out", tmp_path / "out")
    assert part in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_files_of_prompts_that_cannot_be_used(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(TrainkitError, match=r"latin.txt: is not UTF-8 text"):
        run_command(tiny_model, "--prompts", tmp_path / "latin.txt")
    (tmp_path / "none.txt").write_text("\n \n")
    with pytest.raises(TrainkitError, match=r"none.txt holds no prompt"):
        run_command(tiny_model, "--prompts", tmp_path / "none.txt")


def test_a_request_keeps_working_with_two_fields() -> None:
    assert replace(Request("x", 3)) == Request(prompt="x", number=3, negative=None, size=None)
