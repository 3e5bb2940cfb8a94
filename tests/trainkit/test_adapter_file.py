"""Files of adapters, against the real loader and against what a front end does by hand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.trainkit.test_adapters import LOCON, LORA, batch, load, trained
from trainkit.adapter_file import (
    DIFFUSERS_NAME,
    file_hashes,
    kohya_name,
    write_adapter,
    write_diffusers_adapter,
)
from trainkit.adapters import AdapterConfig, adapted_layers, merged_state, trainable_state
from trainkit.errors import ModelError
from trainkit.models import Model
from trainkit.text import clip_body, encode_chunks, put_back_layers

Write = Callable[[Path, Model, AdapterConfig], Path]


def as_kohya(folder: Path, model: Model, config: AdapterConfig) -> Path:
    path = folder / "adapter.safetensors"
    write_adapter(path, trainable_state(model.denoiser), config, "v_prediction", dtype="fp32")
    return path


def as_diffusers(folder: Path, model: Model, config: AdapterConfig) -> Path:
    path = folder / DIFFUSERS_NAME
    write_diffusers_adapter(path, trainable_state(model.denoiser), config)
    return path


@pytest.mark.parametrize("config", [LORA, LOCON, AdapterConfig(rank=3), AdapterConfig(rank=3, conv_rank=2)])
@pytest.mark.parametrize("write", [as_kohya, as_diffusers])
def test_diffusers_loads_what_we_trained(
    tiny_model: Path, tmp_path: Path, write: Write, config: AdapterConfig
) -> None:
    model = trained(tiny_model, config)
    path = write(tmp_path, model, config)
    pipeline: Any = StableDiffusionPipeline.from_pretrained(tiny_model, safety_checker=None)
    pipeline.load_lora_weights(path.parent, weight_name=path.name)
    x_t, t_B, ids = batch()
    with torch.no_grad():
        context = encode_chunks(model.denoiser.text_encoder, ids, "concat77")
        found = pipeline.text_encoder(ids.reshape(4, 77), output_hidden_states=True).hidden_states[-2]
        found = clip_body(pipeline.text_encoder).final_layer_norm(found).reshape(context.shape)
        torch.testing.assert_close(found, context, rtol=0, atol=1e-5)
        theirs = pipeline.unet(x_t, t_B, found).sample
        torch.testing.assert_close(theirs, model.denoiser(x_t, t_B, ids), rtol=0, atol=1e-5)
        base = load(tiny_model).denoiser
        assert (base(x_t, t_B, ids) - theirs).abs().max() > 0.05
        assert (encode_chunks(base.text_encoder, ids, "concat77") - context).abs().max() > 0.05


def by_hand(path: Path, base: dict[str, Tensor]) -> dict[str, Tensor]:
    """What a front end makes of an adapter file: W + alpha / rank * up down, for each layer that it names."""
    file = load_file(path)
    weights = {kohya_name(name.removesuffix(".weight")): name for name in base if name.endswith(".weight")}
    merged = dict(base)
    for key in sorted({key.split(".")[0] for key in file}):
        down, up, alpha = (file[f"{key}.{part}"] for part in ("lora_down.weight", "lora_up.weight", "alpha"))
        rank = down.shape[0]
        scale = alpha.item() / rank
        name = weights[key]
        if down.dim() == 2:
            delta = up @ down
        elif down.shape[2:] == (1, 1):
            delta = (up[:, :, 0, 0] @ down[:, :, 0, 0])[:, :, None, None]
        else:
            delta = torch.nn.functional.conv2d(down.permute(1, 0, 2, 3), up).permute(1, 0, 2, 3)
        merged[name] = base[name] + scale * delta
    return merged


@pytest.mark.parametrize("config", [LORA, LOCON])
def test_a_front_end_merges_the_file_to_what_we_merge(
    tiny_model: Path, tmp_path: Path, config: AdapterConfig
) -> None:
    model = trained(tiny_model, config)
    base = load(tiny_model).denoiser.state_dict()
    theirs, ours = by_hand(as_kohya(tmp_path, model, config), base), merged_state(model.denoiser)
    assert theirs.keys() == ours.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(theirs[name], tensor, rtol=0, atol=1e-6)
    changed = {f"{name}.weight" for name in adapted_layers(load(tiny_model).denoiser, config)}
    assert {name for name in ours if not torch.equal(ours[name], base[name])} == changed


def test_names_are_those_that_front_ends_know() -> None:
    assert [
        kohya_name("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"),
        kohya_name("unet.up_blocks.3.attentions.2.transformer_blocks.0.attn2.to_out.0"),
        kohya_name("unet.mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj"),
        kohya_name("unet.down_blocks.1.resnets.0.conv_shortcut"),
        kohya_name("text_encoder.encoder.layers.0.self_attn.q_proj"),
        kohya_name("text_encoder.text_model.encoder.layers.10.mlp.fc2"),  # transformers before 5.6
    ] == [
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q",
        "lora_unet_up_blocks_3_attentions_2_transformer_blocks_0_attn2_to_out_0",
        "lora_unet_mid_block_attentions_0_transformer_blocks_0_ff_net_0_proj",
        "lora_unet_down_blocks_1_resnets_0_conv_shortcut",
        "lora_te_text_model_encoder_layers_0_self_attn_q_proj",
        "lora_te_text_model_encoder_layers_10_mlp_fc2",
    ]


def test_the_names_of_a_whole_model_stay_apart(tiny_model: Path) -> None:
    model = load(tiny_model)
    put_back_layers(model.denoiser.text_encoder, model.dropped_layers)
    names = adapted_layers(model.denoiser, LOCON)
    assert len({kohya_name(name) for name in names}) == len(names)


def test_tensors_and_metadata_of_a_locon_file(tiny_model: Path, tmp_path: Path) -> None:
    model = trained(tiny_model, LOCON)
    path = tmp_path / "new" / "adapter.safetensors"
    state = trainable_state(model.denoiser)
    write_adapter(path, state, LOCON, "v_prediction", metadata={"ss_v2": "x", "modelspec.title": "t"})
    assert [p.name for p in path.parent.iterdir()] == ["adapter.safetensors"], (
        "something else was left behind"
    )
    with safe_open(path, "pt") as file:
        found, keys = file.metadata(), set(file.keys())
    tensors = load_file(path)
    layers = {key.split(".")[0] for key in keys}
    assert keys == {f"{k}.{s}" for k in layers for s in ("alpha", "lora_down.weight", "lora_up.weight")}
    conv = "lora_unet_down_blocks_0_resnets_0_conv1"
    assert tensors[f"{conv}.lora_down.weight"].shape == (3, 8, 3, 3)
    assert tensors[f"{conv}.lora_up.weight"].shape == (8, 3, 1, 1)
    assert tensors[f"{conv}.alpha"].item() == 1.5
    point = "lora_unet_down_blocks_0_attentions_0_proj_in"
    assert tensors[f"{point}.lora_down.weight"].shape == (4, 8, 1, 1)
    assert tensors[f"{point}.alpha"].item() == 2.0
    assert tensors["lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight"].shape == (4, 16)
    assert {t.dtype for k, t in tensors.items() if not k.endswith(".alpha")} == {torch.float16}
    given = {"ss_v2": "x", "modelspec.title": "t"}
    hashes = ("sshs_model_hash", "sshs_legacy_hash", "modelspec.hash_sha256")
    assert {key: value for key, value in found.items() if key not in hashes} == given | {
        "ss_network_module": "networks.lora",
        "ss_network_dim": "4",
        "ss_network_alpha": "2.0",
        "ss_network_args": json.dumps({"conv_dim": "3", "conv_alpha": "1.5"}),
        "ss_network_dropout": "0.0",
        "ss_base_model_version": "sd_v1",
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": "stable-diffusion-v1/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.prediction_type": "v",
    }
    # The hash that a front end computes of the finished file: of all that follows the header.
    data = path.read_bytes()
    body = hashlib.sha256(data[8 + int.from_bytes(data[:8], "little") :]).hexdigest()
    assert (found["sshs_model_hash"], found["modelspec.hash_sha256"]) == (body, f"0x{body}")
    assert found["sshs_legacy_hash"] == hashlib.sha256(b"").hexdigest()[:8]  # The file is under a mebibyte.


def test_hashes_depend_on_the_tensors_and_the_training_only(tmp_path: Path) -> None:
    draws = torch.Generator().manual_seed(0)
    tensors = {"a": torch.randn(300_000, generator=draws), "b": torch.zeros(4)}
    first = file_hashes(tensors, {"ss_seed": "1"})
    save_file(tensors, tmp_path / "a", {"ss_seed": "1"})
    with (tmp_path / "a").open("rb") as file:
        file.seek(0x100000)
        assert first["sshs_legacy_hash"] == hashlib.sha256(file.read(0x10000)).hexdigest()[:8]
    assert file_hashes(tensors, {"ss_seed": "1", "modelspec.title": "another"}) == first
    assert file_hashes(tensors | {"b": torch.ones(4)}, {"ss_seed": "1"}) != first
    other = file_hashes(tensors, {"ss_seed": "1", "ss_notes": "longer, and so the body begins later"})
    assert other["sshs_model_hash"] == first["sshs_model_hash"]
    assert other["sshs_legacy_hash"] != first["sshs_legacy_hash"]


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_half_precision_keeps_alpha_exact(tiny_model: Path, tmp_path: Path, dtype: Any) -> None:
    config = AdapterConfig(rank=4, alpha=1.01)
    model = trained(tiny_model, config)
    path = tmp_path / "adapter.safetensors"
    write_adapter(path, trainable_state(model.denoiser), config, "epsilon", dtype=dtype)
    alphas = {tensor.item() for key, tensor in load_file(path).items() if key.endswith(".alpha")}
    assert alphas == {torch.tensor(1.01).item()}
    with safe_open(path, "pt") as file:
        assert file.metadata()["modelspec.prediction_type"] == "epsilon"
        assert "ss_network_args" not in file.metadata()


def test_a_file_that_cannot_be_written_leaves_the_older_one(tiny_model: Path, tmp_path: Path) -> None:
    model = trained(tiny_model, LORA)
    (tmp_path / "adapter.safetensors" / "occupied").mkdir(parents=True)
    with pytest.raises(ModelError, match=r"the adapter could not be written to .*adapter\.safetensors"):
        as_kohya(tmp_path, model, LORA)
    assert [p.name for p in tmp_path.iterdir()] == ["adapter.safetensors"]
