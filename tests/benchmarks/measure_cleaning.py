"""Measure `clean_captions` on real captions.

python tests/benchmarks/measure_cleaning.py                 faults before and after, and what else changed
python tests/benchmarks/measure_cleaning.py --rules         how many texts every rule changes
python tests/benchmarks/measure_cleaning.py --speed         captions per second, and loops found, two ways
python tests/benchmarks/measure_cleaning.py --sample 1      200 changes by chance, as JSON lines, to be read
python tests/benchmarks/measure_cleaning.py --labels        how many of the changes read were right, by rule

`--captions FOLDER` names another folder of captions; `--half first|second` takes half of every file. The
faults are counted with plain patterns of their own, not the policy's rules, so that what the rules overlook
still counts.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from difflib import SequenceMatcher
from pathlib import Path

from captionkit.policies import CleanCaptions
from captionkit.prose.loops import cut_phrase_loops

CAPTIONS = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "captions"
LABELS = Path(__file__).with_name("cleaning_labels.jsonl")
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


def read(folder: Path, half: str | None) -> dict[str, list[str]]:
    """The captions of every file of a folder."""
    texts: dict[str, list[str]] = {}
    for path in sorted(folder.glob("*.json*")):
        if path.suffix == ".jsonl":
            found = [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]
        else:
            found = list(json.loads(path.read_text(encoding="utf-8")).values())
        middle = len(found) // 2
        texts[path.name] = found[:middle] if half == "first" else found[middle:] if half else found
    return texts


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


def tell_faults(texts: dict[str, list[str]]) -> None:
    """What is wrong with the captions before and after, and what else changed."""
    policy = CleanCaptions()
    for name, before in texts.items():
        after = [policy.clean(text) for text in before]
        changed = sum(a != b for a, b in zip(after, before, strict=True))
        print(f"\n{name}: {len(before)} captions, {changed} changed")
        for fault, pattern in FAULTS.items():
            counts = [sum(len(pattern.findall(text)) for text in part) for part in (before, after)]
            print(f"  {fault}: {counts[0]} -> {counts[1]}")
        print(f"  repetitions: {sum(map(loops, before))} -> {sum(map(loops, after))}")
        words = [sum(len(text.split()) for text in part) for part in (before, after)]
        print(f"  words: {words[0]} -> {words[1]}; captions left empty: {sum(not text for text in after)}")
        print(f"  quotations: {kept(QUOTED, before, after)}")
        print(f"  capitals within sentences: {kept(NAME, before, after)}")
        print(f"  second cleaning changes: {sum(policy.clean(text) != text for text in after)}")


def tell_rules(texts: dict[str, list[str]]) -> None:
    """How many texts of every file each rule changes, in its place among the others."""
    policy = CleanCaptions()
    touched = {
        name: Counter(rule for text in part for rule in {change.rule for change in policy.changes(text)})
        for name, part in texts.items()
    }
    print("".join(f"{name:>22}" for name in touched))
    for rule in policy.active_rules():
        print(
            "".join(f"{counts[rule.name]:22}" for counts in touched.values()), f" {rule.group}: {rule.name}"
        )


def per_second(work: Callable[[str], object], texts: list[str], runs: int = 5) -> float:
    """Texts per second of processor time, which other work on the machine disturbs least; the median."""
    seconds = []
    for _ in range(runs):
        start = time.process_time()
        for text in texts:
            work(text)
        seconds.append(time.process_time() - start)
    return len(texts) / statistics.median(seconds)


def longest_repeating_subsequence(text: str) -> int:
    """The widely copied way to find a loop, told anew: of the last 128 characters the longest repeating
    subsequence, by recursion with a table; above 70 the caption counts as failed."""
    end = text[-128:]
    table = [[-1] * (len(end) + 1) for _ in range(len(end) + 1)]

    def longest(i: int, j: int) -> int:
        if i >= len(end) or j >= len(end):
            return 0
        if table[i][j] == -1:
            same = end[i] == end[j] and i != j
            table[i][j] = 1 + longest(i + 1, j + 1) if same else max(longest(i, j + 1), longest(i + 1, j))
        return table[i][j]

    return longest(0, 0)


def tell_speed(texts: dict[str, list[str]]) -> None:
    """Captions per second: cleaning with a fresh memory each time, and looking for loops alone."""
    CleanCaptions().clean("The image shows a fox.")  # Compile the patterns.
    for name, part in texts.items():
        if len(part) < 100:
            continue
        fresh = [CleanCaptions() for _ in range(5)]
        for policy in fresh:
            policy.clean("A fox.")
        rates = sorted(per_second(policy.clean, part, runs=1) for policy in fresh)
        few = part[:: len(part) // 100][:100]
        ours, theirs = per_second(cut_phrase_loops, part), per_second(longest_repeating_subsequence, few, 3)
        print(f"{name}: cleaning {rates[2]:,.0f}/s; loops {ours:,.0f}/s, the copied finder {theirs:,.0f}/s")
    every = [text for part in texts.values() for text in part]
    found = [text for text in every if cut_phrase_loops(text) != text]
    also = [text for text in found if longest_repeating_subsequence(text) > 70]
    print(f"phrase loops: {len(found)} of {len(every)} texts; the copied finder sees {len(also)} of them")


def draw(texts: dict[str, list[str]], seed: int, number: int) -> list[dict[str, str]]:
    """Different changes by chance: up to five of every rule, the others as they come."""
    policy = CleanCaptions()
    by_rule: dict[str, dict[tuple[str, str], dict[str, str]]] = defaultdict(dict)
    for name, part in texts.items():
        for text in part:
            for change in policy.changes(text):
                before, after = around(change.before, change.after)
                told = {"rule": change.rule, "file": name, "before": before, "after": after}
                by_rule[change.rule].setdefault((before, after), told)
    chance = random.Random(seed)
    drawn: list[dict[str, str]] = []
    rest: list[dict[str, str]] = []
    for rule in sorted(by_rule):
        changes = list(by_rule[rule].values())
        chance.shuffle(changes)
        drawn += changes[:5]
        rest += changes[5:]
    return drawn + chance.sample(rest, max(0, min(number - len(drawn), len(rest))))


def around(before: str, after: str, room: int = 25) -> tuple[str, str]:
    """Two long texts with only some words around what differs."""
    old, new = before.split(" "), after.split(" ")
    if len(old) <= 60:
        return before, after
    same = SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()
    first = same[0].size if same[0].a == same[0].b == 0 else 0
    last = same[-2].size if len(same) > 1 and same[-2].a + same[-2].size == len(old) else 0
    if last and same[-2].b + same[-2].size != len(new):
        last = 0
    cut, end = max(0, first - room), max(0, last - room)
    return " ".join(old[cut : len(old) - end]), " ".join(new[cut : len(new) - end])


def tell_labels() -> None:
    """Of the changes that were read, how many were right."""
    rows = [json.loads(line) for line in LABELS.read_text(encoding="utf-8").splitlines()]
    for part in dict.fromkeys(row["round"] for row in rows):
        of_round = [row for row in rows if row["round"] == part]
        right = sum(row["right"] for row in of_round)
        print(f"\n{part}: {right} of {len(of_round)} right ({right / len(of_round):.1%})")
        for rule in dict.fromkeys(row["rule"] for row in of_round):
            marks = [row["right"] for row in of_round if row["rule"] == rule]
            print(f"  {rule}: {sum(marks)} of {len(marks)}")


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--captions", type=Path, default=CAPTIONS)
    parser.add_argument("--half", choices=["first", "second"])
    parser.add_argument("--rules", action="store_true")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--sample", type=int, metavar="SEED")
    parser.add_argument("--number", type=int, default=200)
    parser.add_argument("--labels", action="store_true")
    args = parser.parse_args()
    if args.labels:
        return tell_labels()
    texts = read(args.captions, args.half)
    if args.sample is not None:
        for change in draw(texts, args.sample, args.number):
            print(json.dumps(change, ensure_ascii=False))
    elif args.rules:
        tell_rules(texts)
    elif args.speed:
        tell_speed(texts)
    else:
        tell_faults(texts)
    return None


if __name__ == "__main__":
    main()
