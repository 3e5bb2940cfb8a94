"""The same function under Ray Data: a local cluster with two workers, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.captionkit.adapters.little_data import SIZE, wanted

ROOT = Path(__file__).resolve().parents[3]

SCRIPT = """
import json, os, sys, time
import pyarrow as pa
import ray
from captionkit.adapters.epoch import SharedEpoch
from captionkit.adapters.table import RenderBatch
from tests.captionkit.adapters.little_data import SIZE, recipe, tags_of

folder = sys.argv[1]
options = {"include_dashboard": False, "log_to_driver": False, "object_store_memory": 80 << 20}
ray.init(num_cpus=2, _temp_dir=folder, **options)
ids = [f"p{index:03}" for index in range(SIZE)]
table = pa.table({"id": ids, "tags": [tags_of(index) for index in range(SIZE)]})
data = ray.data.from_arrow([table.slice(start, 3) for start in range(0, SIZE, 3)])

def together(batch):
    "Goes on when two workers are at it, so that neither does it all."
    open(f"{folder}/{os.getpid()}.here", "w").close()
    for _ in range(6000):
        if sum(name.endswith(".here") for name in os.listdir(folder)) == 2:
            break
        time.sleep(0.1)
    return batch | {"pid": [os.getpid()] * len(batch["id"])}

said, epoch = {}, SharedEpoch(1)
render = RenderBatch(recipe(), epoch=epoch)
numpy = data.map_batches(render, batch_format="numpy")
said["numpy 1"] = numpy.map_batches(together, batch_format="numpy").take_all()
epoch.set(2)
said["numpy 2"] = data.map_batches(render, batch_format="numpy").random_shuffle(seed=3).take_all()
arrow = data.map_batches(RenderBatch(recipe(), k=2), batch_format="pyarrow", batch_size=2)
said["pyarrow k"] = arrow.take_all()
bad = ray.data.from_items([{"id": "1", "tags": "fox"}, {"id": "2", "tags": None}])
said["bad"] = bad.map_batches(RenderBatch(recipe(), on_error="drop"), batch_format="pyarrow").take_all()
ray.shutdown()
print(json.dumps({"pid": os.getpid(), "said": said}))
"""


def by_name(rows: Any) -> dict[str, tuple[Any, Any]]:
    return {row["id"]: (row["text"], row["flip"]) for row in rows}


@pytest.mark.slow
def test_two_workers_of_a_local_cluster_say_what_the_pipeline_says() -> None:
    # Not pytest's folder: the sockets' paths in it would be too long. What Ray still writes there when it has
    # ended is no error.
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        env = os.environ | {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", "HOME": folder}
        process = subprocess.run(
            [sys.executable, "-c", SCRIPT, folder], env=env, capture_output=True, text=True, check=False
        )
    assert process.returncode == 0, process.stderr
    out = json.loads(process.stdout.splitlines()[-1])
    said = out["said"]
    assert by_name(said["numpy 1"]) == wanted(1)
    pids = {row["pid"] for row in said["numpy 1"]}
    assert len(pids) == 2
    assert out["pid"] not in pids
    assert by_name(said["numpy 2"]) == wanted(2)
    assert len(said["pyarrow k"]) == SIZE
    for name, (texts, flips) in by_name(said["pyarrow k"]).items():
        assert list(zip(texts, flips, strict=True)) == [wanted(0, draw)[name] for draw in range(2)]
    assert [row["id"] for row in said["bad"]] == ["1"]
