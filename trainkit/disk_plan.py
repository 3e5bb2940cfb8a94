"""Before a run begins: how large its checkpoints are, and whether its disk has room for them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from torch import Tensor

from trainkit.amounts import gigabytes
from trainkit.checkpoint import checkpoints_in, latest_checkpoint
from trainkit.errors import TrainkitError
from trainkit.room import explain_full, free_bytes, is_full, state_bytes_per_weight
from trainkit.sealed import size_of
from trainkit.setup import Setup
from trainkit.trained import trained_state

_SLACK = 1.02
"""Headers, and what an estimate leaves out."""


def plan_disk(setup: Setup) -> str:
    """How large a checkpoint of a run is and how much room there is, in words.

    Raises TrainkitError when the disk has no room for one checkpoint more than are kept, and for the model at
    the end. What stands there already counts, for it goes when a newer one is there.
    """
    run, folder = setup.run, setup.run.out / "checkpoints"
    there = [size_of(path) for path in checkpoints_in(folder)]
    one = max(there[-1] if there else 0, checkpoint_bytes(setup))
    model = _bytes(setup.model.denoiser.parameters()) + _bytes(setup.model.vae.parameters())
    kept = sum(there[-run.keep_checkpoints - 1 :])
    needed = (run.keep_checkpoints + 1) * one - kept
    needed += 0 if (run.out / "model").exists() else model + setup.ema.num_bytes
    free = free_bytes(run.out)
    told = f"a checkpoint takes about {gigabytes(one)}"
    if run.checkpoint_keep_every:
        stay = setup.total_samples // run.checkpoint_keep_every
        told += f" and {stay} stay for ever ({gigabytes(stay * one)})"
    if free is None:
        return told
    if free < needed:
        raise TrainkitError(
            f"{told}; {run.keep_checkpoints} are kept while the next one is written, and the model comes at "
            f"the end: that needs {gigabytes(needed)} more on the disk of {run.out}, and {gigabytes(free)} "
            "are free. Free some space, or choose another `out` folder, a smaller keep_checkpoints or fewer "
            "EMA tracks."
        )
    return f"{told}; {gigabytes(free)} are free"


def checkpoint_bytes(setup: Setup) -> int:
    """About how many bytes a checkpoint of a run has: weights, averages, and the optimizer's memory of the
    phase that keeps most."""
    weights = sum(weight.numel() for part in setup.parts.values() for weight in part.values())
    kinds = {phase.run.optim.identity: phase.run.optim for phase in setup.phases}
    most = max(state_bytes_per_weight(optim, setup.accelerator.device) for optim in kinds.values())
    # A checkpoint holds networks whole, also those weights of them that are not trained.
    files = trained_state(setup.model.denoiser).values()
    return int(_SLACK * (sum(_bytes(file.values()) for file in files) + most * weights + setup.ema.num_bytes))


@contextlib.contextmanager
def told_when_full(out: Path) -> Iterator[None]:
    """A full or read-only disk under the log, the previews or whatever else of a run, in words.

    Raises TrainkitError in place of the system's error; other errors of the system are left as they are.
    """
    try:
        yield
    except OSError as error:
        if not is_full(error, out):
            raise
        newest = latest_checkpoint(out / "checkpoints")
        kept = f"the last good checkpoint is {newest}" if newest else "there is no checkpoint yet"
        where = error.filename or out
        raise TrainkitError(
            f"{where} could not be written: {explain_full(error, out)}; {kept}. Start the same command again "
            "when that is mended."
        ) from error


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
