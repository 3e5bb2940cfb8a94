"""One measurement of a start, in a process of its own: ``python -m trainkit.bench.startup_process JSON``.

Prints one JSON object as its last line. Everything that a run imports is imported before the clock starts.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import sys
import time
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import Any

import numpy as np
import pyarrow.compute
import pyarrow.ipc
import pyarrow.parquet  # noqa: F401
import torch

from captionkit import CaptionPipeline
from trainkit.apart import split
from trainkit.batches import BatchPlan
from trainkit.bench.memory import Memory, forget_peak, measure, peak
from trainkit.config import RunConfig, caption_pipeline
from trainkit.errors import PictureError, TrainkitError
from trainkit.phases import make_phases
from trainkit.pictures import DataSet, read_data

_MADE = 5000
"""Pictures that are made to see how fast it goes."""


def main() -> None:
    """Measure what the JSON on the command line asks for."""
    asked: dict[str, Any] = json.loads(sys.argv[1])
    try:
        found = measured(asked)
    except TrainkitError as error:
        found = {"error": str(error)}
    print(json.dumps(found))


def measured(asked: dict[str, Any]) -> dict[str, Any]:
    """Seconds and bytes. Raises TrainkitError for what cannot be opened."""
    run = RunConfig.model_validate(
        {
            "out": "unused",
            "epochs": 1,
            "accumulate": 1,
            "batch": asked["batch"],
            "model": {"base": "unused"},
            "data": {
                "path": asked["manifest"],
                "buckets": {"resolution": asked["resolution"]},
                "max_bad_share": 1.0,
            },
            "validation": {"share": asked["validation"]},
        }
    )
    pipeline = caption_pipeline(run)
    gc.collect()
    forget_peak()
    bare = measure()
    times = [time.perf_counter()]
    everything = read_data(run.data, [pipeline])
    times.append(time.perf_counter())
    data, _ = split(everything, run.validation)
    del everything
    times.append(time.perf_counter())
    (phase,) = make_phases(run, data.sizes, 1)
    times.append(time.perf_counter())
    phase.plan[0]
    times.append(time.perf_counter())
    ready = measure()
    steps = np.diff(times).tolist()
    found: dict[str, Any] = {
        "pictures": len(data.pictures),
        "buckets": int((phase.placement.counts > 0).sum()),
        "bare": bare.resident,
        "ready": {
            "seconds": times[-1] - times[0],
            **dict(
                zip(
                    ("open_seconds", "hold_out_seconds", "plan_seconds", "first_batch_seconds"),
                    steps,
                    strict=True,
                )
            ),
            # The kernel counts the peak in batches, and may be some pages behind.
            "peak": max(peak(), ready.resident) - bare.resident,
            "steady": ready.resident - bare.resident,
            "own": ready.own - bare.own,
            "files": ready.files - bare.files,
        },
    }
    # First the workers: what this process has looked at, they would share.
    found["worker"] = _workers(asked, data, phase.plan, pipeline) if asked["workers"] else {}
    found["records_per_second"] = _speed(data)
    return found


def _speed(data: DataSet) -> float:
    """Pictures that are made of rows in a second, in random order."""
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, len(data.pictures), _MADE).tolist()
    began = time.perf_counter()
    for number in numbers:
        _made(data, number)
    return _MADE / (time.perf_counter() - began)


def _made(data: DataSet, number: int) -> Any:
    try:
        return data.pictures[number]
    except PictureError:  # Its row is no record; a run would name it.
        return None


def _workers(
    asked: dict[str, Any], data: DataSet, plan: BatchPlan, pipeline: CaptionPipeline
) -> dict[str, float]:
    """The memory of a worker, the mean over all, while all of them are there."""
    context = multiprocessing.get_context("fork")
    together = context.Barrier(asked["workers"])
    pairs = [context.Pipe(duplex=False) for _ in range(asked["workers"])]
    last = asked["workers"] * asked["micro_batches"]
    processes = [
        context.Process(
            target=_work,
            args=(range(i, last, asked["workers"]), data, plan, pipeline, together, ours),
        )
        for i, (_, ours) in enumerate(pairs)
    ]
    for process in processes:
        process.start()
    for _, ours in pairs:
        ours.close()
    try:
        answers = [theirs.recv() for theirs, _ in pairs]
    except EOFError as error:
        raise TrainkitError("a worker ended before it had prepared its micro-batches") from error
    finally:
        for process in processes:
            process.join()
    return {name: float(np.mean([answer[name] for answer in answers])) for name in answers[0]}


def _work(
    numbers: range,
    data: DataSet,
    plan: BatchPlan,
    pipeline: CaptionPipeline,
    together: Barrier,
    answer: Connection,
) -> None:
    """What a worker of a run does, all but decoding pictures."""
    # As a worker of a run begins; see `data_worker.serve`.
    torch.set_num_threads(1)
    gc.freeze()
    at_once = measure()
    for number in numbers:
        for draw in plan[number].draws:
            picture = _made(data, draw.picture)
            if picture is not None:
                pipeline.render(picture.record, epoch=draw.epoch, draw=draw.draw, samples=draw.sample)
    together.wait()
    now = measure()
    together.wait()
    answer.send(_told(at_once, now))


def _told(at_once: Memory, now: Memory) -> dict[str, int]:
    return {
        "dirty": now.dirty,
        "dirty_at_once": at_once.dirty,
        "proportional": now.proportional,
        "resident": now.resident,
        "files": now.files,
    }


if __name__ == "__main__":
    main()
