"""The end of a tagger's training: its folder."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from trainkit.tagging.folder import About, write_tagger
from trainkit.tagging.judge import Verdict
from trainkit.tagging.outputs import Temperatures
from trainkit.tagging.set_up import TaggerSetup
from trainkit.tagging.state import Training


def write_result(
    setup: TaggerSetup, training: Training, verdict: Verdict | None, temperatures: Temperatures
) -> None:
    """Write the tagger with the weights that are in the network now. Raises TrainkitError."""
    run, data = setup.run, setup.data
    about = About(
        run.source,
        data.outputs,
        setup.preprocessing,
        setup.network.backbone.pool,
        run.split,
        run.mirrored_too,
        tuple(data.outputs.labels[place].name for place in np.flatnonzero(data.sided)),
        temperatures,
        str(run.backbone.kind or run.backbone.base),
        run.data.leave_out_sources,
        _measured(training, verdict),
        run.model_dump(mode="json"),
    )
    write_tagger(run.out, about, setup.network.backbone, setup.network.state_dict(), data.learned)


def _measured(training: Training, verdict: Verdict | None) -> dict[str, Any]:
    measured: dict[str, Any] = {"samples_seen": training.samples_seen, "best_at": training.best_at}
    if verdict is not None:
        average = verdict.mean_average_precision
        measured["held_out_pictures"] = verdict.pictures
        measured["mean_average_precision"] = average if math.isfinite(average) else None
        measured["accuracy"] = verdict.by_group
        measured["majority"] = verdict.majority
    return measured
