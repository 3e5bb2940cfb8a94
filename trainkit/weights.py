"""Weights files: one safetensors file of tensors named as in Denoiser.state_dict().

An average of the weights, a snapshot of one and a sum of snapshots are all such files; ``trainkit export
--weights FILE`` lays one over the model. Their metadata says what they are.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from trainkit.errors import TrainkitError


def write_weights(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a weights file under a temporary name, flush it, and rename it.

    Raises TrainkitError when it cannot be written; a file that stood there before is then still whole.
    """
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for leftover in path.parent.glob(f".{path.name}.partial-*"):  # Of a process that was killed in here.
            leftover.unlink(missing_ok=True)
        save_file(
            {key: tensor.cpu().contiguous() for key, tensor in tensors.items()}, partial, dict(metadata)
        )
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise TrainkitError(f"{path} could not be written: {error}; free some space and try again") from error
