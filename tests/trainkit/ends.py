"""A run in this process, and what two runs that should end alike are compared by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState

from tests.trainkit.tiny import run_data
from trainkit.run_file import make_run
from trainkit.train import Result, train

exactly = pytest.mark.skipif(
    torch.cuda.is_available(),
    reason="a GPU adds up in another order each time: equal to the bit on a CPU only",
)


def train_here(out: Path, model: Path, data: Path, /, **changes: Any) -> Result:
    """accelerate keeps one state per process and refuses to change its precision; a process trains once."""
    AcceleratorState._reset_state(True)
    return train(make_run(run_data(model, data, out, **changes), out.parent, "test"))


def weights(out: Path) -> dict[str, bytes]:
    """The exported weights, byte for byte."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted((out / "model").rglob("*.safetensors"))
    }
