"""What a person said: where it is heard, and that nothing of it falls flat in silence."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainkit.additions.known import prepared, put_pictures
from trainkit.errors import TrainkitError
from trainkit.keys import keys_of
from trainkit.manifest_pictures import ManifestPictures
from trainkit.tagging.corrections import Correction, Corrections
from trainkit.tagging.judging import plainly_told
from trainkit.tagging.kept import keep_corrections
from trainkit.tagging.learned import LEARNED, Learned, learned_corrections, write_learned
from trainkit.tagging.said import all_said, unmet

said = st.builds(Correction, st.sampled_from("abcd"), st.sampled_from(["fox", "sea", "sky"]), st.booleans())


@given(st.lists(said), st.sets(st.sampled_from("abcd")), st.sets(st.sampled_from(["fox", "sea", "sky"])))
def test_what_meets_nothing_is_counted_and_the_first_named(
    some: list[Correction], ids: set[str], known: set[str]
) -> None:
    keys = np.array(keys_of([id.encode() for id in sorted(ids)]), np.uint64)
    nowhere = [one for one in some if one.id not in ids]
    unknown = [one for one in some if one.id in ids and one.tag not in known]
    told = unmet(some, keys, known.__contains__)
    assert len(told) == bool(nowhere) + bool(unknown)
    if nowhere:
        assert f" {len(nowhere)} of {len(some)} are of pictures" in told[0]
        assert told[0].endswith(repr(nowhere[0].id))
    if unknown:
        assert f" {len(unknown)} of {len(some)} are of tags" in told[-1]
        assert f"{unknown[0].tag!r} of {unknown[0].id!r}" in told[-1]


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return prepared(put_pictures(tmp_path / "pictures"), tmp_path / "manifest")


def _learned(manifest: Path, some: list[Correction], folder: Path) -> Path:
    pictures = ManifestPictures.open(manifest)
    digests = {pictures.record(row).id: pictures.digest(row) for row in range(len(pictures))}
    folder.mkdir()
    write_learned(folder, [Learned(one, digests[one.id]) for one in some])
    return folder


def test_later_words_outweigh_what_was_learned_and_that_what_was_kept(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keep_corrections(manifest, [Correction("0", tag, False) for tag in ("fox", "sea", "sky")])
    words = [Correction("0", "sea", True), Correction("0", "sky", True), Correction("1", "fox", True)]
    tagger = _learned(manifest, words, tmp_path / "tagger")
    given_now = Corrections([Correction("0", "sky", False)])
    every = all_said(ManifestPictures.open(manifest), given_now, tagger)
    told = {tag: every.get("0", tag) for tag in ("fox", "sea", "sky")}
    assert told == {"fox": False, "sea": True, "sky": False}
    assert every.get("1", "fox") is True
    assert "3 that are kept in" in (err := capsys.readouterr().err)
    assert f"3 of {tagger / LEARNED} hold" in err


def test_another_picture_of_the_same_id_is_another_picture(manifest: Path, tmp_path: Path) -> None:
    """Ids such as "0" are in many manifests: what was said of one's picture must not be truth in the next."""
    tagger = _learned(manifest, [Correction("0", "sea", True), Correction("1", "sky", True)], tmp_path / "t")
    (tmp_path / "pictures" / "1.png").replace(tmp_path / "pictures" / "0.png")
    other = ManifestPictures.open(prepared(tmp_path / "pictures", tmp_path / "other"))
    assert list(learned_corrections(tagger, other)) == []
    here = ManifestPictures.open(manifest)
    assert [one.id for one in learned_corrections(tagger, here)] == ["0", "1"]
    write_learned(tagger, [])
    assert not (tagger / LEARNED).exists()
    assert list(learned_corrections(tagger, here)) == []


def test_a_damaged_file_is_named(manifest: Path, tmp_path: Path) -> None:
    line = json.dumps({"id": "0", "tag": "sea", "right": True, "digest": 7})
    (tmp_path / LEARNED).write_text(line)
    with pytest.raises(TrainkitError, match=r"learned_corrections.jsonl:1: digest is 7"):
        list(learned_corrections(tmp_path, ManifestPictures.open(manifest)))


def test_a_strangers_tagger_makes_nobody_read_a_pipe(tmp_path: Path) -> None:
    """Regression: `evaluate` opened whatever tagger.json names as its implications, also /dev/zero."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file.csv").write_text("")
    for told in (str(tmp_path / "pipe"), {"file": str(tmp_path / "pipe")}):
        with pytest.raises(KeyError):
            plainly_told({"implications": told})
    for fine in ({}, {"implications": {"fox": ["canine"]}}, {"implications": str(tmp_path / "file.csv")}):
        assert plainly_told(fine) is fine
