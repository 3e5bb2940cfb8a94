"""Captions in somebody else's PyTorch data set: any number of workers agree, and repeats are drawn anew.

Usage:
    pip install '.[train]'
    python examples/trainers/torch_dataset.py
"""

from typing import Any

import torch
from torch.utils.data import DataLoader, WeightedRandomSampler

from captionkit import Record, parse_tags, preset
from captionkit.adapters.torch import CaptionDataset, EpochSampler, collate

TAGS = (
    "red circle, circle, left, small",
    "blue square, square, big, day",
    "star, yellow, small, solo, night",
)


def texts(loader: Any) -> dict[int, str]:
    """The text of every picture in one epoch."""
    return {int(i): text for batch in loader for i, text in zip(batch["index"], batch["text"], strict=True)}


def main() -> None:
    """Two epochs with no worker and with two that live on; then a sampler that deals pictures repeatedly."""
    # Anything with a length and items will do as a data set; pixels are [3, height, width].
    pictures = [{"image": torch.linspace(0, 1, 192).reshape(3, 8, 8), "index": i} for i in range(6)]
    records = [Record(f"picture {index}", parse_tags(TAGS[index % 3])) for index in range(6)]
    dataset = CaptionDataset(pictures, records, preset("hyperfusion", no_flip=["left"], seed=1))
    alone = DataLoader(dataset, batch_size=2, shuffle=True, collate_fn=collate)
    workers: Any = {"num_workers": 2, "persistent_workers": True}
    shared = DataLoader(dataset, batch_size=2, shuffle=True, collate_fn=collate, **workers)
    for epoch in (0, 1):
        dataset.set_epoch(epoch)  # Reaches the workers too.
        first, second = texts(alone), texts(shared)
        print(f"epoch {epoch}: 0 and 2 workers {'agree' if first == second else 'DIFFER'}")
        for index in sorted(first):
            print(f"  picture {index}: {first[index] or '(empty)'}")

    weights = WeightedRandomSampler([9, 1, 1, 1, 1, 1], 6, generator=torch.Generator().manual_seed(1))
    loader = DataLoader(dataset, batch_size=2, sampler=EpochSampler(weights), collate_fn=collate)
    print("picture 0, each time that it is dealt:")
    for batch in loader:
        for index, text in zip(batch["index"], batch["text"], strict=True):
            if index == 0:
                print(f"  {text or '(empty)'}")


if __name__ == "__main__":
    main()
