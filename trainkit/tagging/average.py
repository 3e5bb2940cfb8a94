"""An exponential moving average of the weights, which is judged and kept in place of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn


class Average:
    """beta rises to its full height: min(decay, (1 + n) / (10 + n)) after n steps, as in TensorFlow's."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        """It starts as the present weights."""
        self.decay = decay
        self.weights = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, steps: int) -> None:
        """Take in the weights after so many optimizer steps."""
        beta = min(self.decay, (1 + steps) / (10 + steps))
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                self.weights[name].lerp_(value, 1 - beta)
            else:
                self.weights[name].copy_(value)

    @contextlib.contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """The model with the average; afterwards with exactly its own weights."""
        own = {name: value.detach().clone() for name, value in model.state_dict().items()}
        model.load_state_dict(self.weights)
        try:
            yield
        finally:
            model.load_state_dict(own)

    def load(self, weights: dict[str, Tensor]) -> None:
        """Go on from a checkpoint's average."""
        for name, value in self.weights.items():
            value.copy_(weights[name])
