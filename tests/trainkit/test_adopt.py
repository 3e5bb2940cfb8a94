"""ADOPT as runs use it: Taniguchi et al. 2024 (arXiv:2411.02853), by pytorch_optimizer.

The trace is of the authors' own code in float64: theta from 1, learning rate 0.01, five gradients.
"""

from __future__ import annotations

import copy
import importlib
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from trainkit.optim import adopt_clip

GRADIENTS = (0.1, -0.2, 0.05, 0.3, -0.1)
CLIPPED = (1.0, 1.001, 1.001400074983, 1.000444068455, 1.000583150500)


def adopt(weights: list[nn.Parameter], /, **settings: Any) -> torch.optim.Optimizer:
    kind = importlib.import_module("pytorch_optimizer").ADOPT
    optimizer: torch.optim.Optimizer = kind(
        weights, weight_decouple=True, **{"clip_lambda": adopt_clip} | settings
    )
    return optimizer


def one_weight(value: float = 1.0) -> nn.Parameter:
    return nn.Parameter(torch.tensor([value], dtype=torch.float64))


def trace(
    optimizer: torch.optim.Optimizer, weight: nn.Parameter, gradients: tuple[float, ...]
) -> list[float]:
    path = []
    for gradient in gradients:
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        path.append(weight.item())
    return path


def reference(gradients: tuple[float, ...], lr: float, decay: float, clip: bool) -> list[float]:
    """The algorithm as the authors wrote it, for one weight that starts at 1; but see ``decay`` at k = 0."""
    theta, m, v, path = 1.0, 0.0, 0.0, []
    for k, g in enumerate(gradients):
        theta -= lr * decay * theta  # The authors decay from k = 1 on, pytorch_optimizer also here at k = 0.
        if k == 0:
            v = g * g
        else:
            n = g / max(v**0.5, 1e-6)
            c = k**0.25 if clip else float("inf")
            m = 0.9 * m + 0.1 * min(max(n, -c), c)
            theta -= lr * m
            v = 0.9999 * v + 0.0001 * g * g
        path.append(theta)
    return path


@pytest.mark.parametrize("foreach", [None, False])
@pytest.mark.parametrize(
    ("clip", "path", "m"),
    [(adopt_clip, CLIPPED, -0.013908204453), (None, (1.0, *[None] * 3, 1.000823332180), 0.064714768554)],
)
def test_the_authors_trace(
    clip: Callable[[int], float] | None, path: tuple[float | None, ...], m: float, foreach: bool | None
) -> None:
    weight = one_weight()
    optimizer = adopt([weight], lr=0.01, clip_lambda=clip, foreach=foreach)
    found = trace(optimizer, weight, GRADIENTS)
    for value, expected in zip(found, path, strict=True):
        assert expected is None or value == pytest.approx(expected, abs=1e-12)
    state = optimizer.state[weight]
    assert state["exp_avg"].item() == pytest.approx(m, abs=1e-12)
    assert state["exp_avg_sq"].item() == pytest.approx(0.010010248450, abs=1e-12)


def test_the_packages_own_clip_is_one_step_too_wide() -> None:
    # Why adopt_clip is there: left alone, the first real update is clipped to 2^(1/4), not to 1. Should the
    # package mend this, adopt_clip would be wrong, and this test says so.
    weight = one_weight()
    kind = importlib.import_module("pytorch_optimizer").ADOPT
    found = trace(kind([weight], lr=0.01, weight_decouple=True), weight, GRADIENTS[:2])
    assert found[1] - 1 == pytest.approx(0.01 * 0.1 * 2**0.25)


gradient = st.floats(-10, 10).filter(lambda g: abs(g) > 1e-3)


@given(st.lists(gradient, min_size=1, max_size=12), st.floats(1e-6, 1e-1), st.floats(0, 0.5), st.booleans())
def test_it_is_the_authors_algorithm(gradients: list[float], lr: float, decay: float, clip: bool) -> None:
    weight, given_ = one_weight(), tuple(gradients)
    optimizer = adopt([weight], lr=lr, weight_decay=decay, clip_lambda=adopt_clip if clip else None)
    assert trace(optimizer, weight, given_) == pytest.approx(reference(given_, lr, decay, clip), abs=1e-9)


@given(gradient, st.floats(1e-6, 1))
def test_the_first_step_moves_nothing(g: float, lr: float) -> None:
    weight = one_weight(0.7)
    trace(adopt([weight], lr=lr), weight, (g,))
    assert weight.item() == 0.7


def test_the_package_decays_in_the_first_step_too() -> None:
    # The authors' code does not. One decay by lr x decay (4e-8 of a weight in the recipe) does no harm.
    weight = one_weight()
    assert trace(adopt([weight], lr=0.1, weight_decay=0.5), weight, (1.0,)) == [0.95]


def test_decay_is_decoupled() -> None:
    """Example: after the first step, lr x decay x theta goes, whatever the gradient's size."""
    weight = one_weight()
    path = trace(adopt([weight], lr=0.1, weight_decay=0.5), weight, (1000.0, 1e-9))
    assert path[1] == pytest.approx(0.95 * 0.95, abs=1e-9)


def test_its_state_comes_back_exactly() -> None:
    weight, again = one_weight(), one_weight()
    optimizer = adopt([weight], lr=0.01)
    trace(optimizer, weight, GRADIENTS[:3])
    other = adopt([again], lr=0.01)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    with torch.no_grad():
        again.copy_(weight)
    assert trace(optimizer, weight, GRADIENTS[3:]) == trace(other, again, GRADIENTS[3:])


def test_importing_it_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert importlib.import_module("pytorch_optimizer").ADOPT.__name__ == "ADOPT"
