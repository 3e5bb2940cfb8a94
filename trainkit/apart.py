"""Which pictures are trained, and which are kept apart for validation."""

from __future__ import annotations

import numpy as np

from trainkit.pictures import DataSet
from trainkit.validation import ValidationConfig, held_out


def split(everything: DataSet, config: ValidationConfig) -> tuple[DataSet, DataSet]:
    """(what is trained, what is held out); the second is empty when validation is off.

    Raises TrainkitError when one of the two would have to be empty and must not be.
    """
    if config.share == 0:
        return everything, everything.subset(())
    apart = held_out(everything.keys, config)
    return everything.subset(np.flatnonzero(~apart)), everything.subset(np.flatnonzero(apart))
