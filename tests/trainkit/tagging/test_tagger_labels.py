"""What a tagger learns: which labels, and what is known of each picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionkit import ImplicationGraph, Record, Tag
from trainkit.errors import ConfigError
from trainkit.tagging.label import Label
from trainkit.tagging.labels import Census, LearnConfig, choose_labels, facts_of
from trainkit.tagging.outputs import Outputs, Temperatures
from trainkit.tagging.split import held_out, split_key
from trainkit.tagging.targets import Closing, Known, Targets

GRAPH = ImplicationGraph({"red fox": ["fox"], "fox": ["canine"], "wolf": ["canine"]})
NAMES = ("red fox", "fox", "canine", "wolf", "day", "night")
LABELS = Outputs(
    tuple(Label(name, None, "light" if name in ("day", "night") else None) for name in NAMES),
    implications=((0, 1), (0, 2), (1, 2), (3, 2)),
)


def closing() -> Closing:
    return Closing(LABELS, GRAPH, {})


def outputs_for(config: LearnConfig, *records: Record) -> Outputs:
    census = Census(facts_of(config), config.implications)
    for record in records:
        census.take(record)
    return choose_labels(config, census)


@given(st.text(min_size=1), st.integers(), st.floats(0, 0.9), st.floats(0, 0.9))
def test_a_larger_share_holds_out_more_pictures_and_never_others(
    id: str, seed: int, a: float, b: float
) -> None:
    low, high = sorted((a, b))
    assert held_out(id, share=high, seed=seed) or not held_out(id, share=low, seed=seed)
    assert not held_out(id, share=0.0, seed=seed)


def test_the_share_is_kept_and_one_picture_is_on_one_side() -> None:
    out = sum(held_out(str(i), share=0.2, seed=3) for i in range(10_000))
    assert abs(out - 2000) < 200  # Five standard deviations: a false alarm in 1.7 million.
    assert split_key("a", "digest") == split_key("b", "digest") != split_key("a")


def test_the_split_is_the_same_for_ever() -> None:
    assert [i for i in range(40) if held_out(str(i), share=0.1, seed=0)] == PINNED


PINNED = [21, 35]


@given(st.sets(st.sampled_from(NAMES)), st.dictionaries(st.sampled_from(NAMES), st.booleans()))
def test_what_is_known_is_closed_under_implications(tags: set[str], said: dict[str, bool]) -> None:
    known = closing().known(Record("1", tuple(map(Tag, sorted(tags)))), said.items())
    present, certain = ({NAMES[i] for i in places} for places in (known.present, known.certain))
    for tag, right in said.items():
        assert tag in certain
        assert (tag in present) is right
    for tag in NAMES:
        if tag not in said and GRAPH.implied_by(tag) & {t for t, right in said.items() if not right}:
            # Unless something that was said implies it, it went with what a person denied.
            above = any(right and tag in GRAPH.implied_by(t) for t, right in said.items())
            assert above or tag not in present
    if not said:
        assert present == tags | {t for tag in tags for t in GRAPH.implied_by(tag)}


def test_a_denied_tag_takes_those_that_imply_it_with_it() -> None:
    known = closing().known(Record("1", (Tag("Red_Fox"), Tag("day"))), [("fox", False)])
    assert {NAMES[i] for i in known.present} == {"canine", "day"}
    assert {NAMES[i] for i in known.certain} == {"fox", "red fox"}


def test_a_keyword_is_none_of_a_group_of_another_category() -> None:
    config = LearnConfig.model_validate({"groups": {"kind": {"category": "group"}}})
    records = [
        Record("1", (Tag("heart", "group"),)),
        Record("2", (Tag("face", "group"), Tag("heart", "keyword"))),
        Record("3", (Tag("heart"),)),
    ]
    outputs = outputs_for(config, *records)
    assert [(label.name, label.group) for label in outputs.labels] == [("face", "kind"), ("heart", "kind")]
    close = Closing(outputs, config.implications, {})
    assert [close.known(record).present for record in records] == [(1,), (0,), (1,)]


def test_categories_patterns_facts_and_counts() -> None:
    records = [
        Record(str(i), (Tag("fox", "species"), Tag(f"rare {i}", "species"), Tag("tail")), info={"rating": r})
        for i, r in enumerate(("safe", "safe", "explicit"))
    ]
    config = LearnConfig.model_validate(
        {
            "categories": ["species"],
            "patterns": ["t**"],
            "min_count": 2,
            "groups": {"rating": {"fact": "rating"}},
        }
    )
    outputs = outputs_for(config, *records)
    assert [label.name for label in outputs.labels] == ["safe", "explicit", "fox", "tail"]
    known = [Closing(outputs, config.implications, {"rating": "rating"}).known(r) for r in records]
    assert [one.present for one in known] == [(0, 2, 3), (0, 2, 3), (1, 2, 3)]
    targets = Targets.of(known, 4)
    assert targets.counts(np.arange(3)).tolist() == [2, 1, 3, 3]


@pytest.mark.parametrize(
    ("learn", "told"),
    [
        ({"tags": ["fax"]}, "learn.tags: no picture has 'fax'"),
        ({"groups": {"light": ["day", "dusk"]}}, "only 1 of its tags is on a picture"),
        ({"groups": {"a": ["fox", "day"], "b": ["fox", "tail"]}}, "'fox' is in a already"),
        ({"patterns": ["**"], "min_count": 9}, "lower it, or prepare more"),
    ],
)
def test_what_cannot_be_learned_is_told(learn: dict[str, object], told: str) -> None:
    record = Record("1", (Tag("fox"), Tag("day"), Tag("tail")))
    with pytest.raises(ConfigError, match=told.replace("(", r"\(")):
        outputs_for(LearnConfig.model_validate(learn), record)


@given(st.lists(st.lists(st.floats(-30, 30), min_size=7, max_size=7), max_size=4), st.floats(0.1, 10))
def test_probabilities_respect_implications_and_groups(logits: list[list[float]], t: float) -> None:
    outputs = Outputs(LABELS.labels, ("light",), LABELS.implications)
    array = np.array(logits, np.float32).reshape(-1, 7)
    scores = outputs.probabilities(array, Temperatures(t, {"light": t}))
    assert scores.shape == (len(array), 6)
    assert ((scores >= 0) & (scores <= 1)).all()
    for implying, implied in outputs.implications:
        assert (scores[:, implied] >= scores[:, implying]).all()
    assert (scores[:, 4:].sum(axis=1) <= 1 + 1e-5).all()  # What is missing is "none of them".


@given(st.lists(st.sets(st.integers(0, 3))), st.sets(st.integers(0, 3)))
def test_pictures_with_several_tags_of_a_group_are_counted(pictures: list[set[int]], group: set[int]) -> None:
    targets = Targets.of([Known(tuple(sorted(one))) for one in pictures], 4)
    assert targets.several(np.array(sorted(group), np.int64)) == sum(len(one & group) > 1 for one in pictures)
