"""Laws of adapters: they start as nothing, are the same for the same seed, and merge into the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from diffusers import UNet2DConditionModel
from pydantic import ValidationError
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from trainkit.adapters import (
    AdapterConfig,
    adapted_layers,
    add_adapters,
    addressed_dropout,
    is_adapter,
    load_trainable_state,
    merged,
    merged_state,
    trainable_state,
)
from trainkit.errors import CheckpointError, ModelError
from trainkit.loss import ObjectiveConfig
from trainkit.models import Denoiser, Model, ModelConfig, export_model, load_model
from trainkit.schedule import ScheduleConfig
from trainkit.text import TextConfig, put_back_layers

LORA = AdapterConfig(rank=4, alpha=2.0)
LOCON = AdapterConfig(rank=4, alpha=2.0, conv_rank=3, conv_alpha=1.5)


def load(base: Path, **settings: Any) -> Model:
    return load_model(ModelConfig(base=base, **settings), TextConfig())


def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Noisy latents [2, 4, 8, 8], timesteps [2], ids of two chunks [2, 2, 77]."""
    draws = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 500, (2, 2, 77), generator=draws)
    return torch.randn(2, 4, 8, 8, generator=draws), torch.tensor([5, 900]), ids


def trained(base: Path, config: AdapterConfig, **settings: Any) -> Model:
    """A model whose adapters are no longer zero."""
    model = load(base, **settings)
    add_adapters(model.denoiser, config, 7)
    draws = torch.Generator().manual_seed(3)
    for tensor in trainable_state(model.denoiser).values():
        tensor.copy_(0.1 * torch.randn(tensor.shape, generator=draws))
    return model


@pytest.mark.parametrize("config", [LORA, LOCON, LORA.model_copy(update={"dropout": 0.5})])
@pytest.mark.parametrize("mode", [True, False])
def test_a_fresh_adapter_changes_nothing(tiny_model: Path, config: AdapterConfig, mode: bool) -> None:
    model = load(tiny_model)
    before = model.denoiser(*batch())
    add_adapters(model.denoiser, config, 0)
    assert torch.equal(model.denoiser.train(mode)(*batch()), before)


def test_the_seed_decides_the_adapter_and_nothing_else_does(tiny_model: Path) -> None:
    def drawn(config: AdapterConfig, seed: int) -> dict[str, Tensor]:
        model = load(tiny_model)
        before = torch.get_rng_state()
        add_adapters(model.denoiser, config, seed)
        assert torch.equal(torch.get_rng_state(), before), "torch's global generator was used"
        return trainable_state(model.denoiser)

    torch.manual_seed(1)
    one = drawn(LORA, 7)
    torch.manual_seed(2)
    same, more, other = drawn(LORA, 7), drawn(LOCON, 7), drawn(LORA, 8)
    down = [name for name in one if "lora_A" in name]
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert all(torch.equal(one[name], more[name]) for name in down), "a layer's draws depend on other layers"
    assert not any(torch.equal(one[name], other[name]) for name in down)
    assert len({one[name].flatten()[0].item() for name in down}) == len(down), "layers share their draws"
    values = torch.cat([one[name].flatten() * one[name][0].numel() ** 0.5 for name in down])
    # Uniform in +-1: at n = 3,488 values mean and mean square are off by more than 5 standard errors less
    # than once in a million seeds, and this seed is fixed.
    assert values.abs().max() <= 1
    assert values.abs().max() > 0.99
    assert abs(values.mean()) < 5 * (1 / 3 / len(values)) ** 0.5
    assert abs(values.square().mean() - 1 / 3) < 5 * (4 / 45 / len(values)) ** 0.5


def test_lora_is_attention_and_locon_convolutions_besides(tiny_model: Path) -> None:
    denoiser = load(tiny_model).denoiser
    lora, locon = adapted_layers(denoiser, LORA), adapted_layers(denoiser, LOCON)
    block = "unet.down_blocks.0.attentions.0"
    inner = f"{block}.transformer_blocks.0"
    assert [name for name in lora if name.startswith(block)] == [
        f"{block}.proj_in",
        *(f"{inner}.attn1.{part}" for part in ("to_q", "to_k", "to_v", "to_out.0")),
        *(f"{inner}.attn2.{part}" for part in ("to_q", "to_k", "to_v", "to_out.0")),
        f"{inner}.ff.net.0.proj",
        f"{inner}.ff.net.2",
        f"{block}.proj_out",
    ]
    text = {name.split(".layers.")[1] for name in lora if name.startswith("text_encoder.")}
    parts = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj")
    # The tiny text encoder has three layers; clip skip 2 drops the last.
    assert text == {f"{n}.{part}" for n in range(2) for part in (*parts, "mlp.fc1", "mlp.fc2")}
    added = [name for name in locon if name not in lora]
    assert set(lora) < set(locon)
    assert {name.rpartition(".")[2] for name in added} == {
        "conv", "conv1", "conv2", "conv_shortcut", "time_emb_proj"
    }  # fmt: skip
    assert not any("conv_in" in name or "conv_out" in name for name in locon)


