"""Memory layout, attention and compilation: the same model, run otherwise."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from trainkit.draws import generator
from trainkit.models import Denoiser, ModelConfig, load_model, prepare_networks
from trainkit.text import TextConfig

SHAPES = [(8, 8, 1), (8, 12, 1), (12, 8, 2), (8, 8, 3), (4, 16, 2), (16, 4, 5), (12, 4, 1)]
"""Latent height and width, chunks of text."""


def prepared(base: Path, **options: str | bool) -> Denoiser:
    config = ModelConfig.model_validate({"base": base} | options)
    model = load_model(config, TextConfig())
    prepare_networks(model, config)
    return model.denoiser


def answer(denoiser: Denoiser, shape: tuple[int, int, int]) -> tuple[Tensor, list[Tensor]]:
    """Output and gradients of one fixed batch."""
    h, w, n = shape
    rng = generator(0, "test", h, w, n)
    x = torch.randn(2, 4, h, w, generator=rng)
    ids = torch.randint(0, 500, (2, n, 77), generator=rng)
    out = denoiser(x, torch.tensor([10, 900]), ids)
    gradients = torch.autograd.grad(out.square().mean(), list(denoiser.parameters()))
    return out.detach(), list(gradients)


def assert_same(one: Denoiser, other: Denoiser, shapes: list[tuple[int, int, int]]) -> None:
    for shape in shapes:
        (a, of_a), (b, of_b) = answer(one, shape), answer(other, shape)
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
        for x, y in zip(of_a, of_b, strict=True):
            torch.testing.assert_close(x, y, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "options", [{"attention": "eager"}, {"channels_last": True}, {"gradient_checkpointing": True}], ids=str
)
def test_options_do_not_change_the_answer(tiny_model: Path, options: dict[str, str | bool]) -> None:
    changed = prepared(tiny_model, **options)
    assert_same(prepared(tiny_model), changed, SHAPES[:3])
    if options.get("channels_last"):
        weights = [p for p in changed.unet.parameters() if p.dim() == 4 and p.shape[2] > 1]
        assert all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's own, inside dynamo and inductor: an error there breaks them.
def test_new_shapes_compile_nothing(tiny_model: Path) -> None:
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("torch.compile needs a C++ compiler")
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()
    plain, compiled = prepared(tiny_model), prepared(tiny_model, compile="blocks")
    # The first shapes teach it that heights and widths vary; after that no bucket, no caption is new to it.
    assert_same(plain, compiled, SHAPES[:3])
    graphs = counters["stats"]["unique_graphs"]
    assert graphs > 0
    assert_same(plain, compiled, SHAPES[3:])
    assert counters["stats"]["unique_graphs"] == graphs
    assert not counters["graph_break"]
