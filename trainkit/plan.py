"""How long a run is."""

from __future__ import annotations

from trainkit.batches import BatchPlan
from trainkit.config import RunConfig
from trainkit.errors import TrainkitError


def count_steps(run: RunConfig, plan: BatchPlan) -> int:
    """Optimizer steps of the whole run. Epochs end at their last whole step; samples are rounded up.

    Raises TrainkitError when the data does not fill a single step.
    """
    if run.samples is not None:
        return -(-run.samples // (plan.batch * run.accumulate))
    assert run.epochs is not None, "a run has samples or epochs"
    steps = plan.batches_before(run.epochs) // run.accumulate
    if steps == 0:
        raise TrainkitError(
            f"{plan.num_pictures} pictures x {run.epochs} epochs do not fill one optimizer step of "
            f"{plan.batch} x "
            f"{run.accumulate} samples; lower batch or accumulate, or train more epochs"
        )
    return steps
