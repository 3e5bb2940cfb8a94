"""Optimizers and learning rates."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import bitsandbytes
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.trainkit.tiny import ROOT
from trainkit.draws import generator
from trainkit.models import Denoiser, ModelConfig, load_model
from trainkit.optim import OptimConfig, lr_factor, make_optimizer, set_learning_rates
from trainkit.text import TextConfig

optims = st.builds(
    lambda schedule, warmup: OptimConfig.model_validate({"schedule": schedule, "warmup_samples": warmup}),
    st.sampled_from(["linear", "constant", "cosine"]),
    st.integers(0, 10**6),
)


@given(optims, st.integers(0, 10**9), st.integers(1, 10**8))
def test_a_rate_is_a_share_of_its_base(config: OptimConfig, seen: int, total: int) -> None:
    assert 0 <= lr_factor(config, seen, total) <= 1


@given(optims, st.integers(1, 10**6), st.lists(st.integers(0, 10**6), min_size=2))
def test_rates_only_fall_after_the_warm_up(config: OptimConfig, total: int, at: list[int]) -> None:
    factors = [lr_factor(config, config.warmup_samples + n, total) for n in sorted(at)]
    assert all(later <= earlier for earlier, later in itertools.pairwise(factors))
    if config.schedule != "constant":
        assert lr_factor(config, total, total) == pytest.approx(0, abs=1e-12)
    elif config.warmup_samples <= total:
        assert lr_factor(config, total, total) == 1


@given(st.sampled_from(["linear", "constant", "cosine"]), st.integers(1, 1000), st.integers(0, 1000))
def test_warming_up_is_a_straight_line_times_the_schedule(kind: str, warmup: int, seen: int) -> None:
    warm = OptimConfig.model_validate({"schedule": kind, "warmup_samples": warmup})
    cold = OptimConfig.model_validate({"schedule": kind})
    expected = min(1, seen / warmup) * lr_factor(cold, seen, 5000)
    assert lr_factor(warm, seen, 5000) == pytest.approx(expected)


def test_examples_of_each_schedule() -> None:
    def at(kind: str) -> list[float]:
        config = OptimConfig.model_validate({"schedule": kind})
        return [round(lr_factor(config, n, 100), 6) for n in (0, 25, 50, 100)]

    assert at("linear") == [1, 0.75, 0.5, 0]
    assert at("cosine") == [1, 0.853553, 0.5, 0]
    assert at("constant") == [1, 1, 1, 1]


@pytest.mark.parametrize("settings", [{"betas": (0.9, 1.0)}, {"lr": float("inf")}, {"lr": -1}, {"eps": 0}])
def test_values_no_optimizer_takes_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        OptimConfig.model_validate(settings)


@pytest.fixture
def denoiser(tiny_model: Path) -> Denoiser:
    return load_model(ModelConfig(base=tiny_model), TextConfig()).denoiser


def one_update(denoiser: Denoiser, optimizer: torch.optim.Optimizer) -> None:
    rng = generator(0, "test")
    for parameter in denoiser.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=rng)
    optimizer.step()
    optimizer.zero_grad()


def test_each_part_has_its_own_rate(denoiser: Denoiser) -> None:
    optimizer = make_optimizer(OptimConfig(optimizer="adamw", lr=0.5, lr_text_encoder=0.25), denoiser)
    assert set_learning_rates(optimizer, 0.5) == {"unet": 0.25, "text_encoder": 0.125}
    assert set_learning_rates(optimizer, 1.0) == {"unet": 0.5, "text_encoder": 0.25}
    held = [{id(p) for p in group["params"]} for group in optimizer.param_groups]
    assert held == [{id(p) for p in part.parameters()} for part in (denoiser.unet, denoiser.text_encoder)]


def test_a_frozen_text_encoder_has_no_group(tiny_model: Path) -> None:
    frozen = load_model(ModelConfig(base=tiny_model, train_text_encoder=False), TextConfig()).denoiser
    optimizer = make_optimizer(OptimConfig(optimizer="adamw"), frozen)
    assert [group["name"] for group in optimizer.param_groups] == ["unet"]


def test_adamw8bit_keeps_eight_bits_except_for_embeddings(denoiser: Denoiser) -> None:
    optimizer = make_optimizer(OptimConfig(lr=1e-3, lr_text_encoder=1e-3), denoiser)
    assert isinstance(optimizer, bitsandbytes.optim.AdamW8bit)
    one_update(denoiser, optimizer)
    kinds = {
        name: optimizer.state[parameter]["state1"].dtype
        for name, parameter in denoiser.named_parameters()
        if parameter.numel() >= 4096  # bitsandbytes keeps smaller ones in 32 bits anyway.
    }
    embedding = "text_encoder.embeddings.token_embedding.weight"
    assert kinds.pop(embedding) == torch.float32
    assert set(kinds.values()) == {torch.uint8}


@pytest.mark.parametrize("name", ["adamw", "adamw8bit"])
def test_both_optimizers_take_about_the_same_first_step(denoiser: Denoiser, name: str) -> None:
    # Adam's first step is lr against the gradient's sign, whatever its size.
    config = OptimConfig.model_validate(
        {"optimizer": name, "lr": 1e-3, "lr_text_encoder": 1e-3, "weight_decay": 0}
    )
    before = [p.detach().clone() for p in denoiser.parameters()]
    one_update(denoiser, make_optimizer(config, denoiser))
    rng = generator(0, "test")
    for old, parameter in zip(before, denoiser.parameters(), strict=True):
        gradient = torch.randn(parameter.shape, generator=rng)
        torch.testing.assert_close(parameter.detach(), old - 1e-3 * gradient.sign(), rtol=0, atol=2e-5)


def test_without_bitsandbytes_there_is_one_message_and_no_other_optimizer(
    tmp_path: Path, tiny_model: Path
) -> None:
    script = """
import sys
from pathlib import Path

sys.modules["bitsandbytes"] = None  # Its import now fails, and whoever looks for it finds nothing.
from trainkit.models import ModelConfig, load_model
from trainkit.optim import OptimConfig, make_optimizer
from trainkit.text import TextConfig
from trainkit.errors import TrainkitError

denoiser = load_model(ModelConfig(base=Path(sys.argv[1])), TextConfig()).denoiser
print(type(make_optimizer(OptimConfig(optimizer="adamw"), denoiser)).__name__)
try:
    print("made", make_optimizer(OptimConfig(), denoiser))
except TrainkitError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tiny_model)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=True,
    )
    assert done.stdout.splitlines() == [
        "AdamW",
        'optim.optimizer is "adamw8bit", which needs the package bitsandbytes, and it cannot be imported '
        "(import of bitsandbytes halted; None in sys.modules). Install it with: pip install bitsandbytes",
        'or set optim.optimizer = "adamw" in the run file.',
    ]
