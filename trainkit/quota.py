"""How often each picture is drawn: whole repeats, fractions and nothing at all, by one formula.

Up to the beginning of pass e, picture i with weight w is drawn T(e) = floor(e w + u) times, where u in [0, 1)
is a number of its own. In any stretch of passes a picture so gets what its weight says, to within one draw.
A weight of 2 is two draws in every pass, 0.5 one in every second pass (which one, u decides), 0 none.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainkit.draws import derived_seed
from trainkit.keys import mixed

_AT_ONCE = 1 << 18
"""Pictures that are counted in one go, so that millions need no memory to speak of."""

Indices = NDArray[np.int32]
"""Numbers of pictures in the data set."""


class Quota:
    """How often pictures are drawn in every pass; once each without ``weights``.

    ``weights`` is [N], 0 or more. The same seed gives the same answers on every machine.
    """

    def __init__(self, seed: int, weights: NDArray[np.float32] | None = None) -> None:
        self.seed = seed
        self.weights = weights
        self._base = derived_seed(seed, "quota")

    @property
    def uniform(self) -> bool:
        """Whether every picture is drawn once in every pass."""
        return self.weights is None

    def before(self, epoch: int, pictures: Indices) -> NDArray[np.int64]:
        """How often each of some pictures is drawn before pass ``epoch``."""
        if self.weights is None:
            return np.full(len(pictures), epoch, dtype=np.int64)
        exact = self.weights[pictures].astype(np.float64)
        return np.floor(epoch * exact + self._begin(pictures)).astype(np.int64)

    def total_before(self, epoch: int, pictures: Indices) -> int:
        """How often all of some pictures together are drawn before pass ``epoch``."""
        if self.weights is None:
            return epoch * len(pictures)
        parts = range(0, len(pictures), _AT_ONCE)
        return sum(int(self.before(epoch, pictures[first : first + _AT_ONCE]).sum()) for first in parts)

    def of_pass(self, epoch: int, pictures: Indices) -> tuple[Indices, NDArray[np.int32] | None]:
        """The draws of one pass: the picture of each, and which of the picture's draws in this pass it is,
        from 0 (None: all are the first)."""
        if self.weights is None:
            return pictures, None
        counts = self.before(epoch + 1, pictures) - self.before(epoch, pictures)
        repeated = np.repeat(pictures, counts)
        begins = np.cumsum(counts) - counts
        draws = np.arange(len(repeated), dtype=np.int32) - np.repeat(begins, counts).astype(np.int32)
        return repeated, draws

    def mean_pass(self, num_pictures: int) -> float:
        """Draws in a pass over all pictures, on average."""
        return float(num_pictures) if self.weights is None else float(self.weights.sum(dtype=np.float64))

    def _begin(self, pictures: Indices) -> NDArray[np.float64]:
        """u of each picture: 24 bits that its number and the seed give, so that e w + u is exact."""
        u: NDArray[np.float64] = (mixed(pictures.astype(np.uint64), self._base) >> np.uint64(40)) / 2.0**24
        return u
