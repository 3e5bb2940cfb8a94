"""The weights of a plain vision transformer of timm as transformers' SigLIP tower, which is the same network.

JTP PILOT and PILOT2 are timm's ``vit_so400m_patch14_siglip_384`` with a head of tags, WD ViT v3 is its
``vit_base_patch16_224`` without class token. timm itself needs torchvision; transformers has the network,
under other names. Everything but the number of heads follows from the shapes of the weights.

Legend: D width, L tags, P patches.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import SiglipVisionConfig, SiglipVisionModel

from trainkit.errors import ModelError

_HEADS = {192: 3, 384: 6, 512: 8, 768: 12, 1024: 16, 1152: 16, 1280: 16, 1408: 16, 1536: 24}
"""Attention heads by width, as timm has them."""
_ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "quick_gelu": "quick_gelu"}
_MOST_BLOCKS = 200
_BLOCK = {
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "attn.proj": "self_attn.out_proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
_POOL = {
    "proj": "attention.out_proj",
    "norm": "layernorm",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


class Unlike(Exception):
    """Weights of another kind of network; the message says which part."""


@dataclass(frozen=True, slots=True)
class _Shape:
    width: int
    patch: int
    grid: int
    blocks: int
    inner: int
    heads: int
    pooled: bool


class TimmVit(nn.Module):
    """Pictures [B, 3, S, S] to outputs [B, L]: logits, or with JTP PILOT2's gated head probabilities."""

    def __init__(
        self, tower: SiglipVisionModel, norm: nn.LayerNorm | None, head: nn.Linear, gated: bool
    ) -> None:
        super().__init__()
        self.tower, self.norm, self.head, self.gated = tower, norm, head, gated

    @property
    def side(self) -> int:
        """Side of the pictures, pixels."""
        size = self.tower.config.image_size
        assert isinstance(size, int)
        return size

    @property
    def num_outputs(self) -> int:
        """L, tags."""
        return self.head.out_features // (2 if self.gated else 1)

    def forward(self, images: Tensor) -> Tensor:
        """Outputs, [B, L], float32."""
        seen = self.tower(pixel_values=images)
        pooled = seen.pooler_output if self.tower.use_head else seen.last_hidden_state.mean(dim=1)
        if self.norm is not None:
            pooled = self.norm(pooled)
        out: Tensor = self.head(pooled).float()
        if not self.gated:
            return out
        says, gate = out.chunk(2, dim=1)
        share: Tensor = says.sigmoid() * gate.sigmoid()
        return share


def timm_vit(
    weights: Mapping[str, Tensor], model: Path, about: Mapping[str, Any], heads: int | None
) -> TimmVit:
    """The network of a file's weights; ``about`` is timm's config.json, empty where there is none.

    Raises `Unlike` for another network, ModelError for one of these that is not whole.
    """
    weights = dict(weights)
    shape = _shape(weights, heads, model)
    config = SiglipVisionConfig(
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.blocks,
        num_attention_heads=shape.heads,
        image_size=shape.grid * shape.patch,
        patch_size=shape.patch,
        hidden_act=_activation(about),
        layer_norm_eps=1e-6,
        vision_use_head=shape.pooled,
    )
    with torch.device("meta"):
        tower = SiglipVisionModel(config)
    late = "fc_norm.weight" in weights
    norm = nn.LayerNorm(shape.width, eps=1e-6) if late else None
    if late:  # Normalised after pooling, and not before.
        tower.post_layernorm = nn.Identity()  # type: ignore[assignment]
    gated = "head.linear.weight" in weights
    name = "head.linear" if gated else "head"
    head_weight, head_bias = weights.pop(f"{name}.weight"), weights.pop(f"{name}.bias")
    head = nn.Linear(shape.width, head_weight.shape[0])
    try:
        head.load_state_dict({"weight": head_weight, "bias": head_bias})
        if norm is not None:
            norm.load_state_dict({key: weights.pop(f"fc_norm.{key}") for key in ("weight", "bias")})
        named = _renamed(weights, shape)
        tower.load_state_dict(named, strict=True, assign=True)
    except KeyError as error:
        raise ModelError(f"{model}: the weights {error} are missing: it was not copied whole") from error
    except RuntimeError as error:
        raise ModelError(f"{model}: {' '.join(str(error).split())[:300]}") from error
    tower.embeddings.register_buffer(
        "position_ids", torch.arange(shape.grid**2).expand((1, -1)), persistent=False
    )
    return TimmVit(tower.float(), norm, head, gated).eval().requires_grad_(False)


