"""Curves, temperatures and corrections: laws over scores of any kind."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from trainkit.errors import TrainkitError
from trainkit.tagging.calibration import (
    expected_error,
    fit_sigmoid,
    fit_softmax,
    reliability,
    sigmoid_at,
    softmax_at,
)
from trainkit.tagging.confusion import confusion
from trainkit.tagging.corrections import Correction, Corrections, read_corrections, write_corrections
from trainkit.tagging.curves import EVALUATION, TagCurve, read_evaluation
from trainkit.tagging.evaluate import curves_of
from trainkit.tagging.evaluation import Evaluation, Means, write_evaluation
from trainkit.tagging.intervals import wilson
from trainkit.tagging.label import Label
from trainkit.tagging.measure import tag_curve

Floats = NDArray[np.float32]

# Few distinct values, so that ties and neighbours without a number between them occur.
SCORE = st.one_of(
    st.floats(0, 1, width=32), st.sampled_from([0.0, 0.25, 0.5, float(np.nextafter(np.float32(0.5), 1)), 1.0])
)
SCORED = st.lists(st.tuples(SCORE, st.booleans()), min_size=1, max_size=60).filter(
    lambda pairs: any(right for _, right in pairs)
)
TEMPERATURE = st.floats(0.1, 10)


def arrays(pairs: list[tuple[float, bool]]) -> tuple[Floats, NDArray[np.bool_]]:
    return np.array([s for s, _ in pairs], np.float32), np.array([r for _, r in pairs], np.bool_)


def at(scores: Floats, truth: NDArray[np.bool_], threshold: float) -> tuple[float, float]:
    """Precision and recall, counted by hand."""
    said = scores >= threshold
    return float(truth[said].mean()), float(truth[said].sum() / truth.sum())


@given(SCORED, st.integers(0, 400))
def test_a_threshold_reaches_its_precision_with_the_most_recall(
    pairs: list[tuple[float, bool]], level: int
) -> None:
    scores, truth = arrays(pairs)
    curve = tag_curve("fox", scores, truth)
    target = level / 400
    found = curve.threshold_for(target)
    every = [at(scores, truth, float(s)) for s in np.unique(scores)]
    reach = [recall for precision, recall in every if precision >= target]
    if found is None:
        assert not reach
    else:
        precision, recall = at(scores, truth, found)
        assert precision >= target
        assert recall == max(reach)


@given(SCORED, st.floats(0, 1), st.floats(0, 1))
def test_more_precision_takes_a_higher_threshold(pairs: list[tuple[float, bool]], a: float, b: float) -> None:
    curve = tag_curve("fox", *arrays(pairs))
    low, high = curve.threshold_for(min(a, b)), curve.threshold_for(max(a, b))
    assert high is None or (low is not None and low <= high)


@given(SCORED)
def test_every_point_says_what_is_so(pairs: list[tuple[float, bool]]) -> None:
    scores, truth = arrays(pairs)
    curve = tag_curve("fox", scores, truth)
    for point in curve.points:
        assert (point.precision, point.recall) == at(scores, truth, point.threshold)
        assert point.said == int((scores >= point.threshold).sum())
    assert curve.average_precision == pytest.approx(float(average_precision_score(truth, scores)))
    assert curve.best_f1_threshold is not None
    precision, recall = at(scores, truth, curve.best_f1_threshold)
    every = [at(scores, truth, float(s)) for s in np.unique(scores)]
    assert 2 * precision * recall / max(precision + recall, 1e-9) == pytest.approx(
        max(2 * p * r / max(p + r, 1e-9) for p, r in every)
    )


def test_a_curve_of_many_pictures_is_thinned() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(50_000) < 0.1
    scores = np.clip(rng.normal(0.3 + 0.3 * truth, 0.15), 0, 1).astype(np.float32)
    curve = tag_curve("fox", scores, truth)
    assert 100 < len(curve.points) < 1000
    assert curve.threshold_for(0.9, min_support=curve.positives + 1) is None


def test_no_positives_no_threshold() -> None:
    curve = tag_curve("fox", np.array([0.9], np.float32), np.array([False]))
    assert (curve.positives, curve.points, curve.threshold_for(0.0)) == (0, (), None)
    assert math.isnan(curve.average_precision)
    assert curves_of([Label("fox")], np.array([[0.9]], np.float32), np.array([[0]], np.int8)) == {}


def evaluation_of(curves: dict[str, TagCurve]) -> Evaluation:
    means = Means(0, 0, 0, 0, 0, 0)
    return Evaluation("t", "m", True, 1, 0, len(curves), curves, (), (), False, means, ())


@given(st.lists(SCORED, min_size=1, max_size=3))
def test_an_evaluation_comes_back_as_it_was_written(many: list[list[tuple[float, bool]]]) -> None:
    curves = {f"tag <{i}>": tag_curve(f"tag <{i}>", *arrays(pairs)) for i, pairs in enumerate(many)}
    with tempfile.TemporaryDirectory() as folder:
        write_evaluation(Path(folder), evaluation_of(curves))
        assert read_evaluation(Path(folder)) == curves


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "evaluate the tagger again"),
        ("{", "evaluate the tagger again"),
        ('{"format": 7, "tags": {}}', "format is 7, must be 1"),
        ('{"format": 1}', "'tags' is missing"),
        ('{"format": 1, "tags": {"a": {"curve": 3}}}', "evaluate the tagger again"),
        ('{"format": 1, "tags": ' + "[" * 100_000, "evaluate the tagger again"),
        (
            '{"format": 1, "tags": {"a": {"positives": 1, "pictures": 1, "average_precision": 1, '
            '"best_f1_threshold": 1, "curve": {"threshold": [2], "precision": [1], "recall": [1], '
            '"said": [1]}}}}',
            "2 must be a number from 0 to 1",
        ),
    ],
)
def test_an_evaluation_that_is_none_is_told(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / EVALUATION).write_text(text)
    with pytest.raises(TrainkitError, match=says):
        read_evaluation(tmp_path)


def test_an_evaluation_that_is_missing_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(TrainkitError, match="trainkit tagger evaluate"):
        read_evaluation(tmp_path)


@given(st.lists(st.floats(0, 1, width=32), min_size=2, max_size=30), TEMPERATURE)
def test_a_temperature_does_not_change_the_order_of_scores(scores: list[float], temperature: float) -> None:
    table = np.array(scores, np.float32)
    moved = sigmoid_at(table, temperature)
    rising = np.argsort(table, kind="stable")
    assert (np.diff(moved[rising]) >= 0).all()
    assert ((moved >= 0) & (moved <= 1)).all()


@given(
    npst.arrays(np.float32, (4, 3), elements=st.floats(0.015625, 1, width=32)),
    TEMPERATURE,
)
def test_in_a_group_a_temperature_keeps_the_order_and_the_sum(table: Floats, temperature: float) -> None:
    moved = softmax_at(table, temperature)
    np.testing.assert_allclose(moved.sum(axis=1), 1, rtol=1e-5)
    for row, was in zip(moved, table, strict=True):
        assert (np.diff(row[np.argsort(was, kind="stable")]) >= 0).all()


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_that_was_put_in_is_found(temperature: float) -> None:
    rng = np.random.default_rng(1)
    honest = rng.random(20_000).astype(np.float32)
    truth = rng.random(20_000) < honest
    sure = sigmoid_at(honest, 1 / temperature)
    assert fit_sigmoid(sure, truth) == pytest.approx(temperature, rel=0.06)
    before, after = reliability(sure, truth), reliability(sigmoid_at(sure, temperature), truth)
    assert expected_error(after) < 0.02
    assert temperature == 1.0 or expected_error(before) > 0.05


def test_the_temperature_of_a_group_is_found() -> None:
    rng = np.random.default_rng(2)
    honest = rng.dirichlet([1, 1, 1], 20_000).astype(np.float32)
    right = (rng.random((20_000, 1)) > honest.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    assert fit_softmax(softmax_at(honest, 0.5), right) == pytest.approx(2.0, rel=0.05)


def test_nothing_is_learnt_from_one_kind_of_truth() -> None:
    assert fit_sigmoid(np.array([0.2, 0.9], np.float32), np.array([True, True])) == 1.0
    assert fit_softmax(np.empty((0, 2), np.float32), np.empty(0, np.intp)) == 1.0


@given(st.integers(0, 200), st.integers(1, 200))
def test_an_interval_holds_its_share(right: int, of: int) -> None:
    right = min(right, of)
    low, high = wilson(right, of)
    assert 0 <= low <= right / of <= high <= 1
    wider = wilson(right * 4, of * 4)
    assert wider[1] - wider[0] < high - low


def test_an_interval_is_that_of_the_books() -> None:
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 0) == (0, 1)


def test_confusion_counts_what_is_taken_for_what() -> None:
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], np.float32)
    found = confusion("light", ("day", "night"), scores, np.array([0, 0, 1]))
    assert found.counts == ((1, 1), (1, 0))
    assert (found.accuracy, found.majority, found.balanced_accuracy) == (1 / 3, 2 / 3, 0.25)


CORRECTION = st.builds(
    Correction,
    st.sampled_from(["a", "b/ü", "c\u2028"]),
    st.sampled_from(["day", "night", "red fox"]),
    st.booleans(),
)


@given(st.lists(CORRECTION), st.lists(CORRECTION))
def test_corrections_come_back_and_the_last_word_holds(a: list[Correction], b: list[Correction]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder, "a.jsonl"), Path(folder, "b.jsonl")
        write_corrections(first, a)
        write_corrections(second, b)
        read = read_corrections(first, second)
    last = {(said.id, said.tag): said.right for said in [*a, *b]}
    assert {(said.id, said.tag): said.right for said in read} == last
    assert len(read) == len(last)
    both = {(said.id, said.tag, said.right) for said in [*a, *b]}
    assert read.conflicts == sum((id, tag, not right) in both for (id, tag), right in last.items())
    for (id, tag), right in last.items():
        assert read.get(id, tag.upper().replace(" ", "_")) is right
    assert Corrections(read).get("d", "day") is None


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "is no JSON"),
        ("[1]", r"is \[1\], must be"),
        ('{"tag": "x", "right": true}', "id is None, must be text"),
        ('{"id": "a", "tag": " ", "right": true}', "tag is ' ', must be text"),
        ('{"id": "a", "tag": "x", "right": 1}', "right is 1, must be true or false"),
        ("[" * 100_000, "is no JSON"),
    ],
)
def test_a_line_that_is_no_correction_is_named(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "corrections.jsonl"
    path.write_text('{"id": "a", "tag": "x", "right": true}\n\n' + line + "\n")
    with pytest.raises(TrainkitError, match=rf"corrections\.jsonl:3: .*{says}"):
        read_corrections(path)


def test_a_file_of_corrections_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(TrainkitError, match="cannot be read: No such file"):
        read_corrections(tmp_path / "none.jsonl")
