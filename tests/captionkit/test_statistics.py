"""Shares and frequencies of the recipe, apart from the laws: seeded, so each test passes always or never.

Each bound is at least 4.5 standard deviations wide. Had the seeds been drawn anew, one comparison would fail
by chance less than once in 100,000 times (two-sided normal tail at 4.5: 7e-6), all about 20 of them together
less than once in 5,000 times.
"""

from __future__ import annotations

from collections import Counter
from math import sqrt

import pytest

from captionkit import (
    Caption,
    CaptionPipeline,
    ChooseSource,
    Draws,
    DropImplied,
    DropTags,
    EmptyCaption,
    ImplicationGraph,
    Maybe,
    Prose,
    Record,
    ShuffleTags,
    Tag,
    preset,
)

pytestmark = pytest.mark.statistics
TAGS = tuple(Tag(f"tag {index}") for index in range(20))
RECORD = Record("a", TAGS, (Prose("A fox."), Prose("A dog.")))
TAGS_ONLY = Record("a", TAGS)
CAPTION = Caption.of(TAGS_ONLY)
NUM = 20_000


def close(successes: int, trials: int, p: float) -> bool:
    return abs(successes / trials - p) < 4.5 * sqrt(p * (1 - p) / trials)


@pytest.fixture(scope="module")
def sources() -> Counter[str]:
    pipeline = CaptionPipeline(steps=(EmptyCaption(), ChooseSource()))
    return Counter(pipeline.render(RECORD, draw=draw).source for draw in range(NUM))


@pytest.mark.parametrize(
    ("source", "share"),
    [
        ("empty", 0.1),
        ("tags", 0.63),
        ("caption", 0.18),
        ("both tags first", 0.045),
        ("both caption first", 0.045),
    ],
)
def test_shares_of_the_sources(sources: Counter[str], source: str, share: float) -> None:
    assert close(sources[source], NUM, share)


def test_every_caption_is_drawn_as_often_as_the_others() -> None:
    pipeline = CaptionPipeline(steps=(ChooseSource(tags=0.0, caption=1.0, both=0.0),))
    texts = Counter(pipeline.render(RECORD, epoch=epoch).text for epoch in range(4000))
    assert close(texts["A fox."], 4000, 0.5)


def short_prompt() -> Maybe:
    return next(step for step in preset("hyperfusion").steps if isinstance(step, Maybe))


def kept(maybe: Maybe, num: int) -> int:
    """How many tags stay, over `num` draws of a caption of 20."""
    return sum(len(maybe.apply(CAPTION, Draws(0, 0, draw, "a").child("x")).tags) for draw in range(num))


def test_retention_with_short_prompt_and_plain_dropout() -> None:
    # The tags of one caption share the draw of the event: the variance of its share of kept tags is that of
    # the event, 0.95 * 0.05 * 0.6**2, and that of 20 coins on either side of it.
    deviation = sqrt((0.95 * 0.05 * 0.6**2 + (0.95 * 0.85 * 0.15 + 0.05 * 0.25 * 0.75) / 20) / 4000)
    assert abs(kept(short_prompt(), 4000) / (4000 * 20) - 0.82) < 4.5 * deviation


def test_short_prompt_replaces_plain_dropout() -> None:
    # Stacked it would keep 0.8181 instead of 0.82 in all, too near to tell apart; so we look where it is.
    always = short_prompt().model_copy(update={"p": 1.0})
    assert close(kept(always, 2000), 2000 * 20, 0.25)
    assert not close(kept(always, 2000), 2000 * 20, 0.25 * 0.85)


def test_every_tag_is_dropped_as_often_as_the_others() -> None:
    pipeline = CaptionPipeline(steps=(DropTags(),))
    texts = [pipeline.render(TAGS_ONLY, draw=draw).text for draw in range(5000)]
    names = Counter(name for text in texts for name in text.split(", "))
    assert all(close(names[tag.name], 5000, 0.85) for tag in TAGS)


def test_one_coin_per_implied_tag() -> None:
    # Twelve kinds of circle all imply circle, which implies shape. A coin for each implication would leave
    # out almost every circle; a coin for each implied tag leaves out 0.40 of both.
    kinds = [f"circle {index}" for index in range(12)]
    graph = ImplicationGraph({**{kind: ["circle"] for kind in kinds}, "circle": ["shape"]})
    record = Record("a", tuple(map(Tag, [*kinds, "circle", "shape"])))
    pipeline = CaptionPipeline(steps=(DropImplied(implications=graph),))
    texts = [pipeline.render(record, draw=draw).text.split(", ") for draw in range(NUM)]
    # Both share the rate drawn for the caption, but each is one coin per caption: free from draw to draw.
    assert close(sum("circle" not in text for text in texts), NUM, 0.40)
    assert close(sum("shape" not in text for text in texts), NUM, 0.40)
    assert all(set(kinds) <= set(text) for text in texts)


def test_every_order_is_as_likely() -> None:
    pipeline = CaptionPipeline(steps=(ShuffleTags(),))
    record = Record("a", tuple(map(Tag, "abc")))
    orders = Counter(pipeline.render(record, draw=draw).text for draw in range(12_000))
    assert len(orders) == 6
    assert all(close(number, 12_000, 1 / 6) for number in orders.values())


def test_half_of_the_pictures_that_may_are_mirrored() -> None:
    pipeline = preset("hyperfusion")
    assert close(sum(pipeline.render(TAGS_ONLY, draw=draw).flip for draw in range(4000)), 4000, 0.5)


def test_steps_draw_independently() -> None:
    # The same coin for two steps would make these equal, or one the other's complement.
    one, other = (Draws(0, 0, 0, "a").child(f"drop_tags#{index}").randoms(NUM) for index in range(2))
    both = sum(a < 0.5 and b < 0.5 for a, b in zip(one, other, strict=True))
    assert close(both, NUM, 0.25)
