"""Captions in a WebDataset pipeline, read from tars by two workers.

Usage:
    pip install '.[train]' webdataset
    python examples/trainers/webdataset_map.py
"""

import io
import tempfile
from pathlib import Path
from typing import Any

import webdataset as wds
from PIL import Image

from captionkit import CaptionPipeline, FlipRule
from captionkit.adapters.epoch import SharedEpoch
from captionkit.adapters.webdataset import CaptionSample
from captionkit.policies import DropTags, ShuffleTags

TAGS = ("fox, snow, running, solo", "owl, night, tree, sign", "cat, sleeping, sofa, day", "dog, grass, ball")


def write_shards(folder: Path) -> list[str]:
    """Two tars of two samples: NAME.png and NAME.txt stand together."""
    urls = []
    for shard in (0, 1):
        urls.append(str(folder / f"pictures-{shard:03}.tar"))
        with wds.TarWriter(urls[-1]) as tar:
            for index in (2 * shard, 2 * shard + 1):
                data = io.BytesIO()
                Image.new("RGB", (16, 16), (60 * index, 80, 120)).save(data, "png")
                tar.write({"__key__": f"{index:04}", "png": data.getvalue(), "txt": TAGS[index]})
    return urls


def main() -> None:
    """Three epochs; workers that live on see each of them."""
    flip = FlipRule(no_flip=("sign",))
    pipeline = CaptionPipeline(seed=2, steps=(DropTags(rate=0.2), ShuffleTags()), flip=flip)
    epoch = SharedEpoch()
    with tempfile.TemporaryDirectory() as folder:
        urls = write_shards(Path(folder))
        data = (
            wds.WebDataset(urls, shardshuffle=False).decode("pil").map(CaptionSample(pipeline, epoch=epoch))
        )
        loader: Any = wds.WebLoader(data, batch_size=None, num_workers=2, persistent_workers=True)
        for number in range(3):
            epoch.set(number)  # Before the loop over the loader.
            print(f"epoch {number}")
            for sample in sorted(loader, key=lambda sample: str(sample["__key__"])):
                print(f"  {sample['__key__']}: {sample['text']} (mirrored: {sample['flip']})")


if __name__ == "__main__":
    main()
