"""What a person said, kept in the folder: nobody's word is lost, and no name stops a run."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.trainkit.additions.known import prepared, put_pictures
from tests.trainkit.tagging.test_evaluate import ByColour
from trainkit.additions.merge import merge_additions
from trainkit.errors import TrainkitError
from trainkit.manifest_pictures import ManifestPictures
from trainkit.tagging.apply import apply
from trainkit.tagging.corrections import Correction, Corrections, read_corrections
from trainkit.tagging.kept import keep_corrections, kept_corrections
from trainkit.tagging.label import Label
from trainkit.tagging.plan import ApplyConfig, Plan, make_plan
from trainkit.tagging.probabilities import probabilities
from trainkit.tagging.tagger import Tagger
from trainkit.tagging.thresholds import ThresholdConfig


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept")
    return prepared(put_pictures(folder / "pictures"), folder / "manifest")


@pytest.fixture
def manifest(base: Path, tmp_path: Path) -> Path:
    return prepared(base.parent / "pictures", tmp_path / "manifest")


def _plan(tagger: Tagger, name: str = "wd") -> Plan:
    return make_plan(tagger, ApplyConfig(name=name, thresholds=ThresholdConfig(threshold=0.4)))


words = st.lists(
    st.builds(Correction, st.sampled_from("012"), st.sampled_from(["fox", "Red_fox", "sea"]), st.booleans()),
    max_size=6,
)


@given(st.lists(words, max_size=4))
def test_whoever_keeps_something_only_adds(base: Path, several: list[list[Correction]]) -> None:
    """A law: what is kept is all that was said, a later word outweighing an earlier one."""
    keep_corrections(base, [Correction(id, tag, True) for id in "012" for tag in ("fox", "sea", "red fox")])
    before = list(kept_corrections(base))
    for some in several:
        keep_corrections(base, some)
    wanted = Corrections([*before, *(said for some in several for said in some)])
    assert set(kept_corrections(base)) == set(wanted)


def test_a_tagger_that_ends_later_keeps_what_another_kept_meanwhile(manifest: Path) -> None:
    """Regression: corrections were read when a run began and written over what was there when it ended, so
    that of two taggers at once the second took the first one's corrections home."""
    first, second = Correction("0", "sea", True), Correction("1", "sky", True)

    class Slow(ByColour):
        def scores(self, batch: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
            keep_corrections(manifest, [first])
            merge_additions(manifest, processes=1)
            return super().scores(batch)

    apply(manifest, Slow(), _plan(Slow()), corrections=Corrections([second]), show=False)
    assert set(kept_corrections(manifest)) == {first, second}
    pictures = ManifestPictures.open(manifest)
    told = {r.id: {t.name for t in r.tags if t.source == "human"} for r in map(pictures.record, range(7))}
    assert (told["0"], told["1"]) == ({"sea"}, {"sky"})


def test_a_picture_of_which_the_scores_are_no_numbers_is_named_and_stops_nothing(manifest: Path) -> None:
    """Regression: of a tagger of ours it counted as tagged, with nothing; one of others ended the run."""

    class Odd(ByColour):
        def scores(self, batch: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
            scores = super().scores(batch)
            scores[2, 1] = np.nan
            return scores

    applied = apply(manifest, Odd(), _plan(Odd()), show=False)
    assert applied.problems == ("2: the tagger's scores are no numbers",)
    assert applied.counts.pictures == 6
    again = apply(manifest, ByColour(), _plan(ByColour()), show=False)
    assert (again.problems, again.before, again.counts.pictures) == ((), 6, 7)


@given(st.lists(st.lists(st.sampled_from([-4.0, 0.5, np.nan, np.inf]), min_size=2, max_size=2), min_size=1))
def test_what_is_wrong_with_one_picture_changes_no_other(outputs: list[list[float]]) -> None:
    table = np.array(outputs, np.float32)
    found = probabilities(table, "sigmoid", Path("model.onnx"))
    for row, alone in zip(found, table, strict=True):
        if np.isfinite(alone).all():
            assert np.array_equal(row, probabilities(alone[None], "sigmoid", Path("model.onnx"))[0])
        else:
            assert np.isnan(row).all()


def test_a_tag_that_no_record_can_hold_is_not_written_and_listed(manifest: Path) -> None:
    """Regression: the run ended at the first picture that got the tag, and so did every further start."""

    class Odd(ByColour):
        @property
        def labels(self) -> tuple[Label, ...]:
            return (*super().labels[:3], Label("a ||| b"))

    plan = _plan(Odd())
    [(tag, why)] = plan.never
    assert (tag, why.split(";")[0]) == ("a ||| b", "||| parts the tags of a record")
    assert apply(manifest, Odd(), plan, show=False).counts.pictures == 7


@pytest.mark.parametrize(
    ("id", "tag", "says"),
    [
        ("0", "a ||| b", "corrections.jsonl:1: tag is 'a ||| b'"),
        ("0", "\ud800", r"corrections.jsonl:1: tag is '\ud800', which holds half a character"),
        ("a\udfff", "sea", r"corrections.jsonl:1: id is 'a\udfff', which holds half a character"),
    ],
)
def test_a_correction_that_no_record_can_hold_is_refused_before_anything_is_done(
    tmp_path: Path, id: str, tag: str, says: str
) -> None:
    """Regression: half a character was a traceback."""
    file = tmp_path / "corrections.jsonl"
    file.write_text(json.dumps({"id": id, "tag": tag, "right": True}))
    with pytest.raises(TrainkitError, match=re.escape(says)):
        read_corrections(file)
