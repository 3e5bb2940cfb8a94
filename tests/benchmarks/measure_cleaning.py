"""Count the faults of real captions before and after `clean_captions`, and what else changed.

Usage: python tests/benchmarks/measure_cleaning.py [FOLDER OF CAPTIONS]

The counting uses plain patterns of its own, not the policy's rules, so that a fault the rules overlook still
counts.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections import Counter
from pathlib import Path

from captionkit import CleanCaptions

CAPTIONS = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "captions"
FAULTS = {
    "captions that open with a lead-in": re.compile(
        r"\A(?:(?:the|this) (?:image|picture|photo|scene)\b|in (?:the|this) (?:image|picture|photo)"
        r"|this is an? (?:image|picture))",
        re.I,
    ),
    "hedges": re.compile(
        r"\b(?:(?:appear|seem)s? to|it (?:seem|appear)s|possibly|perhaps|probably|likely|presumably"
        r"|seemingly|maybe"
        r"|(?:might|may|could) (?:be|have been))\b",
        re.I,
    ),
    "sentences about what is not there, style, mood": re.compile(
        r"(?:\A|(?<=[.!?] ))(?:there (?:is|are) no|the (?:image|picture) (?:does not|has no)|overall,"
        r"|the overall|in summary|the (?:style|quality|composition|mood|atmosphere) of)\b",
        re.I,
    ),
    "moods ('a sense of ...')": re.compile(r"\ba sense of\b", re.I),
    "'in the image', 'of the image'": re.compile(r"\b(?:in|of) (?:the|this) image\b", re.I),
}
QUOTED = re.compile(r'"[^"\n]{1,80}"|(?<![\w])\'[^\'\n]{1,80}\'(?!\w)')
NAME = re.compile(r"(?<=[a-z,] )[A-Z][\w-]+")


def sentences(text: str) -> list[str]:
    """A rough split, for counting only."""
    return re.split(r"(?<=[.!?])\s+", text)


def loops(text: str) -> int:
    """Sentences said before, and phrases said three times running."""
    said = [s.strip().lower() for s in sentences(text) if s.count(" ") >= 3]
    running = re.findall(r"\b([\w' ,-]{2,60}?)(?:[ ,]+\1\b){2,}", text)
    return len(said) - len(set(said)) + len(running)


def read(path: Path) -> list[str]:
    if path.suffix == ".jsonl":
        return [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]
    return list(json.loads(path.read_text(encoding="utf-8")).values())


def kept(pattern: re.Pattern[str], before: list[str], after: list[str]) -> str:
    """How many of the matches stand in the result as they stood, and how many left with a whole sentence."""
    total = lost = with_sentence = 0
    for old, new in zip(before, after, strict=True):
        missing = Counter(pattern.findall(old)) - Counter(m for m in pattern.findall(old) if m in new)
        total += len(pattern.findall(old))
        for match, number in missing.items():
            gone = [s for s in sentences(old) if match in s and s[-30:] not in new]
            lost += 0 if gone else number
            with_sentence += number if gone else 0
    return f"{total} in all, {with_sentence} left with a dropped sentence or clause, {lost} changed"


def main(folder: Path) -> None:
    policy = CleanCaptions()
    for path in sorted(folder.glob("*.json*")):
        before = read(path)
        start = time.perf_counter()
        after = [policy.clean(text) for text in before]
        seconds = time.perf_counter() - start
        print(f"\n{path.name}: {len(before)} captions, {len(before) / seconds:,.0f} per second")
        for name, pattern in FAULTS.items():
            counts = [sum(len(pattern.findall(text)) for text in texts) for texts in (before, after)]
            print(f"  {name}: {counts[0]} -> {counts[1]}")
        print(f"  repetitions: {sum(map(loops, before))} -> {sum(map(loops, after))}")
        words = [sum(len(text.split()) for text in texts) for texts in (before, after)]
        print(f"  words: {words[0]} -> {words[1]}; captions left empty: {sum(not text for text in after)}")
        print(f"  quotations: {kept(QUOTED, before, after)}")
        print(f"  capitals within sentences: {kept(NAME, before, after)}")
        print(f"  second cleaning changes: {sum(policy.clean(text) != text for text in after)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else CAPTIONS)
