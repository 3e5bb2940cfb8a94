"""Shares and frequencies of the recipe, apart from the laws: seeded, so each test passes always or never.

Each bound is at least 4.5 standard deviations wide. Had the seeds been drawn anew, one comparison would fail
by chance less than once in 100,000 times (two-sided normal tail at 4.5: 7e-6), all about 60 of them together
less than once in 2,000 times.
"""

from __future__ import annotations

from collections import Counter
from math import sqrt

import pytest

from captionkit import (
    Caption,
    CaptionPipeline,
    Draws,
    ImplicationGraph,
    Prose,
    Record,
    Rendered,
    Tag,
    preset,
)
from captionkit.policies import ChooseSource, DropImplied, DropTags, Maybe, ShuffleTags

pytestmark = pytest.mark.statistics
TAGS = tuple(Tag(f"tag {index}") for index in range(20))
RECORD = Record("a", TAGS, (Prose("A fox."), Prose("A dog.")))
TAGS_ONLY = Record("a", TAGS)
CAPTION = Caption.of(TAGS_ONLY)
NUM = 20_000


def close(successes: int, trials: int, p: float) -> bool:
    return abs(successes / trials - p) < 4.5 * sqrt(p * (1 - p) / trials)


@pytest.fixture(scope="module")
def drawn() -> tuple[Rendered, ...]:
    """The preset as it is, on a record that has everything, over the repeats of one epoch."""
    return preset("hyperfusion").render_many(RECORD, NUM)


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
def test_shares_of_the_sources(drawn: tuple[Rendered, ...], source: str, share: float) -> None:
    assert close(sum(rendered.source == source for rendered in drawn), NUM, share)


def test_both_together_are_nine_in_a_hundred_and_empty_is_empty(drawn: tuple[Rendered, ...]) -> None:
    assert close(sum(rendered.source.startswith("both") for rendered in drawn), NUM, 0.09)
    assert {rendered.text for rendered in drawn if rendered.source == "empty"} == {""}


def test_shares_of_a_record_without_captions() -> None:
    """Shared out anew: what is not empty is tags, so 0.9 of all."""
    sources = Counter(rendered.source for rendered in preset("hyperfusion").render_many(TAGS_ONLY, NUM))
    assert set(sources) == {"empty", "tags"}
    assert close(sources["empty"], NUM, 0.1)


def test_the_mean_share_of_tags_that_stay_is_82_in_100(drawn: tuple[Rendered, ...]) -> None:
    # The tags of one caption share the draw of the event: the variance of its share of kept tags is that of
    # the event, 0.95 * 0.05 * 0.6**2, and that of 20 coins on either side of it.
    texts = [rendered.text for rendered in drawn if rendered.source == "tags"]
    deviation = sqrt((0.95 * 0.05 * 0.6**2 + (0.95 * 0.85 * 0.15 + 0.05 * 0.25 * 0.75) / 20) / len(texts))
    kept = sum(len(text.split(", ")) if text else 0 for text in texts) / (20 * len(texts))
    assert abs(kept - 0.82) < 4.5 * deviation
    assert 4.5 * deviation < 0.01  # 0.85 without the short prompt, and 0.79 with one of 0.1, lie outside.


def test_the_short_prompt_comes_once_in_twenty() -> None:
    pipeline = preset("hyperfusion")
    told = [pipeline.explain(TAGS_ONLY, draw=draw).trace for draw in range(4000)]
    events = [step for trace in told for step in trace if step.address.startswith("short prompt/")]
    assert len(events) == 4000
    assert close(sum(step.address == "short prompt/then" for step in events), 4000, 0.05)


def test_implied_tags_leave_at_a_rate_within_its_range() -> None:
    """2,000 implied tags in one caption show its rate to 0.05 (4.5 standard deviations of 2,000 coins)."""
    names = [f"implied {index}" for index in range(2000)]
    pipeline = preset("hyperfusion", important=["all"], implications={"all": names})
    step = next(step for step in pipeline.steps if step.kind == "drop_implied")
    caption = Caption(tuple(map(Tag, ["all", *names])), important=frozenset({"all"}))
    shares = [
        1 - (len(step.apply(caption, Draws(0, 0, draw, "a").child("x")).tags) - 1) / 2000
        for draw in range(NUM // 40)
    ]
    assert all(0.25 < share < 0.55 for share in shares)
    # The rate is one number per caption, flat from 0.3 to 0.5: variance 0.2**2 / 12, and that of the coins.
    variance = 0.2**2 / 12 + (0.24 - 0.2**2 / 12) / 2000
    mean = sum(shares) / len(shares)
    assert abs(mean - 0.4) < 4.5 * sqrt(variance / len(shares))
    realised = sum((share - mean) ** 2 for share in shares) / len(shares)
    # A variance of n values of a flat distribution scatters by its size times sqrt(0.8 / n).
    assert abs(realised / variance - 1) < 4.5 * sqrt(0.8 / len(shares))


def test_every_caption_is_drawn_as_often_as_the_others() -> None:
    pipeline = CaptionPipeline(steps=(ChooseSource(tags=0.0, caption=1.0, both=0.0),))
    texts = Counter(pipeline.render(RECORD, epoch=epoch).text for epoch in range(4000))
    assert close(texts["A fox."], 4000, 0.5)


def test_short_prompt_replaces_plain_dropout() -> None:
    # Stacked it would keep 0.8181 instead of 0.82 in all, too near to tell apart; so we look where it is.
    short = next(step for step in preset("hyperfusion").steps if isinstance(step, Maybe))
    always = short.model_copy(update={"p": 1.0})
    draws = [Draws(0, 0, draw, "a").child("x") for draw in range(2000)]
    kept = sum(len(always.apply(CAPTION, each).tags) for each in draws)
    assert close(kept, 2000 * 20, 0.25)
    assert not close(kept, 2000 * 20, 0.25 * 0.85)


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
