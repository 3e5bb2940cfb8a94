"""What another threshold costs where scores are kept, and what it costs to keep them.

Usage: PYTHONPATH=. python tests/benchmarks/bench_kept_scores.py [--count 20000] [--index 3300000]

A WD-like tagger (ONNX, 10,861 tags) and ``--count`` tiny pictures, of which scores are kept as such a tagger
gives them: 40 tags that it says, 40 that it doubts (0.05 to 0.35), and 4 ratings, all drawn. The pictures
are then removed, and `apply --threshold 0.5` decides anew, with ``--dry-run`` and with ``--restart``. Then
the index of a file of ``--index`` pictures is read. Prints one JSON object for each.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np
from PIL import Image

from tests.benchmarks.bench_tagger import write_wd_like
from trainkit.additions.places import journal_of
from trainkit.manifest_pictures import ManifestPictures
from trainkit.prepare import PrepareConfig, prepare
from trainkit.tagging.kept_scores import Keep, KeptScores, score_files
from trainkit.tagging.load import load_tagger
from trainkit.tagging.mark import exact_mark_of
from trainkit.tagging.plan import ApplyConfig, Plan, make_plan
from trainkit.tagging.tagger import Tagger
from trainkit.tagging.thresholds import ThresholdConfig

_SAID = _DOUBTED = 40
_RATINGS = 4


def drawn_scores(rng: np.random.Generator, num_labels: int) -> np.ndarray:
    """The scores of one picture."""
    scores = np.zeros(num_labels, np.float32)
    some = _RATINGS + rng.choice(num_labels - _RATINGS, _SAID + _DOUBTED, replace=False)
    scores[:_RATINGS] = rng.dirichlet(np.ones(_RATINGS))
    scores[some[:_SAID]] = rng.uniform(0.35, 1, _SAID)
    scores[some[_SAID:]] = rng.uniform(0.05, 0.35, _DOUBTED)
    return scores


def draw_tiny(folder: Path, count: int) -> None:
    """So many pictures of 16 pixels, each another one."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for n in range(count):
        pixels = rng.integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{n:07d}.png", compress_level=1)


def fill(folder: Path, keep: Keep, plan: Plan, keys: list[int]) -> None:
    """Keep scores of pictures."""
    rng, num_labels = np.random.default_rng(1), len(plan.rules.labels)
    few = [drawn_scores(rng, num_labels) for _ in range(256)]
    folder.mkdir(parents=True)
    with closing(KeptScores(folder, keep, plan.rules)) as kept:
        kept.write_as(0)
        for n, key in enumerate(keys):
            kept.add(key, few[n % len(few)])


def planned(tagger: Tagger, threshold: float) -> Plan:
    """The plan of a threshold."""
    return make_plan(tagger, ApplyConfig(thresholds=ThresholdConfig(threshold=threshold)))


def measure_again(folder: Path, keep: Keep, tagger: Tagger, count: int) -> None:
    """Print what it takes to decide anew."""
    draw_tiny(folder / "pictures", count)
    config = PrepareConfig(untagged=True, min_side=0)
    prepare(str(folder / "pictures"), folder / "manifest", config, show=False)
    pictures = ManifestPictures.open(folder / "manifest")
    keys = [pictures.picture_key(row) for row in range(count)]
    plan = planned(tagger, 0.35)
    fill(journal_of(folder / "manifest", plan.name), keep, plan, [key for key in keys if key is not None])
    shutil.rmtree(folder / "pictures")
    command = [sys.executable, "-m", "trainkit", "tagger", "apply", "wd", "manifest", "--threshold", "0.5"]
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    for more in ("--dry-run", "--restart"):
        began, busy = time.perf_counter(), _processor_seconds()
        done = subprocess.run(
            [*command, more, "--json"], cwd=folder, check=True, stdout=subprocess.PIPE, env=environment
        )
        took, applied = time.perf_counter() - began, json.loads(done.stdout)
        told = {
            "command": more,
            "pictures": count,
            "from_kept": applied["from_kept_scores"],
            "tags_a_picture": round(sum(tag["added"] for tag in applied["tags"].values()) / count, 1),
            "bytes_a_picture": round(applied["kept_bytes"] / count),
            "seconds": round(took, 1),
            "processor_seconds": round(_processor_seconds() - busy, 1),
            "pictures_a_second": round(count / took),
            "load": round(os.getloadavg()[0], 1),
        }
        print(json.dumps(told), flush=True)


def measure_index(folder: Path, keep: Keep, tagger: Tagger, count: int) -> None:
    """Print what it takes to open the scores of so many pictures."""
    plan = planned(tagger, 0.35)
    keys: list[int] = np.random.default_rng(2).integers(0, 1 << 63, count).tolist()
    fill(folder / "index", keep, plan, keys)
    del keys
    began, before = time.perf_counter(), _resident()
    with closing(KeptScores(folder / "index", keep, plan.rules)) as kept:
        told = {
            "pictures": len(kept),
            "gigabytes": round(score_files(folder / "index")[0].stat().st_size / 1e9, 2),
            "seconds": round(time.perf_counter() - began, 1),
            "memory_mb": round((_resident() - before) / 1e6),
            "load": round(os.getloadavg()[0], 1),
        }
    print(json.dumps(told), flush=True)


def _processor_seconds() -> float:
    """Of commands that have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--index", type=int, default=3_300_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        wd = write_wd_like(Path(name) / "wd", 8)
        keep, tagger = Keep(exact_mark_of(wd)), load_tagger(wd)
        measure_again(Path(name), keep, tagger, options.count)
        if options.index:
            measure_index(Path(name), keep, tagger, options.index)


if __name__ == "__main__":
    main()
