"""What a tagger gives back of tags that were taken away, on pictures that had no part in its training.

Usage: python tests/benchmarks/measure_tagger.py split RECORDS ROOT CATEGORY [CATEGORY ...]
       PYTHONPATH=. python tests/benchmarks/measure_tagger.py judge TEST BARE NAME CATEGORY

``split`` writes beside RECORDS (JSON Lines, each with "file" and "tags" by category): train.jsonl, test.jsonl
with a fifth of them, and bare.jsonl, which is test.jsonl without the tags of the categories. Records of one
picture are on one side.

``judge`` compares two prepared folders: TEST, and BARE after ``trainkit tagger apply`` of the tagger NAME.
For the category it says how many tags came back, and how many of those that came are right.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path


def split(records: str, root: str, *categories: str) -> None:
    """Put a fifth of the records aside."""
    train, test, bare = [], [], []
    for line in Path(records).read_text("utf-8").splitlines():
        record = json.loads(line)
        picture = Path(root, record["file"]).read_bytes()
        if hashlib.blake2b(picture, digest_size=8).digest()[0] >= 256 / 5:
            train.append(line)
            continue
        test.append(line)
        for category in categories:
            record["tags"].pop(category, None)
        bare.append(json.dumps(record))
    for name, lines in (("train", train), ("test", test), ("bare", bare)):
        Path(records).with_name(f"{name}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    print(f"{len(train)} records to train with, {len(test)} to test")


def judge(test: str, bare: str, name: str, category: str) -> None:
    """Count what came back."""
    from captionkit.record import fold
    from trainkit.manifest_pictures import ManifestPictures

    truth, given = (ManifestPictures.open(Path(folder)) for folder in (test, bare))
    true = {}
    for row in range(len(truth)):
        record = truth.record(row)
        if tags := {fold(tag.name) for tag in record.tags if tag.category == category}:
            true[record.id] = tags
    right = wrong = 0
    for row in range(len(given)):
        record = given.record(row)
        for tag in record.tags if record.id in true else ():
            if tag.source == name and tag.category == category:
                right += fold(tag.name) in true[record.id]
                wrong += fold(tag.name) not in true[record.id]
    whole = sum(map(len, true.values()))
    print(
        f"{category}: {right} of {whole} tags came back ({right / whole:.1%}), {wrong} wrong ones with them "
        f"({right / max(right + wrong, 1):.1%} right)"
    )


if __name__ == "__main__":
    if sys.argv[1] == "split":
        split(*sys.argv[2:])
    else:
        judge(*sys.argv[2:])
