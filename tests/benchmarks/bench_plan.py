"""How long it takes to plan a run of millions of pictures, and how much memory.

python tests/benchmarks/bench_plan.py --pictures 3300000
"""

from __future__ import annotations

import argparse
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from trainkit.phases import history, make_phases
from trainkit.run_file import make_run
from trainkit.stretches import Past

Found = TypeVar("Found")


def _memory(what: str = "RssAnon") -> int:
    """MiB that are this process's own now, or another line of what the system says."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(f"{what}:")) >> 10


def _timed(what: str, do: Callable[[], Found]) -> Found:
    Path("/proc/self/clear_refs").write_text("5")  # The most that was resident is counted from here.
    before, resident, began = _memory(), _memory("VmRSS"), time.process_time()
    found = do()
    seconds = time.process_time() - began
    most = _memory("VmHWM") - resident
    print(f"{what:<50} {seconds:5.2f} s, {_memory() - before:+4} MiB, {most:4} MiB at most", flush=True)
    return found


def main() -> None:
    """Measure once: seconds of CPU, memory that is kept and that is needed meanwhile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=3_300_000)
    count = parser.parse_args().pictures
    rng = np.random.default_rng(0)
    aspect = np.exp(rng.normal(0, 0.35, count))
    side = np.exp(rng.normal(np.log(1300), 0.4, count))
    sizes = np.stack([side * np.sqrt(aspect), side / np.sqrt(aspect)], axis=1).astype(np.int32)
    weights = np.exp(rng.normal(0, 0.5, count)).astype(np.float32)
    del aspect, side
    here = Path()
    settings: dict[str, Any] = {
        "out": "out",
        "batch": 8,
        "accumulate": 16,
        "model": {"base": "base"},
        "data": {"path": "data"},
        "phases": [
            {"epochs": 10},
            {"epochs": 6, "data": {"buckets": {"resolution": 1024, "max_side": 1536}}},
        ],
    }
    run = make_run(settings, here, "bench")
    resumed = make_run(settings | {"accumulate": 32}, here, "bench")
    make_phases(run, sizes[:1000].repeat(40, axis=0), 2)  # Imports and the like.
    print(f"{count:,} pictures, {_memory()} MiB before")
    phases = _timed("two phases planned, pictures placed twice", lambda: make_phases(run, sizes, 2))
    _timed("the first micro-batch", lambda: phases[0].plan[0])
    _timed("the next 1000", lambda: [phases[0].plan[n] for n in range(1, 1001)])
    middle = phases[0].plan.batches_before(3) + 70_000
    _timed("one in the middle of the 4th pass", lambda: phases[0].plan[middle])
    _timed("the first one of the second phase", lambda: phases[1].plan[0])
    _timed("a copy for a worker that is spawned", lambda: pickle.loads(pickle.dumps(phases[0].plan)))
    seen = phases[0].group * 50_000
    past = Past(history(phases, seen), seen)
    again = _timed(
        "planned for going on in mid-pass with one device", lambda: make_phases(resumed, sizes, 1, past=past)
    )
    _timed("its first micro-batch", lambda: again[1].plan[0])
    weighed = _timed("planned with weights", lambda: make_phases(run, sizes, 2, weights=weights))
    _timed("the first micro-batch", lambda: weighed[0].plan[0])
    _timed("one in the middle of the 4th pass", lambda: weighed[0].plan[middle])


if __name__ == "__main__":
    main()
