"""Count the lefts and rights of real captions and tags, and hold the swap against labels made by reading.

Usage: python tests/benchmarks/measure_sides.py [FOLDER OF DATA]
       python tests/benchmarks/measure_sides.py --sample SEED NUMBER [FOLDER OF DATA]
       python tests/benchmarks/measure_sides.py --quotations SEED NUMBER [FOLDER OF DATA]

The first counts, times and compares with sides_labels.jsonl. The others print, for reading, some side words
with the text around them, drawn from all of them whatever the rules say, and the first quotations of some
captions.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
import random
import re
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from captionkit.mirror import NAMES
from captionkit.prose.sides import find_sides, quotation, swap_sides

DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"
LABELS = Path(__file__).with_name("sides_labels.jsonl")
SETS = {"cogvlm": "captions/cogvlm_2000.jsonl", "llava": "captions/llava_next_590.json"}
TAGS = "e621/tags-2026-04-01.csv.gz"
CATEGORIES = ("general", "artist", "", "copyright", "character", "species", "invalid", "meta", "lore")
# The sampling has a pattern of its own, so that a word the rules overlook can still be drawn.
WORD = re.compile(r"(?<![^\W_])(?:left|right)(?:most|wards?)?(?![^\W_])", re.IGNORECASE)


def read(path: Path) -> list[str]:
    if path.suffix == ".jsonl":
        return [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]
    return list(json.loads(path.read_text(encoding="utf-8")).values())


def labels() -> list[dict[str, Any]]:
    """Each: set, sample, the text before, the word, the text after, and whether it should be swapped."""
    return [json.loads(line) for line in LABELS.read_text(encoding="utf-8").splitlines()]


def swapped(label: dict[str, Any]) -> bool:
    """Whether the rules swap the word of a label."""
    sides = find_sides(label["before"] + label["word"] + label["after"])
    return {word.start(): side for word, side in sides}.get(len(label["before"]), False)


def wilson(right: int, total: int) -> str:
    """A share and its 95 % interval (Wilson 1927)."""
    if total == 0:
        return "none"
    z, share = 1.96, right / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    return (
        f"{right} of {total} = {share:.3f} ({max(0.0, middle - half):.3f} to {min(1.0, middle + half):.3f})"
    )


def per_second(texts: list[str]) -> str:
    """The best of five runs, by processor time: others share the machine."""
    times = []
    for _ in range(5):
        start = time.process_time()
        for text in texts:
            swap_sides(text)
        times.append(time.process_time() - start)
    return f"{len(texts) / min(times):,.0f} per second"


def count(folder: Path) -> None:
    for name, file in SETS.items():
        texts = read(folder / file)
        with_sides = [text for text in texts if WORD.search(text)]
        without = [text for text in texts if not WORD.search(text)]
        verdicts = Counter(side for text in texts for _, side in find_sides(text))
        quoting = sum(quotation(text) is not None for text in texts)
        again = sum(swap_sides(swap_sides(text)) != text for text in texts)
        print(
            f"\n{name}: {len(texts)} captions, {len(with_sides)} with a side word, {quoting} with a quotation"
        )
        print(f"  side words: {verdicts.total()}, swapped {verdicts[True]}, left alone {verdicts[False]}")
        print(f"  not the same after two swaps: {again}")
        print(f"  with a side word {per_second(with_sides)}, without {per_second(without)}")
        for text in texts:
            for word, side in find_sides(text):
                if not side:
                    around = text[max(0, word.start() - 40) : word.end() + 25]
                    print(f"  left alone: {' '.join(around.split())!r}")


def compare() -> None:
    by_sample: dict[str, Counter[tuple[bool, bool]]] = {}
    for label in labels():
        name = label["set"] if label["set"] == "hand" else f"{label['set']}, {label['sample']}"
        for key in {name, label["sample"] if label["set"] == "hand" else name}:
            by_sample.setdefault(key, Counter())[label["should"], swapped(label)] += 1
    for name, counts in sorted(by_sample.items()):
        hits = counts[True, True]
        print(f"\nlabels, {name}: {counts.total()}")
        print(f"  precision {wilson(hits, hits + counts[False, True])}")
        print(f"  recall    {wilson(hits, hits + counts[True, False])}")


def tags(path: Path) -> None:
    """Every tag with a side word: `+` swapped, `-` left alone; names are never swapped."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = [(row[0], CATEGORIES[int(row[1])], int(row[2])) for row in csv.reader(file)]
    found = [row for row in rows if find_sides(row[0], tag=True)]
    print(f"\n{path.name}: {len(found)} tags with a side word, {min(r[2] for r in found)} posts or more each")
    for name, category, posts in sorted(found, key=lambda row: (row[1] in NAMES, -row[2])):
        side = any(side for _, side in find_sides(name, tag=True))
        print(
            f"  {'+' if side else '-'} {name} ({category}{', a name' if category in NAMES else ''}, {posts})"
        )


def sample(seed: int, number: int, folder: Path) -> None:
    for name, file in SETS.items():
        texts = read(folder / file)
        words = [(text, found) for text in texts for found in WORD.finditer(text)]
        print(f"{name}: {len(words)} side words")
        for text, found in random.Random(seed).sample(words, min(number, len(words))):
            before, after = (
                text[max(0, found.start() - 45) : found.start()],
                text[found.end() : found.end() + 40],
            )
            print(f"  {' '.join(before.split())} [{found.group()}] {' '.join(after.split())}")


def quotations(seed: int, number: int, folder: Path) -> None:
    for name, file in SETS.items():
        quoting = [(text, quote) for text in read(folder / file) if (quote := quotation(text)) is not None]
        print(f"{name}: {len(quoting)} captions with a quotation")
        for text, quote in random.Random(seed).sample(quoting, min(number, len(quoting))):
            start = text.index(quote)
            print(f"  {' '.join(text[max(0, start - 28) : start].split())} {quote}")


def main(arguments: list[str]) -> None:
    if arguments[:1] in (["--sample"], ["--quotations"]):
        draw = sample if arguments[0] == "--sample" else quotations
        draw(int(arguments[1]), int(arguments[2]), Path(arguments[3]) if len(arguments) > 3 else DATA)
        return
    folder = Path(arguments[0]) if arguments else DATA
    count(folder)
    compare()
    tags(folder / TAGS)


if __name__ == "__main__":
    main(sys.argv[1:])
