"""Captions in the text-to-image script of diffusers: two lines are added to it.

What stands here is the part of the script that handles captions, with an image folder it makes itself.

Usage:
    pip install '.[train,datasets]'
    python examples/trainers/diffusers_script.py
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import datasets
import torch
from PIL import Image

from captionkit import CaptionPipeline, FlipRule
from captionkit.adapters.diffusers import DiffusersCaptions
from captionkit.policies import DropTags, ShuffleTags

TAGS = ("fox, snow, running, solo", "owl, night, tree, sign", "cat, sleeping, sofa, day", "dog, grass, ball")


def write_folder(folder: Path) -> None:
    """An image folder as `datasets` reads it; `key` tells its rows apart."""
    for index in range(4):
        Image.new("RGB", (8, 8), (60 * index, 80, 120)).save(folder / f"{index}.png")
    rows = [{"file_name": f"{i}.png", "key": f"picture {i}", "text": tags} for i, tags in enumerate(TAGS)]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


def main() -> None:
    """Two epochs of the script's loader, with two workers that live on."""
    datasets.disable_progress_bars()
    flip = FlipRule(no_flip=("sign",))
    pipeline = CaptionPipeline(seed=1, steps=(DropTags(rate=0.2), ShuffleTags()), flip=flip)
    kit = DiffusersCaptions(pipeline, columns={"id": "key", "tags": "text"})

    def preprocess_train(examples: Any) -> Any:
        examples = kit(examples)  # Added: texts and mirrored pictures, before the script uses either.
        examples["pixel_values"] = [torch.tensor(list(image.tobytes())) for image in examples["image"]]
        return examples  # There the script tokenizes the caption column.

    with tempfile.TemporaryDirectory() as folder:
        write_folder(Path(folder))
        data = datasets.load_dataset("imagefolder", data_dir=folder, cache_dir=f"{folder}/cache")
        train: Any = data["train"].with_transform(preprocess_train)
        workers: Any = {"num_workers": 2, "persistent_workers": True}
        loader = torch.utils.data.DataLoader(train, batch_size=2, collate_fn=list, **workers)
        for epoch in range(2):
            kit.set_epoch(epoch)  # Added, at the head of the loop over epochs.
            print(f"epoch {epoch}")
            for row in (row for batch in loader for row in batch):
                print(f"  {row['key']}: {row['text']}")


if __name__ == "__main__":
    main()
