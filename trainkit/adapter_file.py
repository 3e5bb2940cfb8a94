"""Adapters in the two formats that other programs read.

kohya's, which every front end reads: one file, for each adapted layer

    lora_unet_<path of the layer in diffusers' UNet, _ for .>.lora_down.weight    A
    lora_te_text_model_<path in the text encoder, _ for .>.lora_up.weight         B
    ....alpha                                                                     a scalar

and metadata under "ss_", "sshs_" and "modelspec.". diffusers' own: ``pytorch_lora_weights.safetensors`` with
peft's names (``unet.<path>.lora_A.weight``), where alpha / rank is multiplied into B, so that a reader needs
to know no alpha.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor

from trainkit.adapters import AdapterConfig, layer_of
from trainkit.errors import ModelError
from trainkit.loss import Prediction
from trainkit.whole_file import replace_whole

Dtype = Literal["fp32", "fp16", "bf16"]
_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
DIFFUSERS_NAME = "pytorch_lora_weights.safetensors"
"""The file name that diffusers' load_lora_weights looks for in a folder."""


def write_adapter(
    path: Path,
    state: dict[str, Tensor],
    config: AdapterConfig,
    prediction: Prediction,
    *,
    metadata: dict[str, str] | None = None,
    dtype: Dtype = "fp16",
) -> None:
    """Write kohya's form, all or nothing. ``state`` is trainable_state's, or an average of it.

    ``metadata`` is added, and wins where it names the same key. alpha is stored in float32 whatever ``dtype``
    says: bfloat16 would round it by up to 0.4 %. Raises ModelError when the file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    for name, tensor in state.items():
        layer, side = layer_of(name)
        key = kohya_name(layer)
        tensors[f"{key}.lora_{'down' if side == 'A' else 'up'}.weight"] = _stored(tensor, dtype)
        if side == "A":
            tensors[f"{key}.alpha"] = torch.tensor(config.room(tensor.shape)[1], dtype=torch.float32)
    _write(path, tensors, kohya_metadata(config, prediction) | (metadata or {}))


def write_diffusers_adapter(
    path: Path,
    state: dict[str, Tensor],
    config: AdapterConfig,
    *,
    metadata: dict[str, str] | None = None,
    dtype: Dtype = "fp32",
) -> None:
    """Write diffusers' form, all or nothing; call the file DIFFUSERS_NAME. Raises ModelError."""
    scale = {}
    for name, tensor in state.items():
        layer, side = layer_of(name)
        if side == "A":
            rank, alpha = config.room(tensor.shape)
            scale[layer] = alpha / rank
    tensors: dict[str, Tensor] = {}
    for name, tensor in state.items():
        layer, side = layer_of(name)
        factor = scale[layer] if side == "B" else 1.0
        tensors[f"{_old_spelling(layer)}.lora_{side}.weight"] = _stored(tensor * factor, dtype)
    _write(path, tensors, {"format": "pt"} | (metadata or {}))


def kohya_name(layer: str) -> str:
    """A layer of a Denoiser by kohya's name.

    unet.mid_block.attentions.0.proj_in        lora_unet_mid_block_attentions_0_proj_in
    text_encoder.encoder.layers.0.mlp.fc1      lora_te_text_model_encoder_layers_0_mlp_fc1
    """
    part, _, path = _old_spelling(layer).partition(".")
    return f"lora_{'te' if part == 'text_encoder' else part}_{path.replace('.', '_')}"


def kohya_metadata(config: AdapterConfig, prediction: Prediction) -> dict[str, str]:
    """What tools ask an adapter file: its kind, size and base."""
    rank, alpha = config.room(torch.Size())
    found = {
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(rank),
        "ss_network_alpha": str(alpha),
        "ss_network_dropout": str(config.dropout),
        "ss_base_model_version": "sd_v1",
        "ss_v2": "False",
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": "stable-diffusion-v1/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.prediction_type": "v" if prediction == "v_prediction" else prediction,
    }
    if config.conv_rank is not None:
        conv = {"conv_dim": config.conv_rank, "conv_alpha": config.conv_alpha or config.conv_rank}
        found["ss_network_args"] = json.dumps({name: str(value) for name, value in conv.items()})
    return found


def file_hashes(tensors: dict[str, Tensor], metadata: dict[str, str]) -> dict[str, str]:
    """The hashes by which front ends and sites know an adapter, as kohya's trainer makes them.

    Both are SHA-256 of the file as it would be with the "ss_" metadata only: ``sshs_model_hash`` of all that
    follows the header, ``sshs_legacy_hash`` the first 8 digits for bytes 0x100000 to 0x110000 (none, in a
    file under a mebibyte). modelspec.hash_sha256 is the former with "0x" before it.
    """
    data = save(tensors, {key: value for key, value in metadata.items() if key.startswith("ss_")})
    whole = hashlib.sha256(data[8 + int.from_bytes(data[:8], "little") :]).hexdigest()
    return {
        "sshs_model_hash": whole,
        "sshs_legacy_hash": hashlib.sha256(data[0x100000:0x110000]).hexdigest()[:8],
        "modelspec.hash_sha256": f"0x{whole}",
    }


def _old_spelling(layer: str) -> str:
    """With "text_model." in the text encoder's names: all files have it, transformers dropped it in 5.6."""
    path = layer.removeprefix("text_encoder.").removeprefix("text_model.")
    return layer if layer.startswith("unet.") else f"text_encoder.text_model.{path}"


def _stored(tensor: Tensor, dtype: Dtype) -> Tensor:
    return tensor.detach().to("cpu", _DTYPES[dtype]).contiguous()


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_whole(path, save(tensors, metadata | file_hashes(tensors, metadata)))
    except (OSError, SafetensorError) as error:
        raise ModelError(f"the adapter could not be written to {path}: {error}") from error
