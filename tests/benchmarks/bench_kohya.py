"""captionkit inside sd-scripts: captions per second, and which pictures an epoch shows.

    python tests/benchmarks/bench_kohya.py

sd-scripts is told again by tests/captionkit/adapters/sd_scripts, without pixels and tokens, so that captions
alone are measured. 40 tags, shuffled, 15 % left out, 3 kept in place; one process, processor time, the median
of 9 rounds.
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/captionkit/adapters/sd_scripts")]

from contextlib import AbstractContextManager, nullcontext  # noqa: E402
from importlib import import_module  # noqa: E402

from torch.utils.data import DataLoader  # noqa: E402

from captionkit import CaptionPipeline, FlipRule, Record, Renderer, parse_tags  # noqa: E402
from captionkit.adapters.kohya import install  # noqa: E402
from captionkit.adapters.lookup import Records  # noqa: E402
from captionkit.policies import DropTags, KeepFixed, Sequence, ShuffleTags  # noqa: E402

TAGS = ", ".join(f"some_tag_{number}" for number in range(40))
RECIPE = CaptionPipeline(
    steps=(KeepFixed(first=3, then=Sequence(steps=(ShuffleTags(), DropTags(rate=0.15)))),),
    flip=FlipRule(p=0.5),
    text=Renderer(underscores="keep"),
)
ROUNDS = 9


def group(sd: Any, num: int) -> Any:
    """So many pictures in batches of 4."""
    dataset = sd.BaseDataset(4)
    subset = sd.BaseSubset(
        "fox", shuffle_caption=True, caption_tag_dropout_rate=0.15, keep_tokens=3, flip_aug=True
    )
    dataset.subsets = [subset]
    for number in range(num):
        key = f"/data/fox/{number:05}.png"
        dataset.register_image(sd.ImageInfo(key, 1, TAGS, False, key), subset)
    dataset.make_buckets()
    return sd.DatasetGroup([dataset])


def per_second(sd: Any, num: int = 4000) -> float:
    """Captions per second of processor time."""
    data = group(sd, num)
    times = []
    for epoch in range(1, ROUNDS + 1):
        data.set_current_epoch(epoch)
        start = time.process_time()
        for index in range(len(data)):
            data[index]
        times.append(time.process_time() - start)
    return num / statistics.median(times)


def unseen(sd: Any, num_workers: int, num: int = 400) -> list[int]:
    """How many pictures are missing from each of three epochs."""
    data = group(sd, num)
    epoch, step = multiprocessing.Value("i", 0), multiprocessing.Value("i", 0)
    collator = sd.collator_class(epoch, step, None if num_workers else data)
    loader: Any = DataLoader(data, 1, shuffle=True, num_workers=num_workers, collate_fn=collator)
    missing = []
    for number in (1, 2, 3):
        epoch.value = number
        counts = Counter(key for batch in loader for key in batch["image_keys"])
        missing.append(num - len(counts))
    return missing


def main() -> None:
    """Print a table."""
    warnings.simplefilter("ignore")
    sd = import_module("library.train_util")
    known = Records(
        [Record(f"{n:05}", parse_tags(TAGS), image=f"fox/{n:05}.png") for n in range(4000)], root="/data"
    )
    ways: list[tuple[str, Any]] = [
        ("sd-scripts alone", nullcontext),
        ("with a recipe, captions from sd-scripts", lambda: install(RECIPE)),
        ("with a recipe, records by picture", lambda: install(RECIPE, known)),
    ]
    for name, way in ways:
        context: AbstractContextManager[Any] = way()
        with context:
            print(f"{name:42}{per_second(sd):10,.0f} captions/s")
    for name, way in ways[:2]:
        for num_workers in (0, 2, 8):
            with way():
                print(f"{name:42}{num_workers} workers: {unseen(sd, num_workers)} of 400 pictures missing")


if __name__ == "__main__":
    main()
