"""How fast captions are made and turned into token ids, beside what they replace; all in one run.

    python tests/benchmarks/bench_captions.py --bpe bpe_simple_vocab_16e6.txt.gz

Records of 40 tags are drawn from e621's real tag counts (the folder of real data must stand beside the
checkout). Every line is the middle of five rounds, the two sides of a ratio in turns. Without --bpe (CLIP's
merges; scripts/pretrain_demo_base.py says where they come from) the lines about token ids are left out.

Beside us stand: the most used trainer's five steps written plainly (captionkit.bench.plain_caption), the same
with a generator of its own for each caption, so that its draws can be repeated as ours can, and CLIP's Rust
tokenizer one caption at a time. The trainer itself calls a slower tokenizer, written in Python.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from captionkit import CaptionPipeline, FlipRule, Prose, Record, Rendered, Tag, WordMemory, parse_tags, preset
from captionkit.bench import plain_caption
from captionkit.policies import DropTags, ShuffleTags

DATA = Path(__file__).resolve().parents[2] / ".." / "shared/data"
NUM_RECORDS, NUM_TAGS, NUM_ROUNDS = 2000, 40, 5
CAPTION = (
    "The image showcases a fox in a white shirt, possibly in a forest. It appears to be smiling. The sky is "
    "blue, and there are a few clouds. There are trees behind it. There are no visible watermarks."
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bpe", type=Path, help="bpe_simple_vocab_16e6.txt.gz")
    bpe = parser.parse_args().bpe
    records = real_records()
    texts = [", ".join(tag.name for tag in record.tags) for record in records]
    length = sum(map(len, texts)) / len(texts)
    print(f"{NUM_RECORDS:,} records of {NUM_TAGS} tags, {length:.0f} characters; one thread")
    captions(records, texts)
    if bpe is not None:
        tokens(records, texts, clip_tokenizer(bpe))


def captions(records: Sequence[Record], texts: Sequence[str]) -> None:
    """Captions per second."""
    like = CaptionPipeline(steps=(DropTags(), ShuffleTags(keep_first=3)), flip=FlipRule(p=0.0))
    implications = DATA / "e621/tag_implications-2025-06-30.csv.gz"
    important = ["solo", "by *", *(f"important {index} *" for index in range(18))]
    no_flip = ["sequence", "text on*", *(f"*no flip {index}*" for index in range(18))]
    whole = preset("hyperfusion", implications=str(implications), important=important, no_flip=no_flip)
    prosaic = [Record(r.id, r.tags, (Prose(CAPTION, "cogvlm"),)) for r in records]

    def from_text(text: str, round_: int) -> Rendered:
        return like.render(Record(text, parse_tags(text)), epoch=round_)

    rates = in_turns(
        {
            "plain loop": lambda r: [plain_caption(text) for text in texts],
            "plain loop, a generator for each caption": lambda r: [repeatable(text, r) for text in texts],
            "split, keep 3, shuffle, drop 15 %, join": lambda r: [from_text(text, r) for text in texts],
            "the same from records": lambda r: [like.render(record, epoch=r) for record in records],
            "whole preset, e621's implications": lambda r: [
                whole.render(record, epoch=r) for record in records
            ],
            "whole preset, with a caption to clean": lambda r: [whole.render(p, epoch=r) for p in prosaic],
        },
        len(records),
    )
    show(rates, against="plain loop")


def repeatable(text: str, epoch: int) -> str:
    """The plain loop with draws that depend on the caption and the epoch alone."""
    random.seed(f"{epoch}|{text}")
    return plain_caption(text)


def tokens(records: Sequence[Record], texts: Sequence[str], tokenizer: Any) -> None:
    """Captions to token ids, per second."""

    def rust(text: str) -> list[int]:
        ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    memory = WordMemory(rust)
    assert all(memory.ids(text) == rust(text) for text in texts)
    whole = preset("hyperfusion", max_tokens=225).with_counter(memory.count)

    def caption_and_ids(round_: int) -> None:
        for record in records:
            memory.ids(whole.render(record, epoch=round_).text)

    rates = in_turns(
        {
            "Rust tokenizer, one caption at a time": lambda r: [rust(text) for text in texts],
            "remembered words": lambda r: [memory.ids(text) for text in texts],
            "plain loop, then Rust tokenizer": lambda r: [rust(plain_caption(text)) for text in texts],
            "whole preset, then remembered words": caption_and_ids,
        },
        len(records),
    )
    show(rates, against="Rust tokenizer, one caption at a time")


def in_turns(works: dict[str, Callable[[int], Any]], count: int) -> dict[str, float]:
    """Captions per second of each work, the middle of the rounds; a first one, not counted, warms all."""
    rates: dict[str, list[float]] = {name: [] for name in works}
    for round_ in range(-1, NUM_ROUNDS):
        for name, work in works.items():
            start = time.perf_counter()
            work(round_)
            if round_ >= 0:
                rates[name].append(count / (time.perf_counter() - start))
    return {name: median(every) for name, every in rates.items()}


def show(rates: dict[str, float], against: str) -> None:
    print()
    for name, rate in rates.items():
        print(f"{name:<44}{rate:>10,.0f}/s{rate / rates[against]:>8.2f}x")


def real_records() -> list[Record]:
    """Tags drawn by how often e621 has them, each once per record; seeded."""
    with gzip.open(DATA / "e621/tags-2026-04-01.csv.gz", "rt", encoding="utf-8", newline="") as file:
        rows = [(name, int(count)) for name, _, count, *_ in csv.reader(file)]
    names, counts = zip(*((name, n) for name, n in rows if n >= 100 and "," not in name), strict=True)
    chooser = random.Random(0)
    records = []
    for index in range(NUM_RECORDS):
        drawn = dict.fromkeys(chooser.choices(names, counts, k=2 * NUM_TAGS))
        while len(drawn) < NUM_TAGS:
            drawn |= dict.fromkeys(chooser.choices(names, counts, k=NUM_TAGS))
        records.append(Record(f"picture {index}", tuple(map(Tag, list(drawn)[:NUM_TAGS]))))
    return records


def clip_tokenizer(bpe: Path) -> Any:
    """CLIP's tokenizer of its published merges."""
    from transformers import CLIPTokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    with gzip.open(bpe, "rt", encoding="utf-8") as file:
        merges = [tuple(line.split()) for line in file.read().split("\n")[1 : 49152 - 256 - 2 + 1]]
    letters = list(bytes_to_unicode().values())
    words = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges)]
    vocab = {word: index for index, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=1 << 20)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
