"""What choosing, the gate and agreement do on real captions, and how long choosing takes.

Usage: python tests/benchmarks/measure_captions.py --choose [PICTURES] | --gate | --agreement

The captions are those of ``shared/data/captions`` beside the checkout: 2,000 by CogVLM, 590 by LLaVA-Next, 3
quoted in issues.
"""

from __future__ import annotations

import json
import random
import re
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from captionkit import Record, Tag, clean
from captionkit.prose.agreement import denied_tags
from captionkit.prose.sentences import split_sentences
from trainkit.captioning.choose import ChooseConfig, choice_of
from trainkit.captioning.gate import Gate, GateConfig

CAPTIONS = Path(__file__).resolve().parents[3] / "shared" / "data"
_COLOURS = {"red": "blue", "blue": "red", "green": "red", "white": "red", "black": "yellow", "yellow": "blue"}


def real() -> dict[str, list[str]]:
    """The texts by model."""
    folder = CAPTIONS / "captions"
    lines = {
        name: (folder / f"cogvlm_{name}.jsonl").read_text("utf-8").splitlines() for name in ("2000", "quotes")
    }
    return {
        "CogVLM": [json.loads(line)["text"] for line in lines["2000"]],
        "LLaVA-Next": list(json.loads((folder / "llava_next_590.json").read_text("utf-8")).values()),
        "quoted in issues": [json.loads(line)["text"] for line in lines["quotes"]],
    }


def choosing(count: int) -> None:
    """Pictures with 30 tags of 20,000, by Zipf's law: seconds, memory, and how many are chosen."""
    names = [Tag(f"tag {index}") for index in range(20_000)]
    weights = [1 / (index + 1) for index in range(len(names))]
    cumulated = [sum(weights[: index + 1]) for index in range(100)]
    for weight in weights[100:]:
        cumulated.append(cumulated[-1] + weight)

    def pictures() -> Iterator[tuple[int, Record]]:
        generator = random.Random(0)
        for row in range(count):
            tags = dict.fromkeys(generator.choices(names, cum_weights=cumulated, k=30))
            yield row, Record(f"picture {row}", tuple(tags))

    started = time.process_time()
    for _ in pictures():
        pass
    making = time.process_time() - started
    for settings in (
        {},
        {"way": "fewest tags"},
        {"way": "stratified"},
        {"way": "stratified", "at_least": 10},
    ):
        started = time.process_time()
        choice = choice_of(pictures(), ChooseConfig.model_validate({"share": 0.12, **settings}))
        seconds = time.process_time() - started - making
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        share = len(choice.rows) / count
        print(f"{settings}: {100 * share:.2f} % chosen, {seconds:.1f} s, peak {peak:,.0f} MiB of the process")
        rows, having, chosen = set(choice.rows), Counter[str](), Counter[str]()
        for row, record in pictures():
            having.update(tag.name for tag in record.tags)
            chosen.update(tag.name for tag in record.tags if row in rows)
        parts = sorted(chosen[tag] / num for tag, num in having.items() if num >= 20)
        print(f"  of {len(parts):,} tags: the least {parts[0]:.3f}, 1 % below {parts[len(parts) // 100]:.3f}")


def gate() -> None:
    """How often real captions are refused, raw and cleaned, and sentences of them alone."""
    judge = Gate(GateConfig(), prompts=["Describe the picture in detail."]).judge
    for name, texts in real().items():
        pieces = [sentence for text in texts for sentence in split_sentences(clean(text))]
        rows = {
            "as they are": [judge(text) for text in texts],
            "cleaned": [judge(clean(text), raw=text) for text in texts],
            "sentences of the cleaned": [judge(piece) for piece in dict.fromkeys(pieces)],
        }
        for what, found in rows.items():
            faults = Counter(fault for one in found for fault in one)
            print(f"{name}, {what}: {sum(map(bool, found))} of {len(found):,} refused {dict(faults)}")
    lines = (CAPTIONS / "emoji" / "metadata.jsonl").read_text("utf-8").splitlines()
    names = [str(json.loads(line)["caption"]) for line in lines]
    long = [name for name in names if len(name.split()) >= 3]
    refused = sum(bool(judge(name)) for name in long)
    print(f"emoji, names of three words and more: {refused} of {len(long)} refused")


def agreement() -> None:
    """What captions deny of tags made of their own words; and of tags whose colour was changed."""
    for name, texts in real().items():
        negated: Counter[tuple[str, str]] = Counter()
        others: list[str] = []
        coloured = changed = found = 0
        for text in texts:
            words = re.findall(r"[a-z]+", text.lower())
            tags = {" ".join(words[at : at + size]) for size in (1, 2, 3) for at in range(len(words))}
            for denial in denied_tags(text, sorted(tags)):
                if denial.how == "negated":
                    negated[(denial.tag, denial.words)] += 1
                else:
                    others.append(f"{denial.tag}: {denial.words}")
            pairs = {pair for pair in pairwise(words) if pair[0] in _COLOURS}
            for colour, thing in sorted(pairs):
                coloured += 1
                other = f"{_COLOURS[colour]} {thing}"
                if other not in tags:
                    changed += 1
                    found += bool(denied_tags(text, [other]))
        print(f"{name}: {sum(negated.values())} negated in {len(texts):,} captions, {len(negated)} different")
        print(
            f"  of {coloured} colours of things denied: {others}; of {changed} changed colours found: {found}"
        )
        if "--list" in sys.argv:
            for (tag, words_), count in negated.most_common():
                print(f"    {count:4} {tag!r}: {words_}")


if __name__ == "__main__":
    if "--choose" in sys.argv:
        choosing(int(next((word for word in sys.argv if word.isdecimal()), "300000")))
    elif "--gate" in sys.argv:
        gate()
    elif "--agreement" in sys.argv:
        agreement()
    else:
        print(__doc__)
