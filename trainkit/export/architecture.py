"""What kind of networks a single file holds, from the names and shapes of its weights.

Widths, depths and places of attention can be read off the shapes. Numbers of attention heads and of groups in
the group norms cannot: they are Stable Diffusion 1's (8 heads in the UNet, 64 channels a head in the text
encoder, groups of 32) unless the file says otherwise.
"""

from __future__ import annotations

import re
from typing import Any

from trainkit.errors import ModelError
from trainkit.export.layout import PREFIXES, Part, diffusers_names, diffusers_shape

Shapes = dict[str, tuple[int, ...]]

_EXTRAS = re.compile(
    r"(model_ema\..*|alphas_cumprod(_prev)?|betas|sqrt_.*|log_one_minus_alphas_cumprod|posterior_.*"
    r"|lvlb_weights|logvar|global_step|v_pred|ztsnr|cond_stage_model\.transformer\.(text_model\.)?embeddings\.position_ids"
    r"|cond_stage_model\.logit_scale|cond_stage_model\.text_projection|first_stage_model\.loss\..*"
    r"|first_stage_model\.model_ema\..*|safety_checker\..*|embedding_manager\..*)"
)
"""What older files hold besides the three networks, and nobody needs: averages kept by the original code, its
tables of the noise schedule, markers."""

_OTHERS = (
    ("conditioner.", "this is a model of the SDXL family"),
    ("cond_stage_model.model.", "this is a Stable Diffusion 2 model (its text encoder is OpenCLIP's)"),
    ("cond_stage_model.roberta.", "this is an AltDiffusion model"),
    ("model.diffusion_model.joint_blocks.", "this is a Stable Diffusion 3 model"),
    ("model.diffusion_model.double_blocks.", "this is a Flux model"),
    ("double_blocks.", "this is a Flux model"),
    ("lora_unet_", "this is an adapter (LoRA), no whole model"),
    ("lora_te_", "this is an adapter (LoRA), no whole model"),
    ("control_model.", "this is a ControlNet"),
    ("unet.", "this is a weights file of a run; `trainkit export --weights` lays it over a model"),
    ("down_blocks.", "this is a single network in diffusers' format, no whole model"),
)
"""Beginning of a name -> what a file with such names is."""


def split_parts(shapes: Shapes) -> tuple[dict[Part, dict[str, str]], list[str]]:
    """For every part its names in the file -> diffusers' names; and the names that are left over.

    Raises ModelError for a file that is no whole Stable Diffusion 1.x model, saying what it is instead.
    """
    for beginning, what in _OTHERS:
        if any(name.startswith(beginning) for name in shapes):
            raise ModelError(f"{what}; only Stable Diffusion 1.x models can be imported")
    rest = [name for name in shapes if not _EXTRAS.fullmatch(name)]
    parts: dict[Part, dict[str, str]] = {}
    for part, prefix in PREFIXES.items():
        begin = "cond_stage_model.transformer." if part == "text_encoder" else prefix
        # Both generations of the text encoder: with and without "text_model.".
        full = {
            name: prefix + name.removeprefix(prefix).removeprefix(begin)
            for name in rest
            if name.startswith(begin)
        }
        if not full:
            raise ModelError(
                f"it holds no weights of the {part} ({prefix}*); only whole models can be imported"
            )
        back = diffusers_names(part, full.values())
        parts[part] = {name: back[full[name]] for name in full}
    known = {name for names in parts.values() for name in names}
    return parts, [name for name in rest if name not in known]


def part_shapes(part: Part, names: dict[str, str], shapes: Shapes) -> Shapes:
    """diffusers' names and shapes of a part's weights."""
    return {new: diffusers_shape(old, shapes[old]) for old, new in names.items()}


def unet_config(shapes: Shapes) -> dict[str, Any]:
    """The configuration of a UNet with weights of these (diffusers') names and shapes."""
    channels = _get(shapes, "conv_in.weight")[1]
    if channels != 4:
        kind = {9: "an inpainting model", 8: "an instruct-pix2pix model", 5: "a depth model"}.get(channels)
        raise ModelError(f"the UNet takes {channels} channels, not 4: {kind or 'no text-to-image model'}")
    if any(name.endswith("proj_in.weight") and len(shape) == 2 for name, shape in shapes.items()):
        raise ModelError("the UNet's attention has linear projections: a Stable Diffusion 2 model")
    levels = 1 + max(int(m[1]) for name in shapes if (m := re.match(r"down_blocks\.(\d+)\.", name)))
    attended = [f"down_blocks.{level}.attentions.0.norm.weight" in shapes for level in range(levels)]
    widths = [_get(shapes, f"down_blocks.{level}.resnets.0.conv1.weight")[0] for level in range(levels)]
    return {
        "sample_size": 64,
        "in_channels": channels,
        "out_channels": _get(shapes, "conv_out.weight")[0],
        "block_out_channels": widths,
        "layers_per_block": _layers(shapes, "down_blocks.0.resnets"),
        "down_block_types": ["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attended],
        "up_block_types": ["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attended)],
        "cross_attention_dim": _get(shapes, "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight")[
            1
        ],
        "transformer_layers_per_block": _layers(shapes, "mid_block.attentions.0.transformer_blocks"),
        "attention_head_dim": 8,
        "norm_num_groups": 32,
    }


def vae_config(shapes: Shapes) -> dict[str, Any]:
    """The configuration of a VAE with weights of these names and shapes."""
    levels = 1 + max(int(m[1]) for name in shapes if (m := re.match(r"encoder\.down_blocks\.(\d+)\.", name)))
    return {
        "block_out_channels": [
            _get(shapes, f"encoder.down_blocks.{level}.resnets.0.conv1.weight")[0] for level in range(levels)
        ],
        "layers_per_block": _layers(shapes, "encoder.down_blocks.0.resnets"),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "latent_channels": _get(shapes, "post_quant_conv.weight")[0],
        "norm_num_groups": 32,
        "scaling_factor": 0.18215,
        "sample_size": 512,
    }


def text_config(shapes: Shapes) -> dict[str, Any]:
    """The configuration of a CLIP text encoder with weights of these names and shapes."""
    vocabulary, width = _get(shapes, "embeddings.token_embedding.weight")
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": _get(shapes, "encoder.layers.0.mlp.fc1.weight")[0],
        "num_hidden_layers": _layers(shapes, "encoder.layers"),
        "num_attention_heads": max(1, width // 64),
        "max_position_embeddings": _get(shapes, "embeddings.position_embedding.weight")[0],
        "hidden_act": "quick_gelu",
        "projection_dim": width,
    }


def _get(shapes: Shapes, name: str) -> tuple[int, ...]:
    try:
        return shapes[name]
    except KeyError:
        raise ModelError(f"it lacks the weight {name!r}; the file is not whole") from None


def _layers(shapes: Shapes, before: str) -> int:
    """How many there are of what is numbered behind this beginning."""
    found = [int(name[len(before) + 1 :].split(".")[0]) for name in shapes if name.startswith(f"{before}.")]
    if not found:
        raise ModelError(f"it lacks the weights {before}.*; the file is not whole")
    return 1 + max(found)
