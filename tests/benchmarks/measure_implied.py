"""What share of the implied tags of real posts leaves at each kind of rate, and what "by depth" is made of.

Usage: python tests/benchmarks/measure_implied.py [FOLDER]

FOLDER holds e621's implications and posts as the tests have them; by default it is the folder of real data
beside the checkout.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import mean

from captionkit import Caption, Draws, ImplicationGraph, Record, Tag, read_implications
from captionkit.policies import DropImplied
from captionkit.record import fold

REAL_DATA = Path(__file__).resolve().parents[2] / ".." / "shared/data/e621"
DRAWS = 20


def share_left_out(policy: DropImplied, posts: list[Record]) -> float:
    """Of all tags that another tag of their post implies, over 20 draws of each post."""
    num_implied = num_gone = 0
    for post in posts:
        caption = Caption.of(post)
        implied = policy.implications.implied_among(caption.tags)
        num_implied += DRAWS * sum(fold(tag.name) in implied for tag in caption.tags)
        for draw in range(DRAWS):
            num_gone += len(caption.tags) - len(policy.apply(caption, Draws(0, 0, draw, post.id)).tags)
    return num_gone / num_implied


def average_depths(graph: ImplicationGraph) -> dict[str, float]:
    """For each implied tag the mean number of steps from the tags that imply it, each by its shortest way."""
    below: dict[str, list[str]] = {}
    for name, others in graph.edges().items():
        for other in others:
            below.setdefault(other, []).append(name)
    averages = {}
    for start in below:
        steps = {start: 0}
        for name in (ahead := [start]):
            for special in below.get(name, ()):
                if special not in steps:
                    steps[special] = steps[name] + 1
                    ahead.append(special)
        averages[start] = mean([number for name, number in steps.items() if name != start])
    return averages


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else REAL_DATA
    graph = read_implications(folder / "tag_implications-2025-06-30.csv.gz")
    posts = [
        Record(
            str(post["id"]), tuple(Tag(name, kind) for kind, names in post["tags"].items() for name in names)
        )
        for post in json.loads((folder / "posts.json").read_text(encoding="utf-8"))
    ]
    plain = DropImplied(implications=graph, rate_range=(0.3, 0.5))
    print(f"0.3 to 0.5: {share_left_out(plain, posts):.3f} of the implied tags leave")
    by_depth = DropImplied(implications=graph, rate_range="by depth")
    print(f"by depth:   {share_left_out(by_depth, posts):.3f}")
    averages = average_depths(graph)
    lower = sum(
        averages[other] < averages.get(name, 0.0)
        for name, others in graph.edges().items()
        for other in others
    )
    print(f"by average depth, {lower} of {graph.num_edges:,} implications would have the lower rate above")


if __name__ == "__main__":
    main()
