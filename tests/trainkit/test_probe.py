"""The black and white probe: lightness of known pictures, and means over real samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from trainkit.demo.judge import luminance, to_lab
from trainkit.loss import ObjectiveConfig
from trainkit.models import Model, ModelConfig, load_model
from trainkit.probe import ProbeConfig, lightness, probe
from trainkit.sample import PreviewConfig, Request, sample_pictures
from trainkit.schedule import ScheduleConfig
from trainkit.text import TextConfig, Tokens

channel = st.integers(0, 255)


@given(channel, channel, channel)
def test_lightness_is_that_of_cielab(red: int, green: int, blue: int) -> None:
    found = lightness(Image.new("RGB", (3, 2), (red, green, blue)))
    assert found.shape == (2, 3)
    expected = to_lab(np.array([[red, green, blue]], dtype=np.float64))[0, 0]
    assert found == pytest.approx(np.full((2, 3), expected), abs=1e-4)


def test_lightness_of_black_white_and_middle_grey() -> None:
    for value, expected in ((0, 0.0), (255, 100.0), (119, 50.03)):
        assert lightness(Image.new("L", (1, 1), value))[0, 0] == pytest.approx(expected, abs=0.01)
    assert luminance(Image.new("RGB", (16, 16), "white")) == pytest.approx(100, abs=1e-3)


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Model:
    return load_model(ModelConfig(base=tiny_model), TextConfig(max_tokens=75))


def test_means_are_those_of_the_samples(model: Model) -> None:
    tokens = Tokens(model.tokenizer, 75)
    preview = PreviewConfig(steps=2)
    common = (preview, ScheduleConfig(), ObjectiveConfig())
    config = ProbeConfig(pictures=2, prompts={"black": "solid black", "red": "a red circle"})
    found = probe(model, tokens, config, *common, (64, 64))
    assert list(found) == ["probe_black", "probe_red"]
    for name, prompt in config.prompts.items():
        pictures = sample_pictures(model, tokens, *common, [Request(prompt, i) for i in (0, 1)], (64, 64))
        mean = sum(float(lightness(picture).mean()) for picture in pictures) / 2
        assert 0 <= mean <= 100
        # 8-bit colours of the same sample, in another batch: up to rounding.
        assert found[f"probe_{name}"] == pytest.approx(mean, abs=0.05)


def test_no_pictures_is_off(model: Model) -> None:
    tokens = Tokens(model.tokenizer, 75)
    off = probe(model, tokens, ProbeConfig(), PreviewConfig(), ScheduleConfig(), ObjectiveConfig(), (64, 64))
    assert off == {}


def test_a_name_must_be_one() -> None:
    with pytest.raises(ValidationError, match="'solid black' must be a name"):
        ProbeConfig(prompts={"solid black": "solid black"})
