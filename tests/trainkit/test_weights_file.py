"""Weights of a file over those of a model: the right ones, all or nothing, and what a wrong file is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from trainkit.errors import ModelError
from trainkit.models import Denoiser, ModelConfig, load_model
from trainkit.text import TextConfig
from trainkit.weights_file import overlay_weights


@pytest.fixture
def denoiser(tiny_model: Path) -> Denoiser:
    return load_model(ModelConfig(base=tiny_model), TextConfig(clip_skip=2)).denoiser


def copies(denoiser: Denoiser) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in denoiser.state_dict().items()}


def test_a_whole_file_replaces_everything_a_part_only_its_own(denoiser: Denoiser, tmp_path: Path) -> None:
    before = copies(denoiser)
    other = {name: torch.randn_like(tensor) for name, tensor in before.items()}
    save_file(other, tmp_path / "all.safetensors", {"sigma_rel": "0.1"})
    overlay = overlay_weights(denoiser, tmp_path / "all.safetensors")
    assert (overlay.replaced, overlay.kept, overlay.about) == (len(before), (), {"sigma_rel": "0.1"})
    assert all(torch.equal(tensor, other[name]) for name, tensor in denoiser.state_dict().items())

    part = {name: tensor for name, tensor in before.items() if name.startswith("unet.")}
    save_file(part, tmp_path / "unet.safetensors")
    overlay = overlay_weights(denoiser, tmp_path / "unet.safetensors")
    assert overlay.replaced == len(part)
    assert overlay.kept == tuple(name for name in before if not name.startswith("unet."))
    for name, tensor in denoiser.state_dict().items():
        assert torch.equal(tensor, (before if name.startswith("unet.") else other)[name])


def test_half_precision_and_older_names_are_taken(denoiser: Denoiser, tmp_path: Path) -> None:
    name = "text_encoder.final_layer_norm.weight"
    old = "text_encoder.text_model.final_layer_norm.weight"
    assert name in denoiser.state_dict()
    value = torch.full_like(denoiser.state_dict()[name], 0.5).half()
    save_file({old: value}, tmp_path / "half.safetensors")
    assert overlay_weights(denoiser, tmp_path / "half.safetensors").replaced == 1
    now = denoiser.state_dict()[name]
    assert now.dtype == torch.float32
    assert (now == 0.5).all()


@pytest.mark.parametrize(
    ("tensors", "part"),
    [
        ({}, "it holds no tensors"),
        ({"model.diffusion_model.out.2.bias": torch.ones(4)}, "this is a whole model in a single file"),
        ({"unet.lora_A.weight": torch.ones(4)}, "this is an adapter"),
        ({"text_encoder.encoder.layers.2.mlp.fc1.bias": torch.ones(32)}, "left out by clip skip"),
        ({"conv_in.bias": torch.ones(8)}, 'names such as "unet.conv_in.weight"'),
        ({"unet.conv_in.bias": torch.ones(9)}, r"unet.conv_in.bias is \[9\], the model's \[8\]"),
        ({"unet.conv_in.bias": torch.full((8,), torch.nan)}, "values of unet.conv_in.bias are not finite"),
    ],
)
def test_a_file_that_does_not_fit_changes_nothing(
    denoiser: Denoiser, tmp_path: Path, tensors: dict[str, Tensor], part: str
) -> None:
    before = copies(denoiser)
    fits = {"unet.conv_out.bias": torch.ones(4)} if tensors else {}
    save_file({**fits, **tensors}, tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=part):
        overlay_weights(denoiser, tmp_path / "w.safetensors")
    assert all(torch.equal(tensor, before[name]) for name, tensor in denoiser.state_dict().items())


def test_a_file_that_is_none(denoiser: Denoiser, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"not a weights file at all")
    for name in ("w.safetensors", "gone.safetensors"):
        with pytest.raises(ModelError, match="cannot be read as a weights file"):
            overlay_weights(denoiser, tmp_path / name)
