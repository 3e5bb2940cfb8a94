"""The single-file layout: a bijection of names, the one that diffusers' own converters undo."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import CLIPTextConfig, CLIPTextModel

from trainkit.errors import ModelError
from trainkit.export.layout import (
    PREFIXES,
    Part,
    diffusers_names,
    diffusers_shape,
    original_names,
    original_shape,
)

Shapes = dict[str, tuple[int, ...]]


def meta_unet(widths: tuple[int, ...], layers: int, attended: tuple[bool, ...], **more: Any) -> Shapes:
    """Names and shapes of a UNet, without memory for its weights."""
    down = ["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attended]
    up = ["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attended)]
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            block_out_channels=widths,
            layers_per_block=layers,
            down_block_types=tuple(down),
            up_block_types=tuple(up),
            **{"norm_num_groups": 4, "attention_head_dim": 2, "cross_attention_dim": 8, **more},
        )
    return shapes(unet)


def meta_vae(widths: tuple[int, ...], layers: int, groups: int = 2) -> Shapes:
    with torch.device("meta"):
        vae = AutoencoderKL(
            block_out_channels=widths,
            layers_per_block=layers,
            norm_num_groups=groups,
            down_block_types=("DownEncoderBlock2D",) * len(widths),
            up_block_types=("UpDecoderBlock2D",) * len(widths),
        )
    return shapes(vae)


def meta_text_encoder(**config: Any) -> Shapes:
    with torch.device("meta"):
        return shapes(CLIPTextModel(CLIPTextConfig(**config)))


def shapes(module: Any) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


@pytest.fixture(scope="module")
def full_size() -> dict[Part, Shapes]:
    """Stable Diffusion 1.5's three networks."""
    return {
        "unet": meta_unet(
            (320, 640, 1280, 1280),
            2,
            (True, True, True, False),
            norm_num_groups=32,
            attention_head_dim=8,
            cross_attention_dim=768,
        ),
        "vae": meta_vae((128, 256, 512, 512), 2, groups=32),
        "text_encoder": meta_text_encoder(
            vocab_size=49408,
            hidden_size=768,
            intermediate_size=3072,
            num_hidden_layers=12,
            num_attention_heads=12,
            projection_dim=768,
        ),
    }


def exported(part: Part, names: Shapes) -> Shapes:
    renamed = original_names(part, names)
    return {renamed[name]: original_shape(renamed[name], shape) for name, shape in names.items()}


def imported(part: Part, names: Shapes) -> Shapes:
    back = diffusers_names(part, names)
    return {back[name]: diffusers_shape(name, shape) for name, shape in names.items()}


def by_diffusers(part: Part, single: Shapes, config: dict[str, Any]) -> Shapes:
    """What diffusers' own converter makes of the single file's names and shapes."""
    checkpoint = {name: torch.empty(shape, device="meta") for name, shape in single.items()}
    if part == "unet":
        found = convert_ldm_unet_checkpoint(checkpoint, config)
    elif part == "vae":
        found = convert_ldm_vae_checkpoint(checkpoint, config)
    else:
        found = {
            name.removeprefix("text_model."): tensor
            for name, tensor in convert_ldm_clip_checkpoint(checkpoint).items()
        }
    return {name: tuple(tensor.shape) for name, tensor in found.items()}


@st.composite
def unets(draw: st.DrawFn) -> tuple[Shapes, int]:
    """Of any width, depth and places of attention; neighbours of equal width have no conv_shortcut."""
    widths = draw(st.lists(st.sampled_from([4, 8, 12]), min_size=1, max_size=4))
    attended = draw(st.lists(st.booleans(), min_size=len(widths), max_size=len(widths)))
    layers = draw(st.integers(1, 3))
    return meta_unet(tuple(widths), layers, tuple(attended)), layers


