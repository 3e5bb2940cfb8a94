"""The weights that a run trains, as its checkpoints hold them: the networks, or only the adapters."""

from __future__ import annotations

from torch import Tensor

from trainkit.adapters import load_trainable_state, trainable_state
from trainkit.models import Denoiser
from trainkit.sharding import part_of

ADAPTER = "adapter"
"""The file of a run that trains adapters."""

State = dict[str, dict[str, Tensor]]
"""Tensors by name, by the name of their file."""


def trained_state(denoiser: Denoiser) -> State:
    """All that a checkpoint must hold of the denoiser's weights, split where they are sharded. Not copies."""
    if adapter := trainable_state(denoiser):
        return {ADAPTER: adapter}
    networks = {"unet": denoiser.unet}
    if denoiser.train_text:
        networks["text_encoder"] = denoiser.text_encoder
    return {name: dict(network.state_dict()) for name, network in networks.items()}


def load_trained_state(denoiser: Denoiser, state: State) -> None:
    """Put them back. Raises CheckpointError, KeyError or RuntimeError when they do not fit."""
    for name, own in trained_state(denoiser).items():
        parts = {key: part_of(t, own[key]) if key in own else t for key, t in state[name].items()}
        if name == ADAPTER:
            load_trainable_state(denoiser, parts)
        else:
            denoiser.get_submodule(name).load_state_dict(parts)
