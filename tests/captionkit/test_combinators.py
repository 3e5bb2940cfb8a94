"""Conditions, categories and curricula: who is applied when, and to what."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionkit import (
    Caption,
    CaptionkitError,
    CaptionPipeline,
    Curve,
    Draws,
    Policy,
    Prose,
    RecipeError,
    Record,
    Tag,
    load_pipeline,
    parse_tags,
)
from captionkit.policies import (
    ByCategory,
    DropTags,
    EmptyCaption,
    MatchLength,
    Maybe,
    Schedule,
    Sequence,
    ShuffleTags,
    When,
)
from captionkit.policies.schedule import Phase
from captionkit.testing import captions

FOX = Record("1", parse_tags("fox, tree"), info={"rating": "s", "score": 12, "clean": True})
GONE = DropTags(rate=1.0, spare_important=False)
places = st.integers(-5, 60)
points = st.lists(
    st.tuples(st.integers(0, 50), st.floats(0.0, 1.0)),
    min_size=1,
    max_size=5,
    unique_by=lambda point: point[0],
).map(sorted)


def text(policy: Policy, epoch: int = 0, samples: int | None = None, record: Record = FOX) -> str:
    return CaptionPipeline(steps=(policy,)).render(record, epoch=epoch, samples=samples).text


@given(points, places)
def test_a_curve_stays_between_its_neighbours_and_is_flat_outside(
    points: list[tuple[int, float]], place: int
) -> None:
    for curve in (Curve(points=tuple(points)), Curve(points=tuple(points), shape="steps")):
        heights = [height for _, height in points]
        assert min(heights) - 1e-12 <= curve.at(place) <= max(heights) + 1e-12
        assert curve.at(points[0][0] - 1) == heights[0]
        assert curve.at(points[-1][0] + 1) == heights[-1]
        assert [curve.at(at) for at, _ in points] == pytest.approx(heights)


@given(points)
def test_a_curve_in_steps_holds_each_value_until_the_next_place(points: list[tuple[int, float]]) -> None:
    curve = Curve(points=tuple(points), shape="steps")
    for (start, height), (end, _) in pairwise(points):
        assert [curve.at(at) for at in range(start, end)] == [height] * (end - start)


def test_a_straight_line_is_straight() -> None:
    curve = Curve(points=((0, 1.0), (4, 0.0)))
    assert [curve.at(epoch) for epoch in range(6)] == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]


@given(captions(), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_a_higher_rate_leaves_out_more_of_the_same(caption: Caption, one: float, other: float) -> None:
    """What a curve changes is how often, not which."""
    draws = Draws(0, 0, 0, "r")
    low, high = sorted((one, other))
    kept_at_low = DropTags(rate=low).apply(caption, draws).tags
    assert set(DropTags(rate=high).apply(caption, draws).tags) <= set(kept_at_low)


def test_a_curve_follows_the_epoch_or_the_samples_whichever_it_says() -> None:
    by_epoch = DropTags(rate=Curve(points=((0, 1.0), (1, 0.0))))
    assert [text(by_epoch, epoch) for epoch in (0, 1)] == ["", "fox, tree"]
    by_samples = DropTags(rate=Curve(points=((0, 1.0), (100, 0.0)), over="samples"))
    assert [text(by_samples, 0, samples) for samples in (0, 100)] == ["", "fox, tree"]
    with pytest.raises(CaptionkitError, match=r"follows the samples seen, which nobody gave .*samples="):
        text(by_samples)


@pytest.mark.parametrize(
    ("rate", "says"),
    [
        ({"points": []}, "rate.points"),
        ({"points": [[0, 1.5]]}, "rate.*less than or equal to 1"),
        ({"points": [[5, 0.1], [5, 0.2]]}, "places must ascend: 5 comes after 5"),
        ({"points": [[0, 0.1]], "ovr": "epoch"}, "unknown key 'ovr'; did you mean 'over'"),
        (1.5, "rate.*less than or equal to 1, got 1.5"),
        ("0.5", "rate.*valid number, got '0.5'"),
        (True, "rate.*valid number, got True"),
    ],
)
def test_a_curve_that_is_none_says_where_and_why(rate: object, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        load_pipeline({"steps": [{"kind": "drop_tags", "rate": rate}]})


@pytest.mark.parametrize(
    ("facts", "holds"),
    [
        ({"rating": "s"}, True),
        ({"rating": ["q", "s"]}, True),
        ({"rating": ["q"]}, False),
        ({"score": {"min": 12}}, True),
        ({"score": {"min": 12.5}}, False),
        ({"score": {"max": 12}}, True),
        ({"score": {"min": 1, "max": 11}}, False),
        ({"score": 12}, True),
        ({"clean": True}, True),
        ({"clean": 1}, False),  # Equal to True in Python, and not to who wrote it.
        ({"clean": {"min": 0}}, False),
        ({"rating": {"min": 0}}, False),
        ({"missing": ["s"]}, False),
        ({"missing": {"max": 99}}, False),
        ({"rating": "s", "score": {"max": 3}}, False),
    ],
)
def test_when_looks_at_the_records_facts(facts: dict[str, object], holds: bool) -> None:
    pipeline = load_pipeline(
        {"steps": [{"kind": "when", "facts": facts, "then": {"kind": "drop_tags", "rate": 1.0}}]}
    )
    assert pipeline.render(FOX).text == ("" if holds else "fox, tree")


def test_when_asks_for_all_that_is_given() -> None:
    both = When(tags=("fox",), facts={"rating": ("q",)}, then=GONE)
    assert text(both) == "fox, tree"
    assert text(When(tags=("wolf",), then=GONE, otherwise=Sequence())) == "fox, tree"


@pytest.mark.parametrize(
    "bad", [{}, {"facts": {}}, {"facts": {"score": {}}}, {"facts": {"score": {"min": 3, "max": 1}}}]
)
def test_when_without_a_condition_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(RecipeError, match=r"no condition|no bound|runs backwards"):
        load_pipeline({"steps": [{"kind": "when", "then": {"kind": "sequence"}, **bad}]})


@given(captions())
def test_by_category_leaves_the_other_categories_in_their_places(caption: Caption) -> None:
    after = ByCategory(policies={"artist": ShuffleTags()}).apply(caption, Draws(0, 0, 0, "r"))
    assert [tag.category == "artist" for tag in after.tags] == [
        tag.category == "artist" for tag in caption.tags
    ]
    assert [t for t in after.tags if t.category != "artist"] == [
        t for t in caption.tags if t.category != "artist"
    ]
    assert set(after.tags) == set(caption.tags)
    assert (after.prose, after.source, after.info) == (caption.prose, caption.source, caption.info)


@given(captions())
def test_each_category_gets_its_own_policy(caption: Caption) -> None:
    policy = ByCategory(policies={"artist": GONE, "species": Sequence()}, otherwise=GONE)
    after = policy.apply(caption, Draws(0, 0, 0, "r"))
    assert after.tags == tuple(tag for tag in caption.tags if tag.category == "species")


def test_categories_draw_apart_even_where_a_name_looks_like_an_address() -> None:
    """A category called "a/then" must not draw what the inner step of category "a" draws."""
    tags = [Tag(f"tag {index}", category) for category in ("a", "a/then") for index in range(30)]
    tags = [Tag(f"{tag.name} {tag.category}", tag.category) for tag in tags]
    policy = ByCategory(policies={"a": Maybe(p=1.0, then=DropTags(rate=0.5)), "a/then": DropTags(rate=0.5)})
    after = policy.apply(Caption(tuple(tags)), Draws(0, 0, 0, "r"))
    kept = [{tag.name.split()[1] for tag in after.tags if tag.category == one} for one in ("a", "a/then")]
    assert kept[0] != kept[1]


def test_a_schedule_applies_the_phase_that_has_begun() -> None:
    phases = (Phase(start=2, then=GONE), Phase(start=4, then=Sequence()))
    assert [text(Schedule(phases=phases), epoch) for epoch in range(6)] == ["fox, tree"] * 2 + [""] * 2 + [
        "fox, tree"
    ] * 2
    by_samples = Schedule(phases=phases, over="samples")
    assert [text(by_samples, 0, samples) for samples in (1, 2, 3, 4)] == ["fox, tree", "", "", "fox, tree"]
    with pytest.raises(CaptionkitError, match="samples seen"):
        text(by_samples)


@pytest.mark.parametrize("phases", [[], [3, 3], [3, 2]])
def test_a_schedule_that_does_not_ascend_is_refused(phases: list[int]) -> None:
    step = {
        "kind": "schedule",
        "phases": [{"start": start, "then": {"kind": "sequence"}} for start in phases],
    }
    with pytest.raises(RecipeError, match=r"no phase|the starts must ascend"):
        load_pipeline({"steps": [step]})


def test_weights_may_be_curves_and_are_looked_up_anew_each_epoch() -> None:
    step = {
        "kind": "one_of",
        "choices": [{"kind": "empty_caption", "p": 1.0}, {"kind": "sequence"}],
        "weights": [{"points": [[0, 1.0], [1, 0.0]]}, {"points": [[0, 0.0], [1, 1.0]]}],
    }
    pipeline = load_pipeline({"steps": [step]})
    assert [pipeline.render(FOX, epoch=epoch).text for epoch in (0, 1)] == ["", "fox, tree"]


@pytest.mark.parametrize(
    ("weights", "refused"),
    [
        ([0.0, 0.0], True),
        ([0.0, {"points": [[0, 1.0], [5, 0.0]]}], True),
        ([{"points": [[0, 0.0], [5, 1.0]]}, {"points": [[0, 1.0], [5, 0.0]]}], False),
        ([{"points": [[0, 1.0], [5, 0.0]]}, {"points": [[9, 0.0], [12, 1.0]]}], True),
        ([{"points": [[0, 0.0], [5, 1.0]]}, {"points": [[0, 0.0], [5, 1.0]], "over": "samples"}], True),
        ([{"points": [[0, 0.0]]}, 0.1], False),
    ],
)
def test_weights_that_leave_nothing_to_draw_at_some_time_are_refused(
    weights: list[object], refused: bool
) -> None:
    step = {"kind": "one_of", "choices": [{"kind": "sequence"}, {"kind": "shuffle_tags"}], "weights": weights}
    if not refused:
        load_pipeline({"steps": [step]})
        return
    with pytest.raises(RecipeError, match="at least at some time"):
        load_pipeline({"steps": [step]})


def test_the_facts_survive_the_empty_caption() -> None:
    assert EmptyCaption(p=1.0).apply(Caption.of(FOX), Draws(0, 0, 0, "r")).fact("rating") == "s"


def test_by_category_without_a_category_is_refused() -> None:
    with pytest.raises(RecipeError, match="no category; give at least one"):
        load_pipeline({"steps": [{"kind": "by_category", "policies": {}}]})


def test_a_schedule_draws_at_the_address_of_its_phase_and_says_which_it_is() -> None:
    phases = (Phase(start=0, then=ShuffleTags()), Phase(start=2, then=DropTags(rate=0.5)))
    pipeline = CaptionPipeline(steps=(Schedule(phases=phases),))
    trace = pipeline.explain(FOX, epoch=2).trace
    assert [step.address for step in trace][1:] == ["schedule#0", "schedule#0/drop_tags#0"]
    assert trace[1].reason == "epoch 2: phase 2 of 2"


def test_two_phases_of_one_name_are_refused() -> None:
    step = {"kind": "sequence", "name": "mine"}
    phases = [{"start": 0, "then": step}, {"start": 1, "then": step}]
    with pytest.raises(RecipeError, match="two steps are named 'mine'"):
        load_pipeline({"steps": [{"kind": "schedule", "phases": phases}]})


def test_tags_that_fit_the_length_of_the_prose_all_stay() -> None:
    record = Record("1", parse_tags("fox, tree, snow"), (Prose("A fox sleeps under a tall tree."),))
    match = MatchLength(ratio=1.0, min_tags=0)
    assert len(match.apply(Caption.of(record), Draws(0, 0, 0, "r")).tags) == 3
    fewer = MatchLength(ratio=0.3, min_tags=0)  # Seven words: two tags.
    kept = [fewer.apply(Caption.of(record), Draws(0, 0, draw, "r")).tags for draw in range(9)]
    assert {len(tags) for tags in kept} == {2}
    important = Caption.of(record).with_important(frozenset({"snow"}))
    spared = [fewer.apply(important, Draws(0, 0, draw, "r")).tags for draw in range(9)]
    assert all("snow" in {tag.name for tag in tags} and len(tags) == 2 for tags in spared)
