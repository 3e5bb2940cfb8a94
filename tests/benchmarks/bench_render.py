"""How many captions one thread renders per second with the hyperfusion preset.

Usage: python tests/benchmarks/bench_render.py

A record of 40 tags, 20 patterns of important tags and as many that forbid mirroring, real implications where
the folder of real data is there. A benchmark, not a test: times depend on the machine and what else it does,
so the best of five rounds is shown.
"""

from __future__ import annotations

import time
from pathlib import Path

from captionkit import CaptionPipeline, Prose, Record, parse_tags, preset

IMPLICATIONS = (
    Path(__file__).resolve().parents[2] / ".." / "shared/data/e621/tag_implications-2025-06-30.csv.gz"
)
NUM = 3000
TAGS = (
    "solo, red_fox, fox, canine, canid, mammal, clothing, topwear, shirt, white_shirt, blue_eyes, smile, "
    "forest, tree, plant, day, sky, cloud, grass, looking_at_viewer, outdoors, standing, simple_shading, "
    "fur, digital_media_(artwork), signature, orange_fur, white_fur, tail, big_tail, ears, whiskers, paws, "
    "claws, hi_res, happy, open_mouth, teeth, anthro, male"
)
CAPTION = (
    "The image showcases a fox in a white shirt, possibly in a forest. It appears to be smiling. The sky is "
    "blue, and there are a few clouds. There are trees behind it. There are no visible watermarks."
)


def pipeline() -> CaptionPipeline:
    """The preset with 20 patterns in either list."""
    important = ["solo", "by *", *(f"important {index} *" for index in range(18))]
    no_flip = ["sequence", "text on*", *(f"*no flip {index}*" for index in range(18))]
    implications = str(IMPLICATIONS) if IMPLICATIONS.exists() else {"red fox": ["fox"], "fox": ["canine"]}
    return preset("hyperfusion", important=important, no_flip=no_flip, implications=implications)


def per_second(pipeline: CaptionPipeline, record: Record) -> float:
    """Captions per second, the best of five rounds."""
    best = 0.0
    for round_ in range(5):
        start = time.perf_counter()
        for draw in range(NUM):
            pipeline.render(record, epoch=round_, draw=draw)
        best = max(best, NUM / (time.perf_counter() - start))
    return best


def main() -> None:
    recipe = pipeline()
    tags = parse_tags(TAGS)
    print(f"{len(tags)} tags: {per_second(recipe, Record('a', tags)):,.0f} captions per second")
    both = Record("a", tags, (Prose(CAPTION, "cogvlm"),))
    print(f"{len(tags)} tags and a caption to clean: {per_second(recipe, both):,.0f} captions per second")


if __name__ == "__main__":
    main()
