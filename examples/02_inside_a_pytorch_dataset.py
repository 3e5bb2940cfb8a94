"""Captions inside somebody else's PyTorch Dataset: the same text and flips with any number of workers.

Usage:
    pip install 'captionkit[train]'
    python examples/02_inside_a_pytorch_dataset.py

The sampler hands out (epoch, index): every worker knows the epoch, and nothing in the dataset ever changes.
"""

import torch
from torch.utils.data import DataLoader, Dataset

from captionkit import CaptionPipeline, Record, parse_tags, preset


class TheirPictures(Dataset[torch.Tensor]):
    """Somebody else's dataset: pixels by index, [3, 8, 8] in [0, 1]."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.linspace(0, 1, 3 * 8 * 8).reshape(3, 8, 8).roll(index)


class WithCaptions(Dataset[tuple[torch.Tensor, str]]):
    """The same pictures, mirrored where the caption allows it, with the text of this epoch."""

    def __init__(self, pictures: TheirPictures, records: list[Record], pipeline: CaptionPipeline) -> None:
        self.pictures, self.records, self.pipeline = pictures, records, pipeline

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, str]:
        epoch, index = key
        rendered = self.pipeline.render(self.records[index], epoch=epoch)
        pixels = self.pictures[index]
        return pixels.flip(-1) if rendered.flip else pixels, rendered.text


def texts(dataset: WithCaptions, epoch: int, num_workers: int) -> list[str]:
    """All texts of one epoch, in order."""
    keys = [(epoch, index) for index in range(len(dataset.records))]
    loader = DataLoader(dataset, batch_size=2, sampler=keys, num_workers=num_workers)
    return [text for _, batch in loader for text in batch]


def main() -> None:
    """Print two epochs, each read by the main process and by two workers."""
    tags = ("red circle, circle, left", "blue square, square, big", "star, yellow, small")
    records = [Record(f"picture {index}", parse_tags(tags[index % 3])) for index in range(6)]
    dataset = WithCaptions(TheirPictures(), records, preset("hyperfusion", no_flip=["left"], seed=1))
    for epoch in (0, 1):
        alone, shared = texts(dataset, epoch, num_workers=0), texts(dataset, epoch, num_workers=2)
        print(f"epoch {epoch}: 0 and 2 workers {'agree' if alone == shared else 'DIFFER'}")
        for text in shared:
            print(f"  {text or '(empty)'}")


if __name__ == "__main__":
    main()
