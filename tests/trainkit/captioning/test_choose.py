"""Which pictures get a caption: monotone, independent of the order, and every tag has its share."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from captionkit import Prose, Record, Tag
from trainkit.captioning.choose import ChooseConfig, choice_of, choose
from trainkit.keys import key_of, mixed

TAGS = ("solo", "fox", "wolf", "snow", "day", "night", "red_fox", "rare thing")
Pictures = list[tuple[int, Record]]


_PICTURE = st.tuples(
    st.integers(0, 10_000), st.integers(0, 255), st.sampled_from([None, None, "human", "cogvlm"])
)


def made_of(row: int, mask: int, source: str | None) -> tuple[int, Record]:
    """A picture with the tags of a mask; rows are not their places in the list."""
    tags = tuple(Tag(tag) for bit, tag in enumerate(TAGS) if mask >> bit & 1)
    return row, Record(f"picture {row}", tags, () if source is None else (Prose("A fox.", source),))


def pictures() -> st.SearchStrategy[Pictures]:
    some = st.lists(_PICTURE, max_size=30, unique_by=lambda one: one[0])
    return some.map(lambda found: [made_of(*one) for one in found])


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    """Settings without share and count."""
    way = draw(st.sampled_from(["random", "stratified", "fewest tags"]))
    settings: dict[str, Any] = {"way": way, "seed": draw(st.integers(0, 3))}
    settings["skip"] = draw(st.sampled_from(["captioned", "captioned by a person", "nothing"]))
    settings["any"] = draw(st.sampled_from([[], [], ["fox", "*wolf*"]]))
    settings["none"] = draw(st.sampled_from([[], [], ["night"]]))
    if way == "stratified":
        settings["min_pictures"] = draw(st.integers(1, 6))
        settings["at_least"] = draw(st.integers(0, 4))
    return settings


SHARES = st.floats(0, 1)


@given(pictures(), configs(), SHARES, SHARES)
def test_a_larger_share_holds_the_smaller(
    some: Pictures, settings: dict[str, Any], a: float, b: float
) -> None:
    few, many = (choose(some, ChooseConfig(**settings, share=share)) for share in sorted((a, b)))
    assert set(few) <= set(many)


@given(pictures(), configs(), st.integers(1, 70), st.integers(1, 70))
def test_a_larger_count_holds_the_smaller(some: Pictures, settings: dict[str, Any], a: int, b: int) -> None:
    few, many = (choose(some, ChooseConfig(**settings, count=count)) for count in sorted((a, b)))
    assert set(few) <= set(many)
    choice = choice_of(some, ChooseConfig(**settings, count=a))
    assert len(choice.rows) == min(a, choice.left)


@given(pictures(), configs(), SHARES, st.randoms())
def test_the_order_does_not_count(
    some: Pictures, settings: dict[str, Any], share: float, order: random.Random
) -> None:
    config = ChooseConfig(**settings, share=share)
    mixed = list(some)
    order.shuffle(mixed)
    assert choose(mixed, config) == choose(some, config)


@given(pictures(), pictures(), SHARES, st.integers(0, 3))
def test_by_share_no_picture_minds_another(some: Pictures, others: Pictures, share: float, seed: int) -> None:
    config = ChooseConfig(share=share, seed=seed)
    rows = {row for row, _ in some}
    more = some + [(row, record) for row, record in others if row not in rows]
    assert [row for row in choose(more, config) if row in rows] == choose(some, config)


@given(pictures(), SHARES, st.integers(1, 5))
def test_every_tag_has_the_same_part_or_more(some: Pictures, share: float, min_pictures: int) -> None:
    config = ChooseConfig(way="stratified", share=share, min_pictures=min_pictures, skip="nothing")
    chosen = set(choose(some, config))
    assert len(chosen) == round(share * len(some))
    order = sorted(some, key=lambda one: int(mixed(np.array([key_of(one[1].id)], np.uint64), config.seed)[0]))
    strata = [[row for row, record in order if Tag(tag) in record.tags] for tag in TAGS]
    strata = [rows for rows in strata if len(rows) >= min_pictures]
    strata.append([row for row, _ in order if not any(row in rows for rows in strata)])

    def of_part(part: float) -> set[int]:
        return {row for rows in strata for i, row in enumerate(rows) if (i + 0.5) / len(rows) <= part}

    parts = sorted({(i + 0.5) / len(rows) for rows in strata for i in range(len(rows))})
    samples = [set[int](), *map(of_part, parts)]  # Each holds the one before it.
    lower = max((sample for sample in samples if len(sample) <= len(chosen)), key=len)
    upper = min((sample for sample in samples if len(sample) >= len(chosen)), key=len)
    assert lower <= chosen <= upper


@given(pictures(), SHARES, st.integers(1, 5), st.integers(1, 5))
def test_at_least_so_many_of_every_tag(
    some: Pictures, share: float, at_least: int, min_pictures: int
) -> None:
    settings: dict[str, Any] = {"at_least": at_least, "min_pictures": min_pictures, "skip": "nothing"}
    chosen = set(choose(some, ChooseConfig(way="stratified", share=share, **settings)))
    assert len(chosen) >= round(share * len(some))
    for tag in TAGS:
        having = {row for row, record in some if Tag(tag) in record.tags}
        if len(having) >= min_pictures:
            assert len(having & chosen) >= min(at_least, len(having))


@given(pictures(), configs())
def test_the_ends_and_the_filter(some: Pictures, settings: dict[str, Any]) -> None:
    everything = choice_of(some, ChooseConfig(**settings, share=1))
    assert len(everything.rows) == everything.left <= everything.seen == len(some)
    records = dict(some)
    for row in everything.rows:
        names = {tag.name for tag in records[row].tags}
        sources = {piece.source for piece in records[row].prose}
        assert not settings["any"] or names & {"fox", "wolf"}
        assert not settings["none"] or "night" not in names
        assert settings["skip"] == "nothing" or "human" not in sources
        assert settings["skip"] != "captioned" or not sources
    if settings.get("at_least", 0) == 0:
        assert choose(some, ChooseConfig(**settings, share=0)) == []


@given(pictures(), st.integers(1, 60))
def test_the_fewest_tags_come_first(some: Pictures, count: int) -> None:
    records = dict(some)
    chosen = set(choose(some, ChooseConfig(way="fewest tags", count=count, skip="nothing")))
    inside = [len(records[row].tags) for row in chosen]
    outside = [len(record.tags) for row, record in some if row not in chosen]
    assert not inside or not outside or max(inside) <= min(outside)


def test_what_the_run_wrote_itself_does_not_count() -> None:
    some = [
        (row, Record(str(row), (), (Prose("A fox.", "cogvlm" if row % 2 else "human"),))) for row in range(20)
    ]
    config = ChooseConfig(share=1)
    assert choose(some, config) == []
    assert choose(some, config, own="cogvlm") == list(range(1, 20, 2))


def test_the_recipe_captions_twelve_in_a_hundred() -> None:
    some = [(row, Record(f"picture {row}")) for row in range(10_000)]
    assert abs(len(choose(some, ChooseConfig())) - 1_200) < 200  # 6 standard deviations.
    assert (
        choose(some[:5], ChooseConfig(count=3)) == [0, 1, 2]
        or len(choose(some[:5], ChooseConfig(count=3))) == 3
    )


def test_the_rarest_tag_gets_nearly_as_much_as_the_commonest() -> None:
    generator = random.Random(0)
    frequent = [f"tag {index}" for index in range(200)]
    weights = [1 / (index + 1) for index in range(200)]
    some = []
    for row in range(4_000):
        tags = dict.fromkeys(generator.choices(frequent, weights, k=12))
        some.append((row, Record(f"picture {row}", tuple(Tag(tag) for tag in tags))))
    having = [{row for row, record in some if Tag(tag) in record.tags} for tag in frequent]

    def least(**settings: Any) -> float:
        chosen = set(choose(some, ChooseConfig(share=0.12, **settings)))
        return min(len(rows & chosen) / len(rows) for rows in having)

    assert least(way="random") < 0.05
    assert least(way="stratified") > 0.06
    assert len(choose(some, ChooseConfig(way="stratified", share=0.12))) == 480


def test_a_seed_of_its_own() -> None:
    some = [(row, Record(f"picture {row}")) for row in range(500)]
    one, other = (set(choose(some, ChooseConfig(share=0.5, seed=seed))) for seed in (0, 1))
    assert 60 < len(one & other) < 190  # By chance 125.


def test_settings_of_another_way_are_told() -> None:
    with pytest.raises(ValidationError, match='at_least only works with way = "stratified", way is "random"'):
        ChooseConfig(at_least=5)


def test_pictures_without_tags_are_a_stratum() -> None:
    some = [(row, Record(f"picture {row}", (Tag("fox"),) if row % 2 else ())) for row in range(1_000)]
    chosen = choose(some, ChooseConfig(way="stratified", share=0.1))
    assert sum(row % 2 == 0 for row in chosen) == 50
