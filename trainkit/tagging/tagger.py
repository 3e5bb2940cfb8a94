"""The one interface behind which every tagger stands: ours, and those that others have trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainkit.tagging.label import Label


class Tagger(ABC):
    """Scores of a fixed list of labels for pictures."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What the tags that it adds have as their source."""

    @property
    @abstractmethod
    def labels(self) -> tuple[Label, ...]:
        """What it knows, in the order of `scores`; L of them."""

    @property
    @abstractmethod
    def thresholds(self) -> Mapping[str, float]:
        """The score from which it says a tag, by the tag's name, where it comes with one; may be empty."""

    @abstractmethod
    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        """One picture (RGB) as the network takes it. May be called in several threads at the same time."""

    @abstractmethod
    def scores(self, batch: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Probabilities from 0 to 1 of what `prepare` gave, [B, L], calibrated where the tagger was, with
        implications applied: an implied tag has at least the score of the tag that implies it."""
