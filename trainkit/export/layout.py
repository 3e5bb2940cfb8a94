"""The original single-file layout of Stable Diffusion 1.x, as rules between two sets of names.

diffusers counts blocks from their own beginning; the original code numbers all layers of a half through:

    UNet           down_blocks.1.resnets.0.conv1     model.diffusion_model.input_blocks.4.0.in_layers.2
    VAE            decoder.up_blocks.0.resnets.2     first_stage_model.decoder.up.3.block.2
    text encoder   encoder.layers.11.mlp.fc1         cond_stage_model.transformer.text_model.(the same)

Nothing here knows a width or a depth: the numbers of blocks and layers are read from the names themselves, so
that any model of the architecture can be renamed, both ways. For the true-size model that gives 686 + 248 +
196 = 1,130 names. Shapes stay, but for the four matrices of each of the VAE's two attentions, which the
original code keeps as convolutions [out, in, 1, 1].
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import accumulate
from typing import Literal

from trainkit.errors import ModelError

Part = Literal["unet", "vae", "text_encoder"]

PREFIXES: dict[Part, str] = {
    "unet": "model.diffusion_model.",
    "vae": "first_stage_model.",
    "text_encoder": "cond_stage_model.transformer.text_model.",
}
"""Part -> what stands before its names in the single file."""

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_VAE_RESNET = {
    "norm1": "norm1",
    "conv1": "conv1",
    "norm2": "norm2",
    "conv2": "conv2",
    "conv_shortcut": "nin_shortcut",
}
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_OLDER = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""The VAE's attention as diffusers named it until 2023; folders of that age still do."""

_MATRIX = re.compile(r"\.attn_1\.(q|k|v|proj_out)\.weight$")


def original_names(part: Part, names: Iterable[str]) -> dict[str, str]:
    """diffusers' name -> the name in the single file, for all weights of one part.

    Raises ModelError for a name that Stable Diffusion 1.x has no place for.
    """
    names = list(names)
    newer = {name: newer_name(part, name) for name in names}
    table = _table(part, newer.values(), original=False)
    return {name: PREFIXES[part] + _renamed(newer[name], table, part) for name in names}


def diffusers_names(part: Part, names: Iterable[str]) -> dict[str, str]:
    """Name in the single file -> diffusers' name (today's generation); the inverse of ``original_names``."""
    prefix = PREFIXES[part]
    short = {name: name.removeprefix(prefix) for name in names}
    table = _table(part, short.values(), original=True)
    back = {original: diffusers for diffusers, original in table.items()}
    return {name: _renamed(short[name], back, part) for name in short}


def original_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape under which the single file keeps a weight of this (original) name."""
    if _MATRIX.search(name) and name.startswith(PREFIXES["vae"]):
        return (*shape[:2], 1, 1)
    return shape


def diffusers_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that diffusers gives to the weight of this (original) name."""
    if _MATRIX.search(name) and name.startswith(PREFIXES["vae"]):
        return shape[:2]
    return shape


def newer_name(part: Part, name: str) -> str:
    """Today's name of a weight: the text encoder lost its prefix with transformers 5.6, the VAE's attention
    has other names since 2023."""
    if part == "text_encoder":
        return name.removeprefix("text_model.")
    if part == "vae" and (found := re.search(r"\.attentions\.0\.(query|key|value|proj_attn)\.", name)):
        return name.replace(f".{found[1]}.", f".{_OLDER[found[1]]}.")
    return name


def _renamed(name: str, table: dict[str, str], part: Part) -> str:
    """The name with its longest prefix that the table knows replaced; prefixes end before a dot."""
    head, dot, _ = name.rpartition(".")
    while dot:
        if head in table:
            return table[head] + name[len(head) :]
        head, dot, _ = head.rpartition(".")
    raise ModelError(
        f"the {part} has a weight {name!r}, for which Stable Diffusion 1.x has no place; only models of that "
        "architecture can be kept in its single-file layout"
    )


def _table(part: Part, names: Iterable[str], *, original: bool) -> dict[str, str]:
    """Prefixes in diffusers -> prefixes in the original layout, for the blocks that the names show."""
    match part:
        case "unet":
            down, up = (_unet_from_original if original else _unet_from_diffusers)(list(names))
            return _unet_table(down, up)
        case "vae":
            return _vae_table(*_vae_levels(list(names)))
        case "text_encoder":
            return {name: name for name in ("embeddings", "encoder", "final_layer_norm")}


def _counts(names: Iterable[str], pattern: str) -> list[int]:
    """Layers of each block, from names in which the pattern finds (block, layer); [] when it finds none."""
    found: dict[int, int] = {}
    for name in names:
        if match := re.match(pattern, name):
            block, layer = int(match[1]), int(match[2])
            found[block] = max(found.get(block, 0), layer + 1)
    return [found.get(block, 0) for block in range(max(found, default=-1) + 1)]


def _unet_from_diffusers(names: list[str]) -> tuple[list[int], list[tuple[int, bool]]]:
    """Layers of each block of the way down; layers and "has attention" of each of the way up."""
    down = _counts(names, r"down_blocks\.(\d+)\.resnets\.(\d+)\.")
    up = _counts(names, r"up_blocks\.(\d+)\.resnets\.(\d+)\.")
    attended = _counts(names, r"up_blocks\.(\d+)\.attentions\.(\d+)\.")
    return down, [(layers, block < len(attended) and attended[block] > 0) for block, layers in enumerate(up)]


