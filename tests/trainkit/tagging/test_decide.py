"""The laws of what a picture gets: a pure function of scores, record, thresholds and a person's word."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from captionkit import ImplicationGraph, Record, Tag
from captionkit.record import fold
from trainkit.tagging.corrections import Correction, Corrections
from trainkit.tagging.decide import NEVER, PEOPLE, Decision, Implied, Rules, decide
from trainkit.tagging.label import Label

_LABELS = (
    Label("day", "general", "light"),
    Label("night", "general", "light"),
    Label("dusk", "general", "light"),
    Label("red fox", "species"),
    Label("fox", "species"),
    Label("canine", "species"),
    Label("solo", "general"),
    Label("1girl", "general", "count"),
    Label("2girls", "general", "count"),
    Label("girl"),
    Label("^_^"),
)
_GRAPH = ImplicationGraph(
    {
        "red_fox": ["fox"],
        "fox": ["canine"],
        "1girl": ["girl"],
        "2girls": ["girl"],
        "sun": ["day"],
        "^_^": ["1girl"],
    }
)
_NAMES = [label.name for label in _LABELS]

_scores = st.lists(st.integers(0, 8), min_size=len(_LABELS), max_size=len(_LABELS)).map(
    lambda tenths: np.array(tenths, np.float32) / 8
)
_thresholds = st.lists(
    st.sampled_from([0.125, 0.25, 0.5, 0.75, 1.0, float(NEVER)]), min_size=len(_LABELS), max_size=len(_LABELS)
).map(lambda values: np.array(values, np.float32))


def _spelled(name: str, how: int) -> str:
    return (name, name.replace(" ", "_"), name.upper())[how]


_tags = st.builds(
    lambda name, how, source: Tag(_spelled(name, how), None, source),
    st.sampled_from([*_NAMES, "outside"]),
    st.integers(0, 2),
    st.sampled_from([None, "human", "other", "mine"]),
)
_records = st.builds(lambda tags: Record("p", tuple(tags)), st.lists(_tags, max_size=5))
_corrections = st.lists(
    st.builds(
        lambda name, how, right: Correction("p", _spelled(name, how), right),
        st.sampled_from(_NAMES),
        st.integers(0, 2),
        st.booleans(),
    ),
    max_size=3,
).map(Corrections)
_implied: st.SearchStrategy[Implied] = st.sampled_from(["written", "left out"])


def _rules(thresholds: np.ndarray, implied: Implied = "written") -> Rules:
    return Rules("mine", _LABELS, thresholds, implications=_GRAPH, implied=implied)


def _merged(record: Record, decision: Decision, corrections: Corrections) -> list[Tag]:
    """The record afterwards, as `merge_additions` makes it."""
    kept = [
        tag for tag in record.tags if tag.source != "mine" and corrections.get("p", tag.name) is not False
    ]
    there = {fold(tag.name) for tag in kept}
    right = [Tag(c.tag, None, "human") for c in corrections.of("p") if c.right and fold(c.tag) not in there]
    return [*kept, *right, *decision.tags]


@given(_scores, _thresholds, _records, _corrections, _implied)
def test_nothing_is_said_twice_nor_against_a_person(
    scores: np.ndarray, thresholds: np.ndarray, record: Record, corrections: Corrections, implied: Implied
) -> None:
    decision = decide(scores, record, _rules(thresholds, implied), corrections)
    added = [fold(tag.name) for tag in decision.tags]
    others = {fold(tag.name) for tag in record.tags if tag.source != "mine"}
    wrong = {fold(c.tag) for c in corrections.of("p") if not c.right}
    right = {fold(c.tag) for c in corrections.of("p") if c.right}
    assert len(set(added)) == len(added)
    assert not (others | right | wrong) & {*added}
    for name in added:
        assert not wrong & _GRAPH.implied_by(name), "what implies a wrong tag is wrong, too"
    assert all(tag.source == "mine" and tag.score is not None for tag in decision.tags)


@given(_scores, _thresholds, _records, _corrections, _implied)
def test_a_group_never_gets_a_second_tag(
    scores: np.ndarray, thresholds: np.ndarray, record: Record, corrections: Corrections, implied: Implied
) -> None:
    decision = decide(scores, record, _rules(thresholds, implied), corrections)
    folded = [fold(tag.name) for tag in _merged(record, decision, corrections)]
    for group in ("light", "count"):
        members = {fold(label.name) for label in _LABELS if label.group == group}
        mine = members & {fold(tag.name) for tag in decision.tags}
        assert len(mine) <= 1
        if mine:
            assert len(members & {*folded}) == 1


@given(_scores, _thresholds, _thresholds, _records, _corrections)
def test_lower_thresholds_only_add(
    scores: np.ndarray, one: np.ndarray, other: np.ndarray, record: Record, corrections: Corrections
) -> None:
    # A tag that is not wanted at all (`NEVER`) is not wanted with lower thresholds either.
    low, high = np.where(one == NEVER, NEVER, np.minimum(one, other)), np.maximum(one, other)
    few = decide(scores, record, _rules(high.astype(np.float32)), corrections)
    many = decide(scores, record, _rules(low.astype(np.float32)), corrections)
    assert {tag.name for tag in few.tags} <= {tag.name for tag in many.tags}
    assert {*few.there} <= {*many.there}
    assert {*few.contradicted} <= {*many.contradicted}


@given(_scores, _thresholds, _records, _corrections)
def test_a_tag_is_said_by_its_score_or_by_one_that_implies_it(
    scores: np.ndarray, thresholds: np.ndarray, record: Record, corrections: Corrections
) -> None:
    over = {name for name, s, t in zip(_NAMES, scores, thresholds, strict=True) if s >= t}
    decision = decide(scores, record, _rules(thresholds), corrections)
    added = {tag.name for tag in decision.tags}
    assert not any(thresholds[_NAMES.index(name)] == NEVER for name in added), "unwanted ones do not follow"
    for name in added - over:
        assert any(fold(name) in _GRAPH.implied_by(other) for other in added & over)
    ungrouped = {label.name for label in _LABELS if label.group is None}
    said = added | {*decision.there} | {*decision.contradicted} | {*decision.taken}
    assert over & ungrouped <= said, "nothing that is said is lost from the report"


@given(_scores, _thresholds, _records)
def test_it_is_the_same_again_once_its_tags_are_in_the_record(
    scores: np.ndarray, thresholds: np.ndarray, record: Record
) -> None:
    rules = _rules(thresholds)
    first = decide(scores, record, rules)
    after = Record("p", (*[tag for tag in record.tags if tag.source != "mine"], *first.tags))
    assert decide(scores, after, rules) == first


@given(_scores, _thresholds, _records)
def test_without_implied_tags_none_implies_another(
    scores: np.ndarray, thresholds: np.ndarray, record: Record
) -> None:
    decision = decide(scores, record, _rules(thresholds, "left out"))
    names = [fold(tag.name) for tag in decision.tags]
    others = [fold(tag.name) for tag in record.tags if tag.source != "mine"]
    implied = _GRAPH.implied_names([*names, *others])
    assert not implied & {*names}


@given(_scores, _thresholds, _records)
def test_scores_fall_along_the_tags(scores: np.ndarray, thresholds: np.ndarray, record: Record) -> None:
    found = [tag.score for tag in decide(scores, record, _rules(thresholds)).tags]
    assume(found)
    assert found == sorted(found, reverse=True)  # type: ignore[type-var]


def test_a_person_may_stand_without_a_source_or_as_human() -> None:
    assert {None, "human"} == PEOPLE
    scores, rules = np.zeros(len(_LABELS), np.float32), _rules(np.full(len(_LABELS), 0.5, np.float32))
    scores[:3] = 0.6, 0.9, 0.7  # day, night, dusk
    assert [tag.name for tag in decide(scores, Record("p"), rules).tags] == ["night"]
    for source, kind in ((None, "contradicted"), ("human", "contradicted"), ("other", "taken")):
        decision = decide(scores, Record("p", (Tag("Day", None, source),)), rules)
        assert decision.tags == ()
        assert getattr(decision, kind) == ("night",)
        assert decision.there == ()
    decision = decide(scores, Record("p"), rules, Corrections([Correction("p", "night", False)]))
    assert [tag.name for tag in decision.tags] == ["dusk"], "the likeliest of what is left"
    assert decision.contradicted == ("night",)


def test_a_low_threshold_of_one_makes_no_second_choice() -> None:
    thresholds = np.full(len(_LABELS), 0.95, np.float32)
    thresholds[2] = 0.1
    scores = np.zeros(len(_LABELS), np.float32)
    scores[:3] = 0.0, 0.7, 0.3
    assert decide(scores, Record("p"), _rules(thresholds)).tags == (), "it thinks it is night, if anything"


def test_two_labels_of_one_spelling_make_one_tag() -> None:
    labels = (Label("Big_Tree"), Label("big tree"))
    rules = Rules("mine", labels, np.array([0.1, 0.1], np.float32))
    tags = decide(np.array([0.3, 0.6], np.float32), Record("p"), rules).tags
    assert [(tag.name, round(tag.score or 0, 3)) for tag in tags] == [("big tree", 0.6)]
