"""One picture in one micro-batch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Draw:
    """One picture in one micro-batch. No picture has the same epoch and draw twice in a run."""

    picture: int
    """Index of the picture in the data set."""
    epoch: int
    """The pass over the data that it belongs to."""
    draw: int
    """Which of the picture's draws in that pass it is; 0 unless pictures are repeated. The caption's draws
    are addressed by both."""
    sample: int
    """Global number of this sample in the run, from 0; the noise is addressed by it."""
