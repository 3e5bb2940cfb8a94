"""The order of pictures and their augmentation: functions of the seed, true to the flip rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from captionkit import preset
from trainkit.tagging.augment import Augmentation, AugmentConfig
from trainkit.tagging.average import Average
from trainkit.tagging.backbone import BackboneConfig
from trainkit.tagging.label import Label
from trainkit.tagging.optim import TaggerOptimConfig, make_optimizer, set_rate
from trainkit.tagging.outputs import Outputs
from trainkit.tagging.preprocess import Preprocessing, preprocessing_of
from trainkit.tagging.sampling import Order, SamplingConfig
from trainkit.tagging.targets import Known, Targets
from trainkit.tagging.training_data import sided_labels

PLAIN = AugmentConfig(scale_range=(1, 1), aspect=1, shift=0, brightness=0, contrast=0, saturation=0)


def targets(*present: tuple[int, ...]) -> Targets:
    return Targets.of([Known(one) for one in present], 3)


@given(st.integers(1, 30), st.integers(0, 2**40), st.integers(0, 200))
def test_every_picture_comes_once_an_epoch_wherever_one_begins(number: int, seed: int, first: int) -> None:
    pictures = np.arange(number) * 3
    nothing = targets(*[()] * (3 * number))
    order = Order(SamplingConfig(), pictures, nothing, seed)
    epoch = [order.at(position) for position in range(first * number, (first + 1) * number)]
    assert sorted(draw.picture for draw in epoch) == pictures.tolist()
    assert {draw.epoch for draw in epoch} == {first}
    again = Order(SamplingConfig(), pictures, nothing, seed)
    assert [again.at(draw.sample) for draw in reversed(epoch)] == epoch[::-1]


def test_rare_labels_are_drawn_more_often_and_no_draw_is_the_same_twice() -> None:
    known = targets(*[(0,)] * 90, *[(1,)] * 10)
    order = Order(SamplingConfig(kind="balanced", power=1.0), np.arange(100), known, 5)
    draws = [order.at(position) for position in range(20_000)]
    rare = sum(draw.picture >= 90 for draw in draws) / len(draws)
    assert abs(rare - 0.5) < 0.02  # More than five standard deviations of 0.0035.
    assert len({(draw.picture, draw.epoch, draw.draw) for draw in draws}) == len(draws)


@given(st.integers(0, 2**63), st.integers(0, 9), st.booleans())
def test_a_draw_is_a_function_of_its_address(key: int, epoch: int, mirrored: bool) -> None:
    rng = np.random.default_rng(0)
    square = Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8))
    augmentation = Augmentation(AugmentConfig(rotate=10), 7, 16)
    one = augmentation(square, key, epoch, 0, mirrored=mirrored)
    assert one.size == (16, 16)
    assert one == Augmentation(AugmentConfig(rotate=10), 7, 16)(square, key, epoch, 0, mirrored=mirrored)
    assert one != augmentation(square, key, epoch, 1, mirrored=mirrored)


def test_without_settings_nothing_changes_but_the_side() -> None:
    square = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))
    augmentation = Augmentation(PLAIN, 0, 16)
    same = np.asarray(augmentation(square, 1, 0, 0, mirrored=False), np.int16)
    turned = np.asarray(augmentation(square, 1, 0, 0, mirrored=True), np.int16)
    assert np.abs(same - np.asarray(square, np.int16)).max() <= 1
    assert np.abs(turned[:, ::-1] - same).max() <= 1


def test_labels_that_know_left_from_right_are_found() -> None:
    names = ("facing left", "bright colors", "text on shirt", "fox")
    outputs = Outputs(tuple(map(Label, names)))
    assert sided_labels(outputs, AugmentConfig(), preset("hyperfusion")).tolist() == [
        True,
        False,
        True,
        False,
    ]


@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from(["pad", "squash", "crop"]))
def test_pictures_of_any_shape_become_what_the_network_takes(w: int, h: int, fit: str) -> None:
    preprocessing = preprocessing_of({**Preprocessing(16).describe(), "fit": fit})
    array = preprocessing(Image.new("RGB", (w, h), "white"))
    assert array.shape == (3, 16, 16)
    assert np.allclose(array, array[:, :1, :1])  # White, with white beside it.


def test_lower_layers_take_smaller_steps() -> None:
    model: Any = nn.Module()
    model.backbone = nn.ModuleDict({"embed": nn.Linear(2, 2), "layer": nn.ModuleList([nn.Linear(2, 2)] * 1)})
    model.backbone["layer"].append(nn.Linear(2, 2))
    model.head = nn.Linear(2, 2)
    config = TaggerOptimConfig(lr=1.0, layer_decay=0.5, warmup=0.0)
    optimizer = make_optimizer(config, BackboneConfig(base="x"), model)
    factors = {id(p): group["factor"] for group in optimizer.param_groups for p in group["params"]}
    found = [factors[id(p)] for name, p in model.named_parameters() if name.endswith("weight")]
    assert np.allclose(found, [0.025, 0.05, 0.1, 1.0])
    assert all(g["weight_decay"] == 0 for g in optimizer.param_groups for p in g["params"] if p.ndim == 1)
    assert set_rate(optimizer, config, 50, 100, 10) == 0.5


def test_the_average_is_lent_and_given_back() -> None:
    model = nn.Linear(2, 1)
    average = Average(model, 0.5)
    start = model.weight.detach().clone()
    with torch.no_grad():
        model.weight.add_(1.0)
    average.update(model, 100)
    with average.applied(model):
        assert torch.allclose(model.weight, start + 0.5)
    assert torch.equal(model.weight, start + 1)
