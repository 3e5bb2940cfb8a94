"""How kohya sd-scripts (48d368f, library/train_util.py) makes captions and batches, told again for tests.

sd-scripts is on no package index. These are its names, arguments and order of calls, and its choice of random
generator, without pixels, latents, tokenizers and buckets of several shapes. It keeps what is wrong there: a
worker learns the epoch behind its first batch, and all workers then seed the same generator alike.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch.utils.data import ConcatDataset, Dataset, get_worker_info

from tests.captionkit.kohya_captions import BaseSubset, ByRandom, Now, process_caption

__all__ = ["BaseDataset", "BaseSubset", "DatasetGroup", "ImageInfo", "collator_class"]

Example = dict[str, Any]


@dataclass
class ImageInfo:
    """One picture."""

    image_key: str
    num_repeats: int
    caption: str
    is_reg: bool
    absolute_path: str
    text_encoder_outputs: Any = None


class BucketBatchIndex(NamedTuple):
    """Which batch of which bucket."""

    bucket_index: int
    bucket_batch_size: int
    batch_index: int


@dataclass
class BucketManager:
    """The keys of the pictures of each bucket."""

    buckets: list[list[str]] = field(default_factory=list)

    def shuffle(self) -> None:
        for bucket in self.buckets:
            random.shuffle(bucket)


class BaseDataset(Dataset[Example]):
    """Pictures in batches; an item is a batch."""

    def __init__(self, batch_size: int = 4, seed: int = 0) -> None:
        self.batch_size, self.seed = batch_size, seed
        self.subsets: list[BaseSubset] = []
        self.image_data: dict[str, ImageInfo] = {}
        self.image_to_subset: dict[str, BaseSubset] = {}
        self.replacements: dict[str, str | list[str]] = {}
        self.caching_mode: str | None = None
        self.current_epoch = self.current_step = 0
        self.max_train_steps = 1000
        self.bucket_manager = BucketManager()
        self.buckets_indices: list[BucketBatchIndex] = []

    def register_image(self, info: ImageInfo, subset: BaseSubset) -> None:
        self.image_data[info.image_key] = info
        self.image_to_subset[info.image_key] = subset

    def make_buckets(self) -> None:
        keys = [info.image_key for info in self.image_data.values() for _ in range(info.num_repeats)]
        self.bucket_manager.buckets = [keys]
        batches = math.ceil(len(keys) / self.batch_size)
        self.buckets_indices = [BucketBatchIndex(0, self.batch_size, batch) for batch in range(batches)]
        self.shuffle_buckets()

    def shuffle_buckets(self) -> None:
        random.seed(self.seed + self.current_epoch)
        random.shuffle(self.buckets_indices)
        self.bucket_manager.shuffle()

    def set_current_epoch(self, epoch: int) -> None:
        while self.current_epoch < epoch:
            self.current_epoch += 1
            self.shuffle_buckets()
        self.current_epoch = epoch

    def set_current_step(self, step: int) -> None:
        self.current_step = step

    def process_caption(self, subset: BaseSubset, caption: str) -> str:
        now = Now(self.current_epoch, self.current_step, self.max_train_steps)
        caption = process_caption(subset, caption, ByRandom(), now)
        for old, new in self.replacements.items() if caption else ():
            if old:
                caption = caption.replace(old, str(new))
            else:
                caption = random.choice(new) if isinstance(new, list) else new
        return caption

    def __len__(self) -> int:
        return len(self.buckets_indices)

    def __getitem__(self, index: int) -> Example:
        bucket_index, size, batch = self.buckets_indices[index]
        keys = self.bucket_manager.buckets[bucket_index][batch * size : (batch + 1) * size]
        if self.caching_mode is not None:
            return {"captions": [self.image_data[key].caption for key in keys]}
        captions, flippeds, crops = [], [], []
        for key in keys:
            info = self.image_data[key]
            subset = self.image_to_subset[key]
            flipped = subset.flip_aug and random.random() < 0.5
            crops.append(random.randint(0, 1 << 30) if subset.random_crop else 0)
            flippeds.append(flipped)
            caption = info.caption
            if info.text_encoder_outputs is None:
                caption = self.process_caption(subset, info.caption)
            captions.append(caption)
        return {
            "captions": captions,
            "flippeds": flippeds,
            "image_keys": keys,
            "crops": torch.tensor(crops),
        }


class DatasetGroup(ConcatDataset[Example]):
    """Several data sets as one."""

    datasets: list[BaseDataset]  # type: ignore[assignment]

    def __init__(self, datasets: Iterable[BaseDataset]) -> None:
        super().__init__(datasets)

    def set_current_epoch(self, epoch: int) -> None:
        for dataset in self.datasets:
            dataset.set_current_epoch(epoch)

    def set_current_step(self, step: int) -> None:
        for dataset in self.datasets:
            dataset.set_current_step(step)


class collator_class:
    """Hands a batch on, and only then tells the worker's data set the epoch and the step."""

    def __init__(self, epoch: Any, step: Any, dataset: DatasetGroup | None) -> None:
        self.current_epoch, self.current_step, self.dataset = epoch, step, dataset

    def __call__(self, examples: Sequence[Example]) -> Example:
        worker: Any = get_worker_info()
        dataset = self.dataset if worker is None else worker.dataset
        assert dataset is not None
        dataset.set_current_epoch(self.current_epoch.value)
        dataset.set_current_step(self.current_step.value)
        return examples[0]
