"""A loader that is saved in the middle of an epoch, and goes on with the same pictures and texts.

Usage:
    pip install '.[train]' torchdata
    python examples/trainers/torchdata_loader.py
"""

import tempfile
from pathlib import Path
from typing import Any

import torch

from captionkit import CaptionPipeline, Record, parse_tags
from captionkit.adapters.torch import CaptionDataset
from captionkit.adapters.torchdata import caption_loader
from captionkit.policies import DropTags, ShuffleTags


def new_loader() -> Any:
    """As a training script would build it, at its first start and at every other."""
    pictures = [{"image": torch.full((3, 4, 4), index / 8), "index": index} for index in range(8)]
    records = [
        Record(f"picture {i}", parse_tags(f"number {i}, fox, snow, tree, day, solo")) for i in range(8)
    ]
    pipeline = CaptionPipeline(seed=1, steps=(DropTags(rate=0.2), ShuffleTags()))
    return caption_loader(CaptionDataset(pictures, records, pipeline), batch_size=2, seed=7, num_workers=2)


def show(batch: Any) -> list[str]:
    """The batch's texts, printed."""
    print(f"  pictures {batch['index'].tolist()}: {' | '.join(batch['text'])}")
    return list(batch["text"])


def main() -> None:
    """Save after one batch of epoch 3; go on in a new loader; hold it against the first."""
    loader = new_loader()
    loader.sampler.set_epoch(3)
    batches = iter(loader)
    print("epoch 3, until it is saved")
    show(next(batches))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.pt"
        torch.save({"epoch": 3, "loader": loader.state_dict()}, path)
        rest = [list(batch["text"]) for batch in batches]

        saved = torch.load(path)
    loader = new_loader()
    loader.load_state_dict(saved["loader"])
    loader.sampler.set_epoch(saved["epoch"])
    print("epoch 3, after the restart")
    again = [show(batch) for batch in loader]
    print("the same as without a restart" if again == rest else "DIFFERENT")


if __name__ == "__main__":
    main()