def _unet_from_original(names: list[str]) -> tuple[list[int], list[tuple[int, bool]]]:
    """The same from the original names: a block ends where the picture is made smaller or larger."""
    total_down = len({match[1] for name in names if (match := re.match(r"input_blocks\.(\d+)\.", name))})
    total_up = len({match[1] for name in names if (match := re.match(r"output_blocks\.(\d+)\.", name))})
    smaller = {int(m[1]) for name in names if (m := re.match(r"input_blocks\.(\d+)\.0\.op\.", name))}
    larger = {int(m[1]) for name in names if (m := re.match(r"output_blocks\.(\d+)\.[12]\.conv\.", name))}
    attended = {int(m[1]) for name in names if (m := re.match(r"output_blocks\.(\d+)\.1\.norm\.", name))}
    ends = [*sorted(smaller), total_down]
    down = [end - start - 1 for start, end in zip([0, *ends], ends, strict=False)]
    up_ends = [*(last + 1 for last in sorted(larger)), *([total_up] if total_up - 1 not in larger else [])]
    up = [(end - start, start in attended) for start, end in zip([0, *up_ends], up_ends, strict=False)]
    return down, up


def _unet_table(down: list[int], up: list[tuple[int, bool]]) -> dict[str, str]:
    table = {
        "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2",
        "conv_in": "input_blocks.0.0",
        "conv_norm_out": "out.0",
        "conv_out": "out.2",
        "mid_block.attentions.0": "middle_block.1",
    }
    for resnet, number in ((0, 0), (1, 2)):
        table |= _inside(f"mid_block.resnets.{resnet}", f"middle_block.{number}", _RESNET)
    first = 1  # Number of a block's first layer; conv_in is 0, and making smaller takes a number of its own.
    for block, layers in enumerate(down):
        for layer in range(layers):
            here = f"input_blocks.{first + layer}"
            table |= _inside(f"down_blocks.{block}.resnets.{layer}", f"{here}.0", _RESNET)
            table[f"down_blocks.{block}.attentions.{layer}"] = f"{here}.1"
        table[f"down_blocks.{block}.downsamplers.0.conv"] = f"input_blocks.{first + layers}.0.op"
        first += layers + 1
    starts = [0, *accumulate(layers for layers, _ in up)]
    for block, (layers, attended) in enumerate(up):
        for layer in range(layers):
            here = f"output_blocks.{starts[block] + layer}"
            table |= _inside(f"up_blocks.{block}.resnets.{layer}", f"{here}.0", _RESNET)
            table[f"up_blocks.{block}.attentions.{layer}"] = f"{here}.1"
        last = f"output_blocks.{starts[block] + layers - 1}"
        table[f"up_blocks.{block}.upsamplers.0.conv"] = f"{last}.{2 if attended else 1}.conv"
    return table


def _vae_levels(names: list[str]) -> tuple[list[int], list[int]]:
    """Layers of each level of the encoder and, in diffusers' order, of the decoder; from names of either
    layout."""
    encoder = _counts(names, r"encoder\.down(?:_blocks)?\.(\d+)\.(?:resnets|block)\.(\d+)\.")
    decoder = _counts(names, r"decoder\.up_blocks\.(\d+)\.resnets\.(\d+)\.")
    return encoder, decoder or _counts(names, r"decoder\.up\.(\d+)\.block\.(\d+)\.")[::-1]


def _vae_table(encoder: list[int], decoder: list[int]) -> dict[str, str]:
    table = {"quant_conv": "quant_conv", "post_quant_conv": "post_quant_conv"}
    for half in ("encoder", "decoder"):
        table |= {f"{half}.{name}": f"{half}.{name}" for name in ("conv_in", "conv_out")}
        table[f"{half}.conv_norm_out"] = f"{half}.norm_out"
        table |= _inside(f"{half}.mid_block.attentions.0", f"{half}.mid.attn_1", _VAE_ATTENTION)
        for resnet in (0, 1):
            table |= _inside(
                f"{half}.mid_block.resnets.{resnet}", f"{half}.mid.block_{resnet + 1}", _VAE_RESNET
            )
    for block, layers in enumerate(encoder):
        for layer in range(layers):
            table |= _inside(
                f"encoder.down_blocks.{block}.resnets.{layer}",
                f"encoder.down.{block}.block.{layer}",
                _VAE_RESNET,
            )
        table[f"encoder.down_blocks.{block}.downsamplers.0.conv"] = f"encoder.down.{block}.downsample.conv"
    for block, layers in enumerate(decoder):
        level = len(decoder) - 1 - block  # The original code counts levels from the picture's side.
        for layer in range(layers):
            table |= _inside(
                f"decoder.up_blocks.{block}.resnets.{layer}", f"decoder.up.{level}.block.{layer}", _VAE_RESNET
            )
        table[f"decoder.up_blocks.{block}.upsamplers.0.conv"] = f"decoder.up.{level}.upsample.conv"
    return table


def _inside(diffusers: str, original: str, names: dict[str, str]) -> dict[str, str]:
    return {f"{diffusers}.{theirs}": f"{original}.{ours}" for theirs, ours in names.items()}
