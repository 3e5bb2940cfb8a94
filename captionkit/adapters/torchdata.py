"""A loader that can be saved in the middle of an epoch and goes on with the same texts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from captionkit.adapters.sampler import EpochSampler
from captionkit.adapters.torch import CaptionDataset, collate
from captionkit.needs import needed


def caption_loader(
    dataset: CaptionDataset,
    *,
    batch_size: int,
    shuffle: bool = True,
    seed: int = 0,
    rank: int = 0,
    num_ranks: int = 1,
    collate_fn: Callable[[Any], Any] = collate,
    **options: Any,
) -> Any:
    """A torchdata `StatefulDataLoader` over a `CaptionDataset`; its order is a function of (seed, epoch).

    `loader.sampler.set_epoch(epoch)` before each epoch. `loader.state_dict()` holds the epoch and how far it
    is, a few numbers, whatever the number of workers; `load_state_dict` into a new loader of the same data
    goes on behind the last batch that was handed out, in the saved epoch.

    `rank` of `num_ranks` deals the samples among processes; where they do not come out even, the first ones
    are dealt once more. Other `options` are the loader's own (`num_workers`, `drop_last` ...). With a sampler
    of your own, build the loader yourself: `StatefulDataLoader(dataset, sampler=EpochSampler(yours), ...)`.
    """
    data = needed("torch.utils.data.distributed", "train", "a sampler")
    stateful = needed("torchdata.stateful_dataloader", "train", "a loader whose place can be saved")
    order = data.DistributedSampler(dataset, num_ranks, rank, shuffle, seed)
    sampler = EpochSampler(order, samples_per_epoch=len(order) * num_ranks)
    return stateful.StatefulDataLoader(
        dataset, batch_size=batch_size, sampler=sampler, collate_fn=collate_fn, **options
    )
