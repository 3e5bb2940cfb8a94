"""Norms of the gradient by group: a partition, and cheap."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from trainkit.draws import generator
from trainkit.gradients import clip_gradients, grad_norms, group_of
from trainkit.models import Denoiser, ModelConfig, load_model
from trainkit.text import TextConfig

GROUPS = {
    "grad_norm/text_encoder.embeddings",
    "grad_norm/text_encoder.lower",
    "grad_norm/text_encoder.upper",
    "grad_norm/unet.down",
    "grad_norm/unet.mid",
    "grad_norm/unet.text",
    "grad_norm/unet.time",
    "grad_norm/unet.up",
}


def with_gradients(base: Path, scale: float = 1.0) -> Denoiser:
    denoiser = load_model(ModelConfig(base=base), TextConfig()).denoiser
    for n, parameter in enumerate(denoiser.parameters()):
        parameter.grad = scale * torch.randn(parameter.shape, generator=generator(0, "gradient", n))
    return denoiser


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_squares_sum_to_the_whole_norm(tiny_model: Path, scale: float) -> None:
    denoiser = with_gradients(tiny_model, scale)
    norms = grad_norms(denoiser)
    assert norms.keys() == GROUPS
    whole = float(
        torch.nn.utils.get_total_norm([p.grad for p in denoiser.parameters() if p.grad is not None])
    )
    assert math.sqrt(sum(norm**2 for norm in norms.values())) == pytest.approx(whole, rel=1e-5)


def test_a_group_is_its_parameters_and_no_others(tiny_model: Path) -> None:
    denoiser = with_gradients(tiny_model)
    before = grad_norms(denoiser)
    for name, parameter in denoiser.named_parameters():
        if name.startswith("unet.mid_block") and "attn2" not in name:
            assert parameter.grad is not None
            parameter.grad *= 3
    after = grad_norms(denoiser)
    for group in GROUPS:
        factor = 3 if group == "grad_norm/unet.mid" else 1
        assert after[group] == pytest.approx(factor * before[group], rel=1e-5)


def test_what_has_no_gradient_is_left_out(tiny_model: Path) -> None:
    denoiser = with_gradients(tiny_model)
    denoiser.text_encoder.zero_grad(set_to_none=True)
    assert grad_norms(denoiser).keys() == {group for group in GROUPS if "unet" in group}
    denoiser.zero_grad(set_to_none=True)
    assert grad_norms(denoiser) == {}


def test_the_gradients_stay_as_they_are(tiny_model: Path) -> None:
    denoiser, untouched = with_gradients(tiny_model), with_gradients(tiny_model)
    grad_norms(denoiser)
    for one, other in zip(denoiser.parameters(), untouched.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert torch.equal(one.grad, other.grad)


def test_a_gradient_that_is_not_finite_shows_where(tiny_model: Path) -> None:
    denoiser = with_gradients(tiny_model)
    conv = denoiser.get_parameter("unet.conv_in.weight")
    assert conv.grad is not None
    conv.grad[0] = math.inf
    norms = grad_norms(denoiser)
    assert {group for group, norm in norms.items() if not math.isfinite(norm)} == {"grad_norm/unet.down"}


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("unet.conv_in.weight", "unet.down"),
        ("unet.down_blocks.0.resnets.0.time_emb_proj.bias", "unet.down"),
        ("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight", "unet.down"),
        ("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight", "unet.text"),
        ("unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.default.weight", "unet.text"),
        ("unet.time_embedding.linear_1.weight", "unet.time"),
        ("unet.conv_norm_out.weight", "unet.up"),
        ("text_encoder.embeddings.token_embedding.weight", "text_encoder.embeddings"),
        ("text_encoder.text_model.encoder.layers.4.mlp.fc1.weight", "text_encoder.lower"),
        ("text_encoder.encoder.layers.5.mlp.fc1.weight", "text_encoder.upper"),
        ("text_encoder.final_layer_norm.bias", "text_encoder.upper"),
    ],
)
def test_names_and_their_groups(name: str, group: str) -> None:
    assert group_of(name, 11) == group


def test_the_device_is_waited_for_once(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # On a GPU every .item() or .tolist() stops the queue; one per step is what the loss costs already.
    denoiser = with_gradients(tiny_model)
    waits: list[str] = []
    real = torch.Tensor.tolist

    def counted(tensor: torch.Tensor) -> object:
        waits.append("tolist")
        return real(tensor)

    monkeypatch.setattr(torch.Tensor, "tolist", counted)
    for method in ("item", "cpu", "__float__", "__bool__"):
        monkeypatch.setattr(
            torch.Tensor, method, lambda self, method=method: pytest.fail(f"waits in {method}")
        )
    grad_norms(denoiser)
    assert waits == ["tolist"]


@given(st.floats(0.01, 100))
@settings(max_examples=10)
def test_clipping_to_a_known_norm_is_clipping(most: float) -> None:
    one, two = nn.Linear(3, 4), nn.Linear(3, 4)
    for seed, parameter in enumerate(one.parameters()):
        parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))
    for mine, theirs in zip(two.parameters(), one.parameters(), strict=True):
        assert theirs.grad is not None
        mine.grad = theirs.grad.clone()
    norm = float(nn.utils.clip_grad_norm_(one.parameters(), most))
    clip_gradients(two, norm, most)
    for mine, theirs in zip(two.parameters(), one.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-6, atol=0)
