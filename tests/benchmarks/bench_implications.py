"""How fast implications are read, looked up and dropped, and how much memory a count of correlations takes.

Usage: python tests/benchmarks/bench_implications.py [FOLDER]

FOLDER holds e621's implications, aliases, list of tags and posts as the tests have them; by default it is the
folder of real data beside the checkout. A benchmark, not a test: times depend on the machine. They are
seconds of this process, so that what else the machine does counts little; the median of five rounds, after
one that is not counted.
"""

from __future__ import annotations

import json
import random
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from time import process_time

from captionkit import Caption, Draws, ImplicationGraph, Policy, Record, Tag, read_implications
from captionkit.cooccurrence import count_correlations
from captionkit.correlations import Correlations
from captionkit.implications import ImplicationSource
from captionkit.implications import field as reading
from captionkit.implications.audit import audit
from captionkit.implications.build import build_implications
from captionkit.policies import DropImplied
from captionkit.policies.correlated import DropCorrelated
from captionkit.record import _folded

REAL_DATA = Path(__file__).resolve().parents[2] / ".." / "shared/data/e621"
ROUNDS = 5
REPEATS = 40


def seconds(work: Callable[[], object]) -> float:
    """The median of five rounds."""
    work()
    taken = []
    for _ in range(ROUNDS):
        start = process_time()
        work()
        taken.append(process_time() - start)
    return median(taken)


def say(what: str, taken: float, count: int | None = None) -> None:
    """One line: seconds, or how many in a second."""
    print(f"{what:<58}{f'{taken:8.3f} s' if count is None else f'{count / taken:12,.0f} /s'}")


def bench_reading(folder: Path) -> ImplicationGraph:
    """Reading from nothing: no file and no spelling is remembered from round to round."""
    file = folder / "tag_implications-2025-06-30.csv.gz"

    def read() -> ImplicationGraph:
        reading._read.cache_clear()
        _folded.clear()
        return read_implications(file)

    say("read e621's implications and close them", seconds(read))
    source = ImplicationSource(
        file=file,
        aliases=folder / "tag_aliases-2025-05-01.csv.gz",
        tags=folder / "tags-2026-04-01.csv.gz",
        min_posts=2000,
    )
    say("the same with aliases and at least 2,000 posts", seconds(lambda: build_implications(source)))
    return read()


def bench_posts(graph: ImplicationGraph, posts: list[Record]) -> None:
    """The real posts, again and again."""
    captions = [(Caption.of(post), Draws(0, 0, 0, post.id)) for post in posts]
    count = REPEATS * len(posts)

    def look_up() -> None:
        for _ in range(REPEATS):
            for post in posts:
                graph.implied_among(post.tags)

    say("implied tags of a real post", seconds(look_up), count)
    policies: dict[str, Policy] = {
        "drop_implied on a real post": DropImplied(implications=graph),
        'drop_implied "by depth"': DropImplied(implications=graph, rate_range="by depth"),
        "drop_correlated without a trigger": DropCorrelated(correlations=Correlations({"nobody": ["hat"]})),
        "drop_correlated, mammal and anthro as triggers": DropCorrelated(
            correlations=Correlations({"mammal": ["fur", "hi_res"], "anthro": ["clothing", "solo"]})
        ),
    }
    for name, policy in policies.items():

        def apply(policy: Policy = policy) -> None:
            for _ in range(REPEATS):
                for caption, draws in captions:
                    policy.apply(caption, draws)

        say(name, seconds(apply), count)
    many = posts * REPEATS
    say("report: real posts held against the implications", seconds(lambda: audit(graph, many)), count)


class Drawn:
    """Records of 40 tags: a character with ten tags of its own, of which nine nearly always come with it."""

    def __init__(self, num: int, characters: int) -> None:
        self.num, self.characters = num, characters

    def __len__(self) -> int:
        return self.num

    def __iter__(self) -> Iterator[Record]:
        drawn = random.Random(1)
        others = [Tag(f"tag {n}", "general") for n in range(20_000)]
        for number in range(self.num):
            who = int(self.characters * drawn.random() ** 2)  # Few are frequent.
            own = [Tag(f"look {who} {n}", "general") for n in range(10) if drawn.random() < 0.95]
            yield Record(str(number), (Tag(f"person {who}", "character"), *own, *drawn.sample(others, 29)))


def bench_counting() -> None:
    """Records a second, and what is in memory at the most, for more and more records."""
    start = process_time()
    for _ in Drawn(5_000, 500):
        pass
    making = (process_time() - start) / 5_000
    for num in (20_000, 80_000):
        data = Drawn(num, num // 100)
        start = process_time()
        found = count_correlations(data)
        taken = process_time() - start - 2 * num * making
        tracemalloc.start()
        count_correlations(data)
        peak = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        say(f"correlations of {num:,} records ({len(found.companions):,} found, {peak:.0f} MiB)", taken, num)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else REAL_DATA
    if folder.is_dir():
        graph = bench_reading(folder)
        posts = [
            Record(
                str(post["id"]),
                tuple(Tag(name, kind) for kind, names in post["tags"].items() for name in names),
            )
            for post in json.loads((folder / "posts.json").read_text(encoding="utf-8"))
        ]
        bench_posts(graph, posts)
    else:
        print(f"no folder {folder}: the figures of the real data are left out")
    bench_counting()


if __name__ == "__main__":
    main()
