"""What the tests of the adapters share: records, a recipe in which everything is drawn, small data sets.

A module of its own, so that spawned workers can import what they are handed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import Dataset, IterableDataset

from captionkit import CaptionPipeline, FlipRule, Record, parse_tags
from captionkit.policies import DropTags, ShuffleTags

SIZE = 12
TAGS = ("red fox", "snow", "tree", "solo", "running", "day", "forest", "mammal")


def recipe(seed: int = 1, **settings: Any) -> CaptionPipeline:
    """Order, dropout and flip are drawn: two draws of one record agree by chance once in some thousands."""
    flip = FlipRule(no_flip=("sign",))
    return CaptionPipeline(seed=seed, steps=(DropTags(rate=0.2), ShuffleTags()), flip=flip, **settings)


def tags_of(index: int) -> str:
    """The tags of picture `index`, as a text."""
    return ", ".join((f"picture {index}", *TAGS, *(("sign",) if index % 4 == 3 else ())))


def records(size: int = SIZE) -> list[Record]:
    """One record per picture; every fourth may not be mirrored."""
    return [Record(f"p{index:03}", parse_tags(tags_of(index))) for index in range(size)]


def picture(index: int) -> torch.Tensor:
    """[3, 2, 4], rising from left to right."""
    return torch.arange(4.0).repeat(3, 2, 1) + index


class Pictures(Dataset[dict[str, Any]]):
    """A map-style data set of somebody's."""

    def __init__(self, names: list[int] | None = None) -> None:
        self.names = list(range(SIZE)) if names is None else names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> dict[str, Any]:
        name = self.names[index]
        return {"image": picture(name), "name": f"p{name:03}"}


class Pairs(Dataset[tuple[torch.Tensor, int]]):
    """The same, as tuples."""

    def __len__(self) -> int:
        return SIZE

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return picture(index), index


class Stream(IterableDataset[dict[str, Any]]):
    """The same, as a stream that its workers share out."""

    def __init__(self, size: int = SIZE) -> None:
        self.size = size

    def __iter__(self) -> Iterator[dict[str, Any]]:
        info = torch.utils.data.get_worker_info()
        first, step = (0, 1) if info is None else (info.id, info.num_workers)
        for index in range(first, self.size, step):
            yield {"image": picture(index), "name": f"p{index:03}"}


def is_mirrored(image: torch.Tensor) -> bool:
    """Whether a `picture` is."""
    return bool(image[0, 0, 0] > image[0, 0, -1])


def wanted(epoch: int, draw: int = 0, seed: int = 1) -> dict[str, tuple[str, bool]]:
    """What the pipeline itself says of every record: text and flip by name."""
    pipeline = recipe(seed)
    drawn = {one.id: pipeline.render(one, epoch=epoch, draw=draw) for one in records()}
    return {name: (one.text, one.flip) for name, one in drawn.items()}
