"""Measure how long tags and prose are in tokens: the default of `match_length`.

python tests/benchmarks/measure_lengths.py
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from captionkit import parse_tags
from captionkit.render import estimate_tokens

DATA = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"


def _tags() -> Iterator[str]:
    """The tags of each of 75 posts of e621, as they are written."""
    for post in json.loads((DATA / "e621/posts.json").read_text("utf-8")):
        names = [name for category in post["tags"].values() for name in category]
        yield ", ".join(names).replace("_", " ")


def _prose() -> Iterator[str]:
    """2,000 captions by CogVLM."""
    for line in (DATA / "captions/cogvlm_2000.jsonl").read_text("utf-8").splitlines():
        yield json.loads(line)["text"]


def main() -> None:
    tags, prose = list(_tags()), list(_prose())
    num_tags = sum(len(parse_tags(text)) for text in tags)
    num_words = sum(len(text.split()) for text in prose)
    by_tag = sum(map(estimate_tokens, tags)) / num_tags
    by_word = sum(map(estimate_tokens, prose)) / num_words
    print(f"{len(tags)} posts: {num_tags / len(tags):.1f} tags each, {by_tag:.2f} tokens for each tag")
    print(
        f"{len(prose)} captions: {num_words / len(prose):.1f} words each, {by_word:.2f} tokens for each word"
    )
    print(f"as long in tokens: {by_word / by_tag:.2f} tags for each word")


if __name__ == "__main__":
    main()