def test_only_adapters_are_trained_and_all_of_them(tiny_model: Path) -> None:
    denoiser = load(tiny_model).denoiser
    names = add_adapters(denoiser, LOCON, 0)
    trainable = {name for name, p in denoiser.named_parameters() if p.requires_grad}
    assert trainable == set(trainable_state(denoiser)) == {n for n in denoiser.state_dict() if is_adapter(n)}
    assert len(trainable) == 2 * len(names)
    assert {p.dtype for p in trainable_state(denoiser).values()} == {torch.float32}


def test_a_part_that_gets_no_adapter_is_frozen_too(tiny_model: Path) -> None:
    denoiser = load(tiny_model).denoiser
    assert add_adapters(denoiser, AdapterConfig(targets=("unet.*.attn2.*",)), 0)
    assert all(is_adapter(name) for name, p in denoiser.named_parameters() if p.requires_grad)


def test_a_text_encoder_that_is_not_trained_gets_none(tiny_model: Path) -> None:
    denoiser = load(tiny_model, train_text_encoder=False).denoiser
    assert all(name.startswith("unet.") for name in add_adapters(denoiser, LORA, 0))
    assert not any(p.requires_grad for p in denoiser.text_encoder.parameters())


def gradients(base: Path, checkpointing: bool) -> dict[str, Tensor]:
    model = trained(base, LOCON, gradient_checkpointing=checkpointing)
    model.denoiser.train()
    model.denoiser(*batch()).square().sum().backward()
    found = {n: p.grad for n, p in model.denoiser.named_parameters() if p.requires_grad}
    assert all(grad is not None and bool(grad.any()) for grad in found.values())
    return {name: grad for name, grad in found.items() if grad is not None}


def test_gradient_checkpointing_gives_the_same_gradients_everywhere(tiny_model: Path) -> None:
    plain, checkpointed = gradients(tiny_model, False), gradients(tiny_model, True)
    assert plain.keys() == checkpointed.keys()
    for name, grad in plain.items():
        torch.testing.assert_close(checkpointed[name], grad, rtol=1e-4, atol=1e-4 * float(grad.abs().max()))


def test_dropout_is_drawn_by_address(tiny_model: Path) -> None:
    config = LORA.model_copy(update={"dropout": 0.5})
    denoiser = trained(tiny_model, config).denoiser.train()

    def output(config: AdapterConfig | None, number: int, rank: int = 0) -> Tensor:
        before = torch.get_rng_state()
        with torch.no_grad(), addressed_dropout(config, 0, number, rank):
            out: Tensor = denoiser(*batch())
        if config is not None:
            assert torch.equal(torch.get_rng_state(), before)
        return out

    torch.manual_seed(1)
    first = output(config, 0)
    torch.manual_seed(2)
    assert torch.equal(output(config, 0), first)
    assert not torch.equal(output(config, 1), first)
    assert not torch.equal(output(config, 0, rank=1), first)
    assert not torch.equal(output(None, 0), output(None, 0)), "without an address masks go on from each other"


def test_merged_weights_compute_the_same(tiny_model: Path) -> None:
    model = trained(tiny_model, LOCON)
    denoiser, base = model.denoiser, load(tiny_model).denoiser
    adapted, names = denoiser(*batch()), list(denoiser.state_dict())
    assert (adapted - base(*batch())).abs().max() > 0.1
    with merged(denoiser):
        assert list(denoiser.state_dict()) == list(base.state_dict())
        torch.testing.assert_close(denoiser(*batch()), adapted, rtol=0, atol=1e-5)
    # Outside it is as it was, to the bit.
    assert list(denoiser.state_dict()) == names
    assert torch.equal(denoiser(*batch()), adapted)
    base.load_state_dict(merged_state(denoiser))
    torch.testing.assert_close(base(*batch()), adapted, rtol=0, atol=1e-5)


def test_merging_is_undone_when_something_fails_inside(tiny_model: Path) -> None:
    denoiser = trained(tiny_model, LORA).denoiser
    adapted = denoiser(*batch())
    with pytest.raises(KeyboardInterrupt), merged(denoiser):
        raise KeyboardInterrupt
    assert torch.equal(denoiser(*batch()), adapted)


def test_merging_a_model_without_adapters_does_nothing(tiny_model: Path) -> None:
    denoiser = load(tiny_model).denoiser
    state = merged_state(denoiser)
    assert all(torch.equal(tensor, state[name]) for name, tensor in denoiser.state_dict().items())
    assert trainable_state(denoiser) == {}


