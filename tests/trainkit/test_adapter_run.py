"""A run that trains an adapter, from the run file to the file that front ends read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from torch import Tensor

from tests.trainkit.test_adapter_file import by_hand
from tests.trainkit.test_adapters import load
from tests.trainkit.tiny import run_data
from trainkit.config import RunConfig
from trainkit.train import train

ADAPTER = {"rank": 4, "alpha": 2.0, "conv_rank": 3, "dropout": 0.1}


@pytest.fixture(autouse=True)
def _no_accelerator_left_over() -> None:
    """accelerate keeps one state per process and refuses to change its precision."""
    AcceleratorState._reset_state(True)


def run(model: Path, data: Path, out: Path, **changes: Any) -> RunConfig:
    return RunConfig.model_validate(run_data(model, data, out, adapter=ADAPTER, **changes))


def checkpoint(out: Path, samples: int) -> dict[str, Tensor]:
    return load_file(out / f"checkpoints/{samples:012d}/adapter.safetensors")


def test_a_run_leaves_the_adapter_and_the_model_that_it_makes(
    tiny_model: Path, pictures: Path, tmp_path: Path
) -> None:
    result = train(run(tiny_model, pictures, tmp_path / "run", samples=24))
    base, model = (load(folder).denoiser.state_dict() for folder in (tiny_model, result.model))
    theirs = by_hand(tmp_path / "run/adapter.safetensors", base)
    changed = [name for name in base if not torch.equal(theirs[name], base[name])]
    assert {name.split(".")[0] for name in changed} == {"unet", "text_encoder"}
    for name, tensor in model.items():  # The file is in half precision.
        torch.testing.assert_close(theirs[name], tensor, rtol=0, atol=1e-5)
    held = checkpoint(tmp_path / "run", 24)
    assert all("lora_" in name for name in held), "a checkpoint of an adapter holds more than the adapter"


def test_a_run_that_was_stopped_goes_on_to_the_same_adapter(
    tiny_model: Path, pictures: Path, tmp_path: Path
) -> None:
    # A constant rate: the other shapes depend on the length of the run.
    optim = {"optimizer": "adamw", "lr": 1e-3, "lr_text_encoder": 1e-4, "schedule": "constant"}
    train(run(tiny_model, pictures, tmp_path / "whole", samples=32, optim=optim))
    train(run(tiny_model, pictures, tmp_path / "parts", samples=16, optim=optim))
    result = train(run(tiny_model, pictures, tmp_path / "parts", samples=32, optim=optim))
    assert result.resumed_from == 16
    whole, parts = checkpoint(tmp_path / "whole", 32), checkpoint(tmp_path / "parts", 32)
    assert whole.keys() == parts.keys()
    assert all(torch.equal(tensor, parts[name]) for name, tensor in whole.items())
