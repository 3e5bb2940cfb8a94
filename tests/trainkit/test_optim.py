"""Optimizers and learning rates."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import bitsandbytes
import pytest
import torch
from pydantic import ValidationError

from tests.trainkit.tiny import ROOT
from trainkit.draws import generator
from trainkit.errors import TrainkitError
from trainkit.models import Denoiser, ModelConfig, load_model
from trainkit.optim import (
    OptimConfig,
    PartName,
    apply_settings,
    begin,
    chosen,
    make_optimizer,
    set_learning_rates,
    trainable_parts,
    trained_parts,
    unfreeze,
)
from trainkit.rates import Clock
from trainkit.text import TextConfig


@pytest.mark.parametrize("settings", [{"betas": (0.9, 1.0)}, {"lr": float("inf")}, {"lr": -1}, {"eps": 0}])
def test_values_no_optimizer_takes_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        OptimConfig.model_validate(settings)


@pytest.fixture
def denoiser(tiny_model: Path) -> Denoiser:
    return load_model(ModelConfig(base=tiny_model), TextConfig()).denoiser


def made(config: OptimConfig, denoiser: Denoiser) -> torch.optim.Optimizer:
    return make_optimizer(config, denoiser, trainable_parts(denoiser))


def one_update(denoiser: Denoiser, optimizer: torch.optim.Optimizer) -> None:
    rng = generator(0, "test")
    for parameter in denoiser.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=rng)
    optimizer.step()
    optimizer.zero_grad()


def test_each_part_has_its_own_rate(denoiser: Denoiser) -> None:
    config = OptimConfig(optimizer="adamw", lr=0.5, lr_text_encoder=0.25)
    optimizer = made(config, denoiser)
    assert set_learning_rates(optimizer, config, Clock(50, 0, 100, 10)) == {
        "unet": 0.25,
        "text_encoder": 0.125,
    }
    assert set_learning_rates(optimizer, config, Clock(0, 0, 100, 10)) == {"unet": 0.5, "text_encoder": 0.25}
    held = [{id(p) for p in group["params"]} for group in optimizer.param_groups]
    assert held == [{id(p) for p in part.parameters()} for part in (denoiser.unet, denoiser.text_encoder)]


def test_a_frozen_text_encoder_has_no_group(tiny_model: Path) -> None:
    frozen = load_model(ModelConfig(base=tiny_model, train_text_encoder=False), TextConfig()).denoiser
    optimizer = made(OptimConfig(optimizer="adamw"), frozen)
    assert [group["name"] for group in optimizer.param_groups] == ["unet"]


def test_adamw8bit_keeps_eight_bits_except_for_embeddings(denoiser: Denoiser) -> None:
    optimizer = made(OptimConfig(lr=1e-3, lr_text_encoder=1e-3), denoiser)
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
    one_update(denoiser, made(config, denoiser))
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
from trainkit.optim import OptimConfig, make_optimizer, trainable_parts
from trainkit.text import TextConfig
from trainkit.errors import TrainkitError

denoiser = load_model(ModelConfig(base=Path(sys.argv[1])), TextConfig()).denoiser
print(type(make_optimizer(OptimConfig(optimizer="adamw"), denoiser, trainable_parts(denoiser))).__name__)
try:
    print("made", make_optimizer(OptimConfig(), denoiser, trainable_parts(denoiser)))
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
        "(No module named 'bitsandbytes.optim'; 'bitsandbytes' is not a package). Install it with: "
        "pip install bitsandbytes",
        'or set optim.optimizer = "adamw" in the run file.',
    ]


@pytest.mark.parametrize("name", ["adamw8bit", "paged_adamw8bit", "adamw", "adopt", "torch.optim.SGD"])
def test_every_optimizer_moves_every_weight(denoiser: Denoiser, name: str) -> None:
    config = OptimConfig.model_validate({"optimizer": name, "lr": 1e-3, "lr_text_encoder": 1e-3})
    # bitsandbytes says so where there is no GPU whose memory could run out.
    paged = pytest.warns(UserWarning, match="Paged optimizers are not supported on CPU")
    with paged if name == "paged_adamw8bit" else contextlib.nullcontext():
        optimizer = made(config, denoiser)
        before = [p.detach().clone() for p in denoiser.parameters()]
        for _ in range(2):  # ADOPT's first step only takes in the gradients' squares.
            one_update(denoiser, optimizer)
    assert all(not torch.equal(old, p) for old, p in zip(before, denoiser.parameters(), strict=True))


def test_arguments_reach_the_optimizer_and_wrong_ones_are_told(denoiser: Denoiser) -> None:
    config = OptimConfig(optimizer="torch.optim.SGD", arguments={"momentum": 0.9})
    assert all(group["momentum"] == 0.9 for group in made(config, denoiser).param_groups)
    with pytest.raises(TrainkitError, match=r"torch\.optim\.SGD' does not take these settings: .*momentumm"):
        made(OptimConfig(optimizer="torch.optim.SGD", arguments={"momentumm": 0.9}), denoiser)
    with pytest.raises(TrainkitError, match="needs the package nowhere"):
        made(OptimConfig(optimizer="nowhere.Optimizer"), denoiser)
    with pytest.raises(TrainkitError, match=r"torch\.nn\.Linear is no torch optimizer"):
        made(OptimConfig(optimizer="torch.nn.Linear"), denoiser)
    with pytest.raises(ValidationError, match=r"must be 'adamw', .* or the import path"):
        OptimConfig(optimizer="adam")
    with pytest.raises(ValidationError, match="fused is for"):
        OptimConfig(optimizer="adamw8bit", fused=True)


def test_own_settings_of_an_optimizer_are_its_own_unless_given(denoiser: Denoiser) -> None:
    adopt = made(OptimConfig(optimizer="adopt"), denoiser)
    assert {(g["betas"], g["eps"], g["weight_decouple"]) for g in adopt.param_groups} == {
        ((0.9, 0.9999), 1e-6, True)
    }
    adamw = made(OptimConfig(optimizer="adamw", betas=(0.8, 0.9)), denoiser)
    assert {(g["betas"], g["eps"]) for g in adamw.param_groups} == {((0.8, 0.9), 1e-8)}


def test_layers_choose_the_weights(denoiser: Denoiser) -> None:
    parts = trainable_parts(denoiser)
    config = OptimConfig.model_validate(
        {"optimizer": "adamw", "unet": {"layers": ["*.attn2.*"]}, "text_encoder": {"weight_decay": 0.5}}
    )
    names = set(chosen(config, parts)["unet"])
    assert names
    assert names == {name for name in parts["unet"] if ".attn2." in name}
    optimizer = make_optimizer(config, denoiser, parts)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01, 0.5]
    unfreeze(config, parts, trained_parts(config, parts, 0, 10))
    assert {name for name, p in denoiser.unet.named_parameters() if p.requires_grad} == names
    with pytest.raises(TrainkitError, match=r"optim\.unet\.layers = \['\*\.attn9\.\*'\] matches none"):
        chosen(OptimConfig.model_validate({"unet": {"layers": ["*.attn9.*"]}}), parts)


def test_a_part_is_frozen_and_thawed_at_its_moment(denoiser: Denoiser) -> None:
    parts = trainable_parts(denoiser)
    text = {"freeze_until": {"epochs": 2}, "freeze_after": {"samples": 50}}
    config = OptimConfig.model_validate({"optimizer": "adamw", "text_encoder": text})
    trained = {at: trained_parts(config, parts, at, 10) for at in (0, 19, 20, 49, 50)}
    both = {"unet", "text_encoder"}
    assert trained == {0: {"unet"}, 19: {"unet"}, 20: both, 49: both, 50: {"unet"}}
    for at, now in trained.items():
        unfreeze(config, parts, now)
        assert {p.requires_grad for p in denoiser.text_encoder.parameters()} == {20 <= at < 50}
    rates = set_learning_rates(make_optimizer(config, denoiser, parts), config, Clock(0, 0, 100, 10))
    assert rates["text_encoder"] == 0.0
    with pytest.raises(TrainkitError, match="after 50 samples every part is frozen"):
        trained_parts(config.model_copy(update={"unet": config.text_encoder}), parts, 50, 10)


def test_settings_of_a_phase_replace_those_of_the_one_before(denoiser: Denoiser) -> None:
    optimizer = made(OptimConfig(optimizer="adamw", weight_decay=0.1), denoiser)
    one_update(denoiser, optimizer)
    state = {id(p): dict(s) for p, s in optimizer.state.items()}
    apply_settings(
        optimizer, OptimConfig(optimizer="adamw", weight_decay=0.3, eps=1e-4), trainable_parts(denoiser)
    )
    assert {(g["weight_decay"], g["eps"]) for g in optimizer.param_groups} == {(0.3, 1e-4)}
    assert {id(p): dict(s) for p, s in optimizer.state.items()} == state


def test_a_part_that_thaws_under_adopt_begins_with_the_step_that_moves_nothing(denoiser: Denoiser) -> None:
    # pytorch_optimizer counts by group: without `begin` the text encoder's first update, divided by nothing,
    # was cut off at lr x step^(1/4) in every weight.
    config = OptimConfig(optimizer="adopt", lr=1e-3, lr_text_encoder=1e-3, weight_decay=0)
    parts, optimizer = trainable_parts(denoiser), made(config, denoiser)
    rng = generator(0, "test")

    def update(trained: frozenset[PartName]) -> None:
        begin(optimizer, trained)
        for name in trained:
            for parameter in parts[name].values():
                parameter.grad = torch.randn(parameter.shape, generator=rng)
        optimizer.step()
        optimizer.zero_grad()

    start = [p.detach().clone() for p in parts["text_encoder"].values()]
    for _ in range(5):
        update(frozenset({"unet"}))
    update(frozenset({"unet", "text_encoder"}))
    assert all(torch.equal(a, b) for a, b in zip(start, parts["text_encoder"].values(), strict=True))
    update(frozenset({"unet", "text_encoder"}))
    moved = [(a - b).abs().max().item() for a, b in zip(start, parts["text_encoder"].values(), strict=True)]
    # The first real update is clipped to 1, times 1 - beta1 = 0.1, times the rate.
    assert 0.9e-4 < max(moved) < 1.01e-4


def test_optimizers_without_the_usual_settings_are_taken_as_they_are(denoiser: Denoiser) -> None:
    # bitsandbytes' Lion and SGD keep betas and eps in their groups and have no such arguments.
    for name in ("bitsandbytes.optim.Lion", "bitsandbytes.optim.SGD"):
        arguments = {"momentum": 0.9} if name.endswith("SGD") else {}
        made(OptimConfig(optimizer=name, arguments=arguments), denoiser)
    with pytest.raises(ValidationError, match=r"lr is no argument here: set optim\.lr"):
        OptimConfig(optimizer="torch.optim.SGD", arguments={"lr": 5.0})
    with pytest.raises(TrainkitError, match="does not take these settings"):
        made(OptimConfig(optimizer="torch.optim.SGD", arguments={"foo": 1}), denoiser)
