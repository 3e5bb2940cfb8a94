"""Taggers of others, small and real: ONNX files that onnxruntime runs, safetensors folders, and pictures that
they can tell apart by their colour."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from safetensors.torch import save_file

COLOURS = {
    "red": (230, 20, 20),
    "green": (20, 230, 20),
    "blue": (20, 20, 230),
    "white": (250, 250, 250),
    "black": (5, 5, 5),
}

WD_TAGS = (
    ("general", 9),
    ("sensitive", 9),
    ("red_theme", 0),
    ("green_theme", 0),
    ("blue_theme", 0),
    ("^_^", 0),
    ("some_character", 4),
)
"""Names and Danbooru's categories. What a model of `colour_weights` says of each hangs on the mean colour."""


def colour_weights() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """[3, 7] on RGB from 0 to 1 and [7]: logits far from 0, such as +8 for red_theme on a red picture."""
    weights = np.array(
        [
            # general, sensitive, red, green, blue, ^_^, character
            [-4.0, 4.0, 20.0, -10.0, -10.0, 1.0, 6.0],
            [1.0, -4.0, -10.0, 20.0, -10.0, 1.0, -6.0],
            [1.0, -4.0, -10.0, -10.0, 20.0, 1.0, -6.0],
        ],
        np.float32,
    )
    return weights, np.array([0.5, -0.5, -8.0, -8.0, -8.0, -6.0, -3.9], np.float32)


def write_onnx(
    path: Path,
    weights: NDArray[np.float32],
    bias: NDArray[np.float32],
    *,
    layout: Literal["NHWC", "NCHW"] = "NHWC",
    size: int | str = 16,
    batch: int | str = "N",
    sigmoid: bool = True,
    external: str | None = None,
) -> Path:
    """A model that gives the mean of each channel times weights, [3, L]; in ONNX's own format."""
    sides = [size, size]
    shape = [batch, *sides, 3] if layout == "NHWC" else [batch, 3, *sides]
    nodes = [
        helper.make_node("ReduceMean", ["input", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "weights"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logits"]),
    ]
    if sigmoid:
        nodes.append(helper.make_node("Sigmoid", ["logits"], ["predictions_sigmoid"]))
    axes = np.array([1, 2] if layout == "NHWC" else [2, 3], np.int64)
    constants = [numpy_helper.from_array(axes, "axes"), numpy_helper.from_array(bias, "bias")]
    tensor = numpy_helper.from_array(weights, "weights")
    if external is not None:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", external), ("offset", "0"), ("length", str(weights.nbytes))):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info(
                nodes[-1].output[0], TensorProto.FLOAT, [batch, int(weights.shape[1])]
            )
        ],
        [*constants, tensor],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path)) if external is None else path.write_bytes(model.SerializeToString())
    return path


def write_wd(folder: Path, tags: Sequence[tuple[str, int]] = WD_TAGS) -> Path:
    """A folder as SmilingWolf publishes them: model.onnx takes BGR from 0 to 255, selected_tags.csv."""
    weights, bias = colour_weights()
    write_onnx(folder / "model.onnx", weights[::-1] / np.float32(255), bias)
    write_csv(folder / "selected_tags.csv", tags)
    return folder


def write_csv(path: Path, tags: Sequence[tuple[str, int]]) -> Path:
    """A list of tags with WD's columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["tag_id", "name", "category", "count"])
        rows.writerows([n, name, category, 1000 - n] for n, (name, category) in enumerate(tags))
    return path


def vit_weights(
    *,
    tags: int,
    width: int = 16,
    blocks: int = 2,
    grid: int = 4,
    patch: int = 4,
    pooled: bool = True,
    gated: bool = False,
    scaled: bool = False,
    late_norm: bool = False,
) -> dict[str, torch.Tensor]:
    """Random weights under the names that timm gives to a plain vision transformer."""
    rng = torch.Generator().manual_seed(7)

    def some(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=rng) * 0.3

    def layer(name: str, out: int, into: int) -> dict[str, torch.Tensor]:
        return {f"{name}.weight": some(out, into), f"{name}.bias": some(out)}

    def norm(name: str) -> dict[str, torch.Tensor]:
        return {f"{name}.weight": 1 + some(width), f"{name}.bias": some(width)}

    weights = {
        "patch_embed.proj.weight": some(width, 3, patch, patch),
        "patch_embed.proj.bias": some(width),
        "pos_embed": some(1, grid * grid, width),
    }
    for n in range(blocks):
        at = f"blocks.{n}"
        weights |= norm(f"{at}.norm1") | norm(f"{at}.norm2")
        weights |= layer(f"{at}.attn.qkv", 3 * width, width) | layer(f"{at}.attn.proj", width, width)
        weights |= layer(f"{at}.mlp.fc1", 2 * width, width) | layer(f"{at}.mlp.fc2", width, 2 * width)
        if scaled:
            weights |= {f"{at}.ls1.gamma": some(width), f"{at}.ls2.gamma": some(width)}
    weights |= norm("fc_norm" if late_norm else "norm")
    if pooled:
        weights["attn_pool.latent"] = some(1, 1, width)
        weights |= layer("attn_pool.q", width, width) | layer("attn_pool.kv", 2 * width, width)
        weights |= layer("attn_pool.proj", width, width) | norm("attn_pool.norm")
        weights |= layer("attn_pool.mlp.fc1", 2 * width, width)
        weights |= layer("attn_pool.mlp.fc2", width, 2 * width)
    return weights | (layer("head.linear", 2 * tags, width) if gated else layer("head", tags, width))


def write_jtp(
    folder: Path, tags: Sequence[str] = ("anthro", "canine", "feral"), *, gated: bool = True
) -> Path:
    """A folder as RedRocket publishes them: one safetensors file and tags.json."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(vit_weights(tags=len(tags), gated=gated), folder / "JTP_PILOT2-e3-tiny.safetensors")
    (folder / "tags.json").write_text(json.dumps({name: n for n, name in enumerate(tags)}))
    (folder / "trainkit.toml").write_text("heads = 4\n")
    return folder


def write_colours(folder: Path, count: int, tags: dict[int, dict[str, list[str]]] | None = None) -> Path:
    """Pictures of one colour each, red, green, blue, white, black and so on, with tags as ``tags`` says."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(3)
    names = list(COLOURS)
    for n in range(count):
        pixels = np.array(COLOURS[names[n % len(names)]]) + rng.integers(-5, 6, (20 + n % 7, 24, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{n:03d}.png")
        told = {"tags": (tags or {}).get(n, {"general": ["picture"]})}
        (folder / f"{n:03d}.json").write_text(json.dumps(told))
    return folder
