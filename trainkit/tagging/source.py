"""What a step of training is fed with: pictures drawn anew, or features that were made once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainkit.draw import Draw
from trainkit.tagging.augment import Augmentation
from trainkit.tagging.loss import Truth
from trainkit.tagging.preprocess import Preprocessing
from trainkit.tagging.squares import Squares
from trainkit.tagging.training_data import TrainingData


@dataclass(frozen=True)
class TaggerBatch:
    """One micro-batch. A picture that cannot be had is not in it."""

    inputs: Tensor
    """Pictures [B, 3, S, S] or features [B, D]."""
    truth: Truth
    records: tuple[int, ...]
    """Rows in the manifest."""


class TaggerSource(ABC):
    """Where the inputs of a network come from."""

    @abstractmethod
    def batch(self, draws: Sequence[Draw]) -> TaggerBatch:
        """The micro-batch of some draws: augmented pictures or features, and what is known of each."""

    @abstractmethod
    def views(self, places: Sequence[int]) -> tuple[list[int], list[Tensor]]:
        """Pictures as they are judged: the places of those that can be had, and their inputs [B, ...], first
        as they are, then mirrored where both are wanted."""


class PictureSource(TaggerSource):
    """Pictures, augmented in each draw."""

    def __init__(
        self,
        data: TrainingData,
        squares: Squares,
        judged: Squares,
        augmentation: Augmentation,
        preprocessing: Preprocessing,
        *,
        threads: int,
        mirrored_too: bool,
    ) -> None:
        """``squares`` are for `batch`, ``judged`` (of the network's size) for `views`: the two may be asked
        in two threads."""
        self._data, self._squares, self._judged = data, squares, judged
        self._augmentation, self._preprocessing = augmentation, preprocessing
        self._mirrored_too = mirrored_too
        self._pool = ThreadPoolExecutor(threads, "augment")

    def batch(self, draws: Sequence[Draw]) -> TaggerBatch:
        data, augmentation = self._data, self._augmentation
        squares = self._squares.get([int(data.rows[draw.picture]) for draw in draws])
        usable = [(draw, square) for draw, square in zip(draws, squares, strict=True) if square is not None]
        keys = [int(data.keys[draw.picture]) for draw, _ in usable]
        mirrored = [
            bool(data.may_flip[draw.picture]) and augmentation.mirrored(key, draw.epoch, draw.draw)
            for (draw, _), key in zip(usable, keys, strict=True)
        ]
        arrays = self._pool.map(
            lambda one: self._preprocessing.array(
                augmentation(one[0][1], one[1], one[0][0].epoch, one[0][0].draw, mirrored=one[2])
            ),
            zip(usable, keys, mirrored, strict=True),
        )
        size = self._preprocessing.size
        inputs = np.stack(list(arrays)) if usable else np.zeros((0, 3, size, size), np.float32)
        places = [draw.picture for draw, _ in usable]
        return TaggerBatch(
            torch.from_numpy(inputs),
            truth_of(data, places, mirrored),
            tuple(int(data.rows[place]) for place in places),
        )

    def views(self, places: Sequence[int]) -> tuple[list[int], list[Tensor]]:
        squares = self._judged.get([int(self._data.rows[place]) for place in places])
        had = [place for place, square in zip(places, squares, strict=True) if square is not None]
        if not had:
            return [], []
        arrays = self._pool.map(self._preprocessing, [square for square in squares if square is not None])
        inputs = torch.from_numpy(np.stack(list(arrays)))
        return had, [inputs, inputs.flip(3)] if self._mirrored_too else [inputs]


class FeatureSource(TaggerSource):
    """Features, of the picture or of its mirror image where it may be mirrored."""

    def __init__(
        self,
        data: TrainingData,
        found: NDArray[np.bool_],
        features: Tensor,
        augmentation: Augmentation,
        *,
        mirrored_too: bool,
    ) -> None:
        """``found`` [N] says which of ``features``, [N, V, D], are there."""
        self._data, self._found, self._features = data, found, features
        self._augmentation = augmentation
        self._views = 2 if mirrored_too else 1

    def batch(self, draws: Sequence[Draw]) -> TaggerBatch:
        data = self._data
        usable = [draw for draw in draws if self._found[draw.picture]]
        places = [draw.picture for draw in usable]
        two = self._features.shape[1] == 2
        mirrored = [
            two
            and bool(data.may_flip[draw.picture])
            and self._augmentation.mirrored(int(data.keys[draw.picture]), draw.epoch, draw.draw)
            for draw in usable
        ]
        inputs = self._features[
            torch.tensor(places, dtype=torch.long), torch.tensor(mirrored, dtype=torch.long)
        ]
        return TaggerBatch(
            inputs.float(),
            truth_of(data, places, mirrored),
            tuple(int(data.rows[place]) for place in places),
        )

    def views(self, places: Sequence[int]) -> tuple[list[int], list[Tensor]]:
        had = [place for place in places if self._found[place]]
        chosen = self._features[torch.tensor(had, dtype=torch.long)].float()
        return had, list(chosen[:, : self._views].unbind(dim=1))


def truth_of(data: TrainingData, places: Sequence[int], mirrored: Sequence[bool]) -> Truth:
    """What is known of a batch."""
    present, certain = data.targets.dense(places)
    unknown = np.outer(np.array(mirrored, np.bool_), data.sided).reshape(present.shape)
    unknown |= data.unknown(places) & ~data.unlabelled
    return Truth(torch.from_numpy(present), torch.from_numpy(certain), torch.from_numpy(unknown))
