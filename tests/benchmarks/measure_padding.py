"""How many chunks of text are padding, with micro-batches sorted by chunks in windows and without.

python tests/benchmarks/measure_padding.py

Records are drawn from the data that lie beside the project: as many tags as 75 posts of e621 have (or times
``--tags``), each tag by its count in e621's export, its category kept; 12 in 100 with a caption by CogVLM.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import itertools
import json
import time
from pathlib import Path

import numpy as np

from captionkit import CaptionPipeline, Prose, Record, Tag, preset
from trainkit.batches import BatchPlan
from trainkit.draw import Draw
from trainkit.export.vocabulary import clip_tokenizer
from trainkit.text import Tokens
from trainkit.windows import Window

DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
CATEGORIES = {0: "general", 1: "artist", 3: "copyright", 4: "character", 5: "species", 7: "meta", 8: "lore"}
PROSE_SHARE = 0.12


def records(count: int, more: float) -> list[Record]:
    """Records as true to life as the data allow."""
    rng = np.random.default_rng(0)
    rows = csv.reader(
        io.StringIO(gzip.decompress((DATA / "e621/tags-2026-04-01.csv.gz").read_bytes()).decode())
    )
    tags = [
        (row[0], int(row[1]), int(row[2]))
        for row in rows
        if row[0].strip() and int(row[2]) > 0 and int(row[1]) in CATEGORIES
    ]
    posts = json.loads((DATA / "e621/posts.json").read_text("utf-8"))
    lengths = [sum(map(len, post["tags"].values())) for post in posts]
    lines = (DATA / "captions/cogvlm_2000.jsonl").read_text("utf-8").splitlines()
    captions = [json.loads(line)["text"] for line in lines]
    chance = np.cumsum([n for *_, n in tags]) / sum(n for *_, n in tags)
    found = []
    for number in range(count):
        wanted = round(int(rng.choice(lengths)) * more)
        drawn = dict.fromkeys(np.searchsorted(chance, rng.random(wanted * 2)).tolist())
        own = tuple(Tag(tags[i][0], CATEGORIES[tags[i][1]]) for i in itertools.islice(drawn, wanted))
        prose = (Prose(str(rng.choice(captions)), "cogvlm"),) if rng.random() < PROSE_SHARE else ()
        found.append(Record(str(number), own, prose))
    return found


def measure(
    data: list[Record], pipeline: CaptionPipeline, tokens: Tokens, batch: int, window: int
) -> tuple[float, float, float]:
    """(share of padded chunks, chunks per picture that are trained, ms of rendering per micro-batch that the
    window costs when nothing is remembered)."""
    known: dict[tuple[int, int], int] = {}
    spent = 0.0

    def chunks(draw: Draw) -> int:
        nonlocal spent
        key = draw.picture, draw.epoch
        if key not in known:
            began = time.perf_counter()
            caption = pipeline.render(data[draw.picture], epoch=draw.epoch, samples=0)
            known[key] = tokens.num_chunks(caption.text)
            spent += time.perf_counter() - began
        return known[key]

    plan = BatchPlan(
        [(768, 768)],
        np.zeros(len(data), dtype=np.int8),
        batch,
        0,
        window=Window(window, chunks) if window else None,
    )
    needed = filled = 0
    for number in range(plan.batches_before(1)):
        own = [chunks(draw) for draw in plan[number].draws]
        needed += sum(own)
        filled += max(own) * batch
    pictures = plan.batches_before(1) * batch
    return 1 - needed / filled, filled / pictures, 1000 * spent / len(known) * batch * window


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=6000)
    parser.add_argument("--tags", type=float, default=1.0, help="times as many tags as the posts have")
    asked = parser.parse_args()
    data, tokens = records(asked.records, asked.tags), Tokens(clip_tokenizer())
    pipeline = preset("hyperfusion").with_counter(tokens.count)
    texts = [pipeline.render(record, epoch=0, samples=0).text for record in data]
    shares = np.bincount([tokens.num_chunks(text) for text in texts]) / len(texts)
    print("chunks of captions: " + ", ".join(f"{n}: {s:.1%}" for n, s in enumerate(shares) if s))
    print("batch  window  padded  chunks per picture  rendering per micro-batch")
    for batch, window in itertools.product((8, 16), (0, 2, 4, 8, 16)):
        padded, each, cost = measure(data, pipeline, tokens, batch, window)
        print(f"{batch:5}  {window:6}  {padded:6.1%}  {each:18.3f}  {cost:22.1f} ms", flush=True)


if __name__ == "__main__":
    main()
