"""Captions by Ray Data: the function of `datasets.map` on a cluster, here two workers on this machine.

Usage:
    pip install '.[tables]' 'ray[data]'
    python examples/trainers/ray_data.py
"""

import logging
from typing import Any

import pyarrow as pa
import ray

from captionkit import CaptionPipeline, FlipRule
from captionkit.adapters.table import RenderBatch
from captionkit.policies import DropTags, ShuffleTags

NAMES = ("fox", "owl", "cat", "dog", "hen", "bee")


def main() -> None:
    """Two variants of every row, on the cluster and in this process: the same."""
    logging.getLogger("ray").setLevel(logging.ERROR)
    flip = FlipRule(no_flip=("sign",))
    pipeline = CaptionPipeline(seed=2, steps=(DropTags(rate=0.2), ShuffleTags()), flip=flip)
    render = RenderBatch(pipeline, k=2)
    tags = [f"{name}, snow, tree, day, solo" for name in NAMES]
    table = pa.table({"id": list(NAMES), "tags": tags})

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=80 << 20)
    try:
        data = ray.data.from_arrow([table.slice(0, 3), table.slice(3)])
        # "pyarrow" hands over a Table; "numpy", a dict of arrays, gives the same.
        rows: list[dict[str, Any]] = data.map_batches(render, batch_format="pyarrow").take_all()
    finally:
        ray.shutdown()

    here = dict(zip(NAMES, render(table)["text"].to_pylist(), strict=True))
    for row in sorted(rows, key=lambda row: str(row["id"])):
        print(f"{row['id']}: {' | '.join(row['text'])}")
    same = {row["id"]: list(row["text"]) for row in rows} == here
    print("the cluster and this process agree" if same else "the cluster and this process DIFFER")


if __name__ == "__main__":
    main()