def test_a_merged_model_is_exported_as_any_other(tiny_model: Path, tmp_path: Path) -> None:
    model = trained(tiny_model, LOCON)
    with merged(model.denoiser):
        export_model(model, ScheduleConfig(), ObjectiveConfig(), TextConfig(), tmp_path / "model")
    again = load(tmp_path / "model").denoiser
    torch.testing.assert_close(again(*batch()), model.denoiser(*batch()), rtol=0, atol=1e-5)
    put_back_layers(model.denoiser.text_encoder, model.dropped_layers)
    assert not (tmp_path / "model/unet/adapter_config.json").exists()


def test_a_checkpoint_holds_the_adapters_and_goes_back_to_the_bit(tiny_model: Path) -> None:
    state = {name: t.clone() for name, t in trainable_state(trained(tiny_model, LOCON).denoiser).items()}
    other = load(tiny_model).denoiser
    add_adapters(other, LOCON, 99)
    load_trainable_state(other, state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in trainable_state(other).items())
    assert all(p.requires_grad for n, p in other.named_parameters() if is_adapter(n))


@pytest.mark.parametrize("other", [LORA, LOCON.model_copy(update={"rank": 5})])
def test_a_checkpoint_of_another_adapter_is_refused(tiny_model: Path, other: AdapterConfig) -> None:
    denoiser = trained(tiny_model, LOCON).denoiser
    before = {name: tensor.clone() for name, tensor in trainable_state(denoiser).items()}
    with pytest.raises(CheckpointError, match=r"the first is '.*lora_[AB].*shape"):
        load_trainable_state(denoiser, trainable_state(trained(tiny_model, other).denoiser))
    assert all(torch.equal(tensor, before[name]) for name, tensor in trainable_state(denoiser).items())


@pytest.mark.parametrize(
    "targets", [("unet.*.attn3.*",), ("unet.*.attentions.*", "unet.*.atentions.*"), ("unet.conv_in",)]
)
def test_patterns_that_match_nothing_are_named(tiny_model: Path, targets: tuple[str, ...]) -> None:
    denoiser: Denoiser = load(tiny_model).denoiser
    with pytest.raises(ModelError, match=r"adapter\.targets: 'unet") as caught:
        add_adapters(denoiser, AdapterConfig(targets=targets), 0)
    assert repr(targets[-1]) in str(caught.value)
    assert "unet.*.attentions" not in str(caught.value)
    assert trainable_state(denoiser) == {}


def test_patterns_pick_layers(tiny_model: Path) -> None:
    config = AdapterConfig(targets=("unet.*.attn2.to_[kv]",))
    names = adapted_layers(load(tiny_model).denoiser, config)
    assert {name.rpartition(".")[2] for name in names} == {"to_k", "to_v"}
    assert all(".attn2." in name for name in names)


# The table of docs/adapters.md: layers of the UNet, of the text encoder, and megabytes in half precision.
# kohya's trainer counts the same 192 layers; it also adapts the layer that clip skip leaves out, in vain.
SIZES = [
    (AdapterConfig(rank=8), 192, 66, 9.2),
    (AdapterConfig(rank=16), 192, 66, 18.4),
    (AdapterConfig(rank=32), 192, 66, 36.9),
    (AdapterConfig(rank=128), 192, 66, 147.5),
    (AdapterConfig(rank=16, conv_rank=8), 278, 66, 29.8),
    (AdapterConfig(rank=32, conv_rank=16), 278, 66, 59.6),
]


@pytest.mark.parametrize(("config", "unet", "text", "megabytes"), SIZES)
def test_layers_and_sizes_for_the_true_model(
    config: AdapterConfig, unet: int, text: int, megabytes: float
) -> None:
    with torch.device("meta"):  # Shapes without memory.
        whole = UNet2DConditionModel(cross_attention_dim=768, attention_head_dim=8)
        layers = CLIPTextConfig(
            hidden_size=768, intermediate_size=3072, num_hidden_layers=11, num_attention_heads=12
        )
        denoiser = Denoiser(cast("Any", whole), CLIPTextModel(layers), "concat77", True)
    found = adapted_layers(denoiser, config)
    assert sum(name.startswith("unet.") for name in found) == unet
    assert sum(name.startswith("text_encoder.") for name in found) == text
    numbers = sum(config.room(w.shape)[0] * (w[0].numel() + len(w)) for w in found.values())
    assert round(2 * numbers / 1e6, 1) == megabytes


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"rank": 0}, "greater than or equal to 1"),
        ({"alpha": 0}, "greater than 0"),
        ({"conv_alpha": 1}, "conv_alpha needs conv_rank"),
        ({"dropout": 1}, "less than 1"),
        ({"dora": True}, "not permitted"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        AdapterConfig.model_validate(settings)
