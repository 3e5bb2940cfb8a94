"""The order of pictures: an endless row of draws, of which every position is a function of the seed."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from trainkit.draw import Draw
from trainkit.draws import derived_seed
from trainkit.tagging.targets import Targets


class SamplingConfig(BaseModel):
    """How often each picture is seen."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    kind: Literal["shuffle", "balanced"] = "shuffle"
    """"shuffle": every picture once an epoch. "balanced": pictures are drawn, those with a rare label more
    often; an epoch is as long, but holds some pictures twice and others not."""
    power: float = Field(default=0.5, ge=0, le=1)
    """Of "balanced": a picture's chance is that of its rarest label, (1 / count)^power. 0.5 is what Mahajan
    et al. (2018) found best for hashtags; 1 makes all labels equally frequent, 0 changes nothing."""
    most: float = Field(default=10.0, ge=1)
    """Of "balanced": no picture is drawn more than so many times as often as the least."""


class Order:
    """The endless row of draws."""

    def __init__(
        self, config: SamplingConfig, pictures: NDArray[np.int64], targets: Targets, seed: int
    ) -> None:
        """``pictures`` are those that are trained on, at least one."""
        self._pictures, self._seed = pictures, seed
        self._chances: NDArray[np.float64] | None = None
        if config.kind == "balanced":
            self._chances = np.cumsum(_weights(config, pictures, targets))
        self._drawn: tuple[int, NDArray[np.int64], NDArray[np.int64]] | None = None

    @property
    def epoch_samples(self) -> int:
        """Draws of one epoch."""
        return len(self._pictures)

    def at(self, position: int) -> Draw:
        """The draw at a position."""
        epoch, place = divmod(position, len(self._pictures))
        if self._drawn is None or self._drawn[0] != epoch:
            self._drawn = (epoch, *self._epoch(epoch))
        _, pictures, draws = self._drawn
        return Draw(int(pictures[place]), epoch, int(draws[place]), position)

    def _epoch(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The pictures of an epoch, and which of its draws in that epoch each is."""
        rng = np.random.Generator(np.random.PCG64(derived_seed(self._seed, "tagger order", epoch)))
        number = len(self._pictures)
        if self._chances is None:
            return self._pictures[rng.permutation(number)], np.zeros(number, np.int64)
        drawn = np.searchsorted(self._chances, rng.random(number) * self._chances[-1], side="right")
        drawn = np.minimum(drawn, number - 1)
        by_picture = np.argsort(drawn, kind="stable")
        ordered = drawn[by_picture]
        first = np.searchsorted(ordered, ordered, side="left")
        draws = np.empty(number, np.int64)
        draws[by_picture] = np.arange(number) - first
        return self._pictures[drawn], draws


def _weights(config: SamplingConfig, pictures: NDArray[np.int64], targets: Targets) -> NDArray[np.float64]:
    """[N]: how often each picture is drawn, the least 1."""
    counts = np.maximum(targets.counts(pictures), 1).astype(np.float64)
    commonest = counts.max(initial=1.0)
    chances = np.array(
        [
            (counts[labels].min() if len(labels := targets.of_picture(int(picture))) else commonest)
            for picture in pictures
        ]
    )
    weights = chances**-config.power
    return np.asarray(np.minimum(weights / weights.min(), config.most))