def _shape(weights: Mapping[str, Tensor], heads: int | None, model: Path) -> _Shape:
    patch = weights.get("patch_embed.proj.weight")
    positions = weights.get("pos_embed")
    if patch is None or patch.ndim != 4 or positions is None or positions.ndim != 3:
        raise Unlike("it has no patches with learned positions")
    if "cls_token" in weights or "reg_token" in weights:
        raise Unlike("it has class or register tokens")
    if "head.weight" not in weights and "head.linear.weight" not in weights:
        raise Unlike("it has no linear head")
    inner = weights.get("blocks.0.mlp.fc1.weight")
    if inner is None or inner.ndim != 2 or "blocks.0.attn.qkv.weight" not in weights:
        raise Unlike("its blocks are not a plain transformer's")
    blocks = 0
    while f"blocks.{blocks}.norm1.weight" in weights and blocks <= _MOST_BLOCKS:
        blocks += 1
    width, grid = int(patch.shape[0]), math.isqrt(int(positions.shape[1]))
    if not blocks or grid**2 != positions.shape[1] or positions.shape[2] != width:
        raise ModelError(f"{model}: positions {list(positions.shape)} do not fit a square of patches")
    heads = heads or _HEADS.get(width)
    if not heads or width % heads:
        raise ModelError(
            f"{model}: width {width} is unusual, so its attention heads must be told: heads "
            "= 12 in trainkit.toml"
        )
    pooled = "attn_pool.latent" in weights
    return _Shape(width, int(patch.shape[-1]), grid, blocks, int(inner.shape[0]), heads, pooled)


def _activation(about: Mapping[str, Any]) -> str:
    """SigLIP's towers in timm have the exact GELU unless their configuration says another."""
    arguments = about.get("model_args")
    told = arguments.get("act_layer", "gelu") if isinstance(arguments, dict) else "gelu"
    if not isinstance(told, str) or told not in _ACTIVATIONS:
        raise Unlike(f"its activation is {told!r}")
    return _ACTIVATIONS[told]


def _renamed(weights: dict[str, Tensor], shape: _Shape) -> dict[str, Tensor]:
    """timm's weights by transformers' names. Raises KeyError for a missing one, `Unlike` for one too many."""
    left = dict(weights)
    named = {
        "embeddings.patch_embedding.weight": left.pop("patch_embed.proj.weight"),
        "embeddings.patch_embedding.bias": left.pop("patch_embed.proj.bias"),
        "embeddings.position_embedding.weight": left.pop("pos_embed")[0],
    }
    for block in range(shape.blocks):
        ours, theirs = f"encoder.layers.{block}", f"blocks.{block}"
        for kind in ("weight", "bias"):
            for old, new in _BLOCK.items():
                tensor = left.pop(f"{theirs}.{old}.{kind}")
                scale = left.get(f"{theirs}.{_SCALED[old]}.gamma") if old in _SCALED else None
                # A scale of what a layer gives is a scale of its weights.
                named[f"{ours}.{new}.{kind}"] = (
                    tensor if scale is None else tensor * scale.view(-1, *[1] * (tensor.ndim - 1))
                )
            parts = left.pop(f"{theirs}.attn.qkv.{kind}").chunk(3)
            for part, tensor in zip("qkv", parts, strict=True):
                named[f"{ours}.self_attn.{part}_proj.{kind}"] = tensor
        for scale_name in _SCALED.values():
            left.pop(f"{theirs}.{scale_name}.gamma", None)
    for kind in ("weight", "bias"):
        if f"norm.{kind}" in left:
            named[f"post_layernorm.{kind}"] = left.pop(f"norm.{kind}")
    if shape.pooled:
        named["head.probe"] = left.pop("attn_pool.latent")
        for kind in ("weight", "bias"):
            for old, new in _POOL.items():
                named[f"head.{new}.{kind}"] = left.pop(f"attn_pool.{old}.{kind}")
            both = torch.cat([left.pop(f"attn_pool.q.{kind}"), left.pop(f"attn_pool.kv.{kind}")])
            named[f"head.attention.in_proj_{kind}"] = both
    if left:
        raise Unlike(f"it also has {min(left)!r}")
    return named


_SCALED = {"attn.proj": "ls1", "mlp.fc2": "ls2"}
"""Layers whose output a learned scale (LayerScale) multiplies."""
