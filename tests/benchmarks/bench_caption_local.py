"""Captions a second of a model on this machine, one picture at a time and in batches.

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_caption_local.py           # the tests' tiny random LLaVA
    python tests/benchmarks/bench_caption_local.py --model FOLDER --batches 1 8 32

With the tiny model (81,000 parameters) the figures say what the machinery around a model costs, and what
batches save of that; they say nothing about the speed of a model that anybody would use.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from tests.trainkit.captioning.tiny_models import write_tiny_captioner
from trainkit.captioning.captioner import Request
from trainkit.captioning.local import LocalConfig
from trainkit.captioning.sampling import Sampling
from trainkit.demo.scenes import draw_scene, full_scene


def main() -> None:
    """Print one line a batch size."""
    import random

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="folder or repository (default: a tiny random LLaVA)")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--pictures", type=int, default=48)
    parser.add_argument("--tokens", type=int, default=32)
    options = parser.parse_args()
    rng = random.Random(0)
    pictures = [draw_scene(full_scene(rng)) for _ in range(options.pictures)]
    requests = [Request(n, "Describe it.", image, n) for n, image in enumerate(pictures)]
    sampling = Sampling(max_new_tokens=options.tokens, temperature=1.0)
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or str(write_tiny_captioner(Path(folder) / "tiny"))
        print(f"{options.model or 'tiny random LLaVA'}, {options.pictures} pictures, {options.tokens} tokens")
        for batch in options.batches:
            with LocalConfig(model=model, batch=batch).open(sampling) as captioner:
                list(captioner.answers(requests[:batch]))  # The first batch pays for what is set up once.
                started, spent = time.perf_counter(), time.process_time()
                answers = list(captioner.answers(requests))
                wall, spent = time.perf_counter() - started, time.process_time() - spent
            tokens = sum(answer.tokens_out for answer in answers)
            print(
                f"batch {batch:3}: {len(answers) / wall:7.1f} captions/s, {tokens / wall:8.0f} tokens/s, "
                f"{1000 * spent / len(answers):6.1f} ms of CPU a caption"
            )


if __name__ == "__main__":
    main()
