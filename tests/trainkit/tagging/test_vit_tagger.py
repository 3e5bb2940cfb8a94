"""Taggers in safetensors files: timm's vision transformers and transformers' image classifiers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

from tests.trainkit.tagging.foreign import vit_weights, write_csv, write_jtp
from trainkit.errors import ModelError, TrainkitError
from trainkit.tagging.load import load_tagger
from trainkit.tagging.timm_vit import timm_vit

_TAGS = ("anthro", "canine", "feral")


def _as_timm(w: dict[str, Tensor], images: Tensor, heads: int, act: Any, gated: bool) -> Tensor:
    """The network as timm's code has it (vision_transformer.py, attention_pool.py), written anew."""
    width = w["pos_embed"].shape[-1]

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (width,), w[f"{name}.weight"], w[f"{name}.bias"], 1e-6)

    def layer(x: Tensor, name: str) -> Tensor:
        return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        b, n, _ = q.shape
        q, k, v = (x.reshape(b, x.shape[1], heads, width // heads).transpose(1, 2) for x in (q, k, v))
        mixed: Tensor = ((q @ k.transpose(-2, -1)) * (width // heads) ** -0.5).softmax(-1) @ v
        return mixed.transpose(1, 2).reshape(b, n, width)

    x = F.conv2d(images, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=4)
    x = x.flatten(2).transpose(1, 2) + w["pos_embed"]
    for n in range(2):
        at = f"blocks.{n}"
        out = layer(attend(*layer(norm(x, f"{at}.norm1"), f"{at}.attn.qkv").chunk(3, -1)), f"{at}.attn.proj")
        x = x + out * w.get(f"{at}.ls1.gamma", 1)
        out = layer(act(layer(norm(x, f"{at}.norm2"), f"{at}.mlp.fc1")), f"{at}.mlp.fc2")
        x = x + out * w.get(f"{at}.ls2.gamma", 1)
    if "norm.weight" in w:
        x = norm(x, "norm")
    if "attn_pool.latent" in w:
        q = layer(w["attn_pool.latent"].expand(len(x), -1, -1), "attn_pool.q")
        x = layer(attend(q, *layer(x, "attn_pool.kv").chunk(2, -1)), "attn_pool.proj")
        x = x + layer(act(layer(norm(x, "attn_pool.norm"), "attn_pool.mlp.fc1")), "attn_pool.mlp.fc2")
        x = x[:, 0]
    else:
        x = x.mean(1)
    if "fc_norm.weight" in w:
        x = norm(x, "fc_norm")
    out = layer(x, "head.linear" if gated else "head")
    if gated:
        says, gate = out.chunk(2, -1)
        out = says.sigmoid() * gate.sigmoid()
    return out


@pytest.mark.parametrize(
    "kind",
    [
        {"gated": True},
        {"gated": False},
        {"pooled": False},
        {"pooled": False, "late_norm": True},
        {"scaled": True},
    ],
)
@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh"])
def test_timms_weights_give_what_timm_gives(kind: dict[str, bool], activation: str) -> None:
    weights = vit_weights(tags=3, **kind)
    network = timm_vit(weights, Path("m.safetensors"), {"model_args": {"act_layer": activation}}, 4)
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    act = (lambda x: F.gelu(x, approximate="tanh")) if activation == "gelu_tanh" else F.gelu
    wanted = _as_timm(weights, images, 4, act, kind.get("gated", False))
    assert network.side == 16
    assert network.num_outputs == 3
    torch.testing.assert_close(network(images), wanted, atol=2e-5, rtol=2e-5)


def test_a_jtp_folder_is_read_as_it_is_published(tmp_path: Path) -> None:
    tagger = load_tagger(write_jtp(tmp_path / "JTP_PILOT2"))
    assert tagger.name == "JTP_PILOT2"
    assert tuple(label.name for label in tagger.labels) == _TAGS
    images = [Image.new("RGB", (40, 10), colour) for colour in ("red", "black")]
    prepared = [tagger.prepare(image) for image in images]
    assert prepared[0].shape == (3, 16, 16)
    assert abs(float(prepared[0][:, 0, 0].max())) < 0.01, "gray beside the picture"
    assert prepared[0][:, 8, 8].tolist() == [1, -1, -1]
    scores = tagger.scores(prepared)
    weights = vit_weights(tags=3, gated=True)
    wanted = _as_timm(weights, torch.from_numpy(np.stack(prepared)), 4, F.gelu, True)
    np.testing.assert_allclose(scores, wanted.numpy(), atol=2e-5)
    assert scores.min() >= 0
    assert scores.max() <= 1


def test_logits_of_a_plain_head_become_probabilities(tmp_path: Path) -> None:
    tagger = load_tagger(write_jtp(tmp_path / "JTP", gated=False))
    prepared = tagger.prepare(Image.new("RGB", (16, 16), "green"))
    wanted = _as_timm(vit_weights(tags=3), torch.from_numpy(prepared)[None], 4, F.gelu, False).sigmoid()
    np.testing.assert_allclose(tagger.scores([prepared]), wanted.numpy(), atol=2e-5)


def test_wds_safetensors_take_bgr(tmp_path: Path) -> None:
    save_file(vit_weights(tags=2, pooled=False), tmp_path / "model.safetensors")
    write_csv(tmp_path / "selected_tags.csv", [("solo", 0), ("general", 9)])
    (tmp_path / "trainkit.toml").write_text("heads = 4\n")
    half = [0.5] * 3
    about = {"architecture": "vit_base_patch16_224", "pretrained_cfg": {"mean": half, "std": half}}
    (tmp_path / "config.json").write_text(json.dumps(about))
    tagger = load_tagger(tmp_path)
    assert tagger.prepare(Image.new("RGB", (16, 16), "red"))[:, 0, 0].tolist() == [-1, -1, 1]


def test_other_networks_and_halves_of_one_are_told(tmp_path: Path) -> None:
    folder = write_jtp(tmp_path / "jtp")
    file = next(folder.glob("*.safetensors"))
    weights = vit_weights(tags=3, gated=True)
    for change, says in (
        ({"cls_token": torch.zeros(1, 1, 16)}, "class or register tokens"),
        ({"blocks.0.attn.q_norm.weight": torch.zeros(4)}, "it also has 'blocks.0.attn.q_norm.weight'"),
        ({"pos_embed": torch.zeros(1, 15, 16)}, "do not fit a square"),
        ({"blocks.1.mlp.fc2.weight": torch.zeros(3, 3)}, "size mismatch"),
    ):
        save_file(weights | change, file)
        with pytest.raises(ModelError, match=says):
            load_tagger(folder)
    save_file({"embeds.proj.weight": torch.zeros(3)}, file)
    with pytest.raises(ModelError, match="as JTP-3 is"):
        load_tagger(folder)
    save_file({k: v for k, v in weights.items() if k != "blocks.1.norm2.bias"}, file)
    with pytest.raises(ModelError, match=r"blocks\.1\.norm2\.bias' are missing"):
        load_tagger(folder)
    (folder / "trainkit.toml").unlink()
    save_file(weights, file)
    with pytest.raises(ModelError, match=r"heads = 12 in trainkit\.toml"):
        load_tagger(folder)
    (folder / "trainkit.toml").write_text("heads = 4\n")
    (folder / "tags.json").write_text('{"a": 0}')
    with pytest.raises(ModelError, match=r"has 1 tags, but .* has 3 outputs"):
        load_tagger(folder)
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_tagger(folder)


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=16,
        patch_size=8,
        id2label={0: "cat", 1: "dog", 2: "fox"},
        label2id={"cat": 0, "dog": 1, "fox": 2},
    )
    ViTForImageClassification(config).save_pretrained(tmp_path / "vit")
    ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(tmp_path / "vit")
    return tmp_path / "vit"


def test_an_image_classifier_of_transformers_is_a_tagger(classifier: Path) -> None:
    tagger = load_tagger(classifier)
    assert [(label.name, label.group) for label in tagger.labels] == [
        ("cat", "class"),
        ("dog", "class"),
        ("fox", "class"),
    ]
    scores = tagger.scores([tagger.prepare(Image.new("RGB", (33, 20), "red"))])
    assert scores.shape == (1, 3)
    np.testing.assert_allclose(scores.sum(), 1, atol=1e-5)
    config = json.loads((classifier / "config.json").read_text())
    config["problem_type"] = "multi_label_classification"
    (classifier / "config.json").write_text(json.dumps(config))
    tagger = load_tagger(classifier)
    assert {label.group for label in tagger.labels} == {None}
    assert abs(tagger.scores([tagger.prepare(Image.new("RGB", (33, 20), "red"))]).sum() - 1) > 1e-3


def test_a_damaged_classifier_is_an_error(classifier: Path) -> None:
    weights = classifier / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:100])
    with pytest.raises(ModelError, match="cannot be loaded as an image classifier"):
        load_tagger(classifier)
    weights.unlink()
    (classifier / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(ModelError, match=r"no \.safetensors file"):
        load_tagger(classifier)
    weights.write_bytes(whole)
    (classifier / "config.json").write_text('{"architectures": ["ViTForImageClassification"]}')
    with pytest.raises(TrainkitError):
        load_tagger(classifier)


def test_a_device_that_is_none_is_told(classifier: Path) -> None:
    for device in ("cpux", "mps:0", "meta"):
        with pytest.raises(ModelError, match="device is"):
            load_tagger(classifier, device=device)
