"""From the numbers that a network gives to probabilities from 0 to 1."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trainkit.errors import ModelError

Activation = Literal["none", "sigmoid", "softmax"]

_SLACK = 1e-3
"""Half-precision models give a little more than 1."""


def seen_activation(outputs: NDArray[np.float32], model: Path) -> Activation:
    """What the outputs of a few plain pictures, [B, L], need to become probabilities.

    Of thousands of tags some are sure not to be on a white picture: a logit is then far below 0. Raises
    ModelError for outputs that are no numbers.
    """
    if not np.isfinite(outputs).all():
        raise ModelError(
            f"{model} gives no finite numbers for plain pictures: it is damaged, or wants others"
        )
    return "none" if _is_share(outputs) else "sigmoid"


def probabilities(outputs: NDArray[np.float32], activation: Activation, model: Path) -> NDArray[np.float32]:
    """[B, L], from 0 to 1; NaN for a picture of which an output is no finite number: that stops no other.
    Raises ModelError for outputs that are no probabilities as they are."""
    table = np.full(outputs.shape, np.nan, np.float32)
    sound = np.isfinite(outputs).all(axis=1)
    if sound.any():
        table[sound] = _sound(outputs[sound], activation, model)
    return table


def _sound(outputs: NDArray[np.float32], activation: Activation, model: Path) -> NDArray[np.float32]:
    if activation == "sigmoid":
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * outputs)), dtype=np.float32)
    if activation == "softmax":
        powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)
    if not _is_share(outputs):
        raise ModelError(
            f"{model} gave outputs from {outputs.min():.3g} to {outputs.max():.3g}, which are no "
            'probabilities: say activation = "sigmoid" in trainkit.toml'
        )
    return np.clip(outputs, 0.0, 1.0)


def _is_share(outputs: NDArray[np.float32]) -> bool:
    return bool(outputs.min() >= -_SLACK and outputs.max() <= 1.0 + _SLACK)