@settings(max_examples=25, deadline=None)
@given(unets())
def test_any_unet_comes_back_as_it_was(case: tuple[Shapes, int]) -> None:
    unet, layers = case
    single = exported("unet", unet)
    assert len(single) == len(unet)
    assert imported("unet", single) == unet
    assert by_diffusers("unet", single, {"layers_per_block": layers}) == unet


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([2, 4, 6]), min_size=1, max_size=4), st.integers(1, 3))
def test_any_vae_comes_back_as_it_was(widths: list[int], layers: int) -> None:
    vae = meta_vae(tuple(widths), layers)
    single = exported("vae", vae)
    assert len(single) == len(vae)
    assert imported("vae", single) == vae
    kinds = {"down_block_types": widths, "up_block_types": widths}
    assert by_diffusers("vae", single, kinds) == vae


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 5), st.booleans())
def test_any_text_encoder_comes_back_as_it_was(layers: int, older: bool) -> None:
    small = {"hidden_size": 8, "intermediate_size": 16, "num_attention_heads": 2, "vocab_size": 20}
    text = meta_text_encoder(**small, num_hidden_layers=layers)
    given_names = {f"text_model.{name}": shape for name, shape in text.items()} if older else text
    single = exported("text_encoder", given_names)
    assert imported("text_encoder", single) == text
    assert by_diffusers("text_encoder", single, {}) == text


def test_the_true_size_model_has_all_of_its_1130_names_and_shapes(full_size: dict[Part, Shapes]) -> None:
    single = {part: exported(part, names) for part, names in full_size.items()}
    assert {part: len(names) for part, names in single.items()} == {
        "unet": 686,
        "vae": 248,
        "text_encoder": 196,
    }
    configs: dict[Part, dict[str, Any]] = {
        "unet": {"layers_per_block": 2},
        "vae": {"down_block_types": range(4), "up_block_types": range(4)},
        "text_encoder": {},
    }
    for part, names in full_size.items():
        assert by_diffusers(part, single[part], configs[part]) == names
        assert imported(part, single[part]) == names
    every = {name: shape for names in single.values() for name, shape in names.items()}
    assert len(every) == 1130
    # Some that are known from the published file itself.
    for name, shape in {
        "model.diffusion_model.time_embed.0.weight": (1280, 320),
        "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768),
        "model.diffusion_model.input_blocks.4.0.skip_connection.weight": (640, 320, 1, 1),
        "model.diffusion_model.input_blocks.9.0.op.weight": (1280, 1280, 3, 3),
        "model.diffusion_model.middle_block.1.proj_in.weight": (1280, 1280, 1, 1),
        "model.diffusion_model.output_blocks.2.1.conv.weight": (1280, 1280, 3, 3),
        "model.diffusion_model.output_blocks.5.2.conv.bias": (1280,),
        "model.diffusion_model.output_blocks.11.1.norm.bias": (320,),
        "model.diffusion_model.out.2.weight": (4, 320, 3, 3),
        "first_stage_model.decoder.up.0.block.2.nin_shortcut.weight": None,
        "first_stage_model.decoder.up.0.block.0.nin_shortcut.weight": (128, 256, 1, 1),
        "first_stage_model.decoder.up.3.upsample.conv.weight": (512, 512, 3, 3),
        "first_stage_model.encoder.down.2.downsample.conv.weight": (512, 512, 3, 3),
        "first_stage_model.encoder.mid.attn_1.proj_out.weight": (512, 512, 1, 1),
        "first_stage_model.encoder.mid.attn_1.norm.weight": (512,),
        "first_stage_model.quant_conv.weight": (8, 8, 1, 1),
        "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": (49408, 768),
        "cond_stage_model.transformer.text_model.encoder.layers.11.mlp.fc1.weight": (3072, 768),
        "cond_stage_model.transformer.text_model.final_layer_norm.weight": (768,),
    }.items():
        assert every.get(name) == shape, name


def test_attention_of_older_vae_folders_is_known() -> None:
    vae = meta_vae((2, 4), 1)
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    older = dict(vae)
    for new, old in names.items():
        for name in [name for name in vae if f".attentions.0.{new}." in name]:
            older[name.replace(f".{new}.", f".{old}.")] = older.pop(name)
    assert len(set(older) - set(vae)) == 16
    assert exported("vae", older) == exported("vae", vae)


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("unet", "add_embedding.linear_1.weight"),
        ("unet", "down_blocks.0.motion_modules.0.proj.weight"),
        ("vae", "encoder.down_blocks.0.attentions.0.to_q.weight"),
        ("text_encoder", "text_projection.weight"),
    ],
)
def test_what_has_no_place_is_named(part: Part, name: str) -> None:
    with pytest.raises(ModelError, match=rf"the {part} has a weight {name!r}, for which .* has no place"):
        original_names(part, [name])
    with pytest.raises(ModelError, match="has no place"):
        diffusers_names(part, [PREFIXES[part] + name])
