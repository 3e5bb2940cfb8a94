"""Scores that are kept decide the same as those that were given; other thresholds look at nothing again."""

from __future__ import annotations

import json
import os
import resource
import shutil
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from captionkit import ImplicationGraph, Record, Tag
from tests.trainkit.tagging.foreign import WD_TAGS, colour_weights, write_colours, write_onnx, write_wd
from trainkit.additions.finished import read_additions
from trainkit.additions.journal import held
from trainkit.cli import main
from trainkit.errors import TrainkitError
from trainkit.manifest_pictures import ManifestPictures
from trainkit.prepare import PrepareConfig, prepare
from trainkit.tagging.corrections import Correction, Corrections
from trainkit.tagging.decide import NEVER, Implied, Rules, decide
from trainkit.tagging.kept_scores import Keep, KeptScores, needed_floors, score_files
from trainkit.tagging.label import Label
from trainkit.tagging.mark import exact_mark_of
from trainkit.tagging.score_file import entry, header, read_score_file

_MARK = "0123456789abcdef" * 2
_LABELS = (
    Label("day", None, "light"),
    Label("night", None, "light"),
    Label("1girl", None, "count"),
    Label("2girls", None, "count"),
    Label("red fox"),
    Label("fox"),
    Label("girl"),
    Label("^_^"),
    Label("Fox"),
)
_GRAPH = ImplicationGraph(
    {"red_fox": ["fox"], "1girl": ["girl"], "2girls": ["girl"], "^_^": ["1girl", "day"]}
)
_L = len(_LABELS)
_COUNT = 12

_scores = st.lists(st.integers(0, 40), min_size=_L, max_size=_L).map(lambda x: np.array(x, np.float32) / 40)
_thresholds = st.lists(st.sampled_from([0.1, 0.25, 0.5, 1.0, float(NEVER)]), min_size=_L, max_size=_L).map(
    lambda x: np.array(x, np.float32)
)
_records = st.lists(
    st.builds(
        Tag,
        st.sampled_from(["day", "Night", "1girl", "red_fox", "fox", "other"]),
        st.none(),
        st.sampled_from([None, "human", "wd", "other"]),
    ),
    max_size=3,
).map(lambda tags: Record("p", tuple(tags)))
_corrections = st.lists(
    st.builds(
        Correction, st.just("p"), st.sampled_from(["day", "1girl", "girl", "fox", "^_^"]), st.booleans()
    ),
    max_size=3,
).map(Corrections)
_implied: st.SearchStrategy[Implied] = st.sampled_from(["written", "left out"])
_SMILE = np.array([0, 0, 1, 2, 0, 0, 0, 36, 0], np.float32) / 40
"""2girls is likelier than 1girl, which the smile implies, and both are below every threshold."""
_GIRLS = np.array([0, 0, 0, 4, 0, 0, 5, 0, 0], np.float32) / 40
"""girl is likelier than 2girls, which implies it, and below a threshold of its own that is higher."""


def _rules(thresholds: np.ndarray, implied: Implied = "written") -> Rules:
    return Rules("wd", _LABELS, thresholds, implications=_GRAPH, implied=implied)


@given(_scores, _thresholds, st.floats(0, 1, width=32), _records, _corrections, _implied)
@example(_SMILE, np.full(_L, 0.5, np.float32), 0.1, Record("p"), Corrections(), "written")
@example(_GIRLS, np.array([0.1] * 6 + [0.25] * 3, np.float32), 1.0, Record("p"), Corrections(), "written")
def test_what_is_kept_decides_the_same(
    scores: np.ndarray,
    thresholds: np.ndarray,
    floor: float,
    record: Record,
    corrections: Corrections,
    implied: Implied,
) -> None:
    rules = _rules(thresholds, implied)
    floors = np.minimum(np.float32(floor), needed_floors(rules))
    low = np.where(scores >= floors, scores, np.float32(0))
    assert decide(low, record, rules, corrections) == decide(scores, record, rules, corrections)


def _kept(folder: Path, thresholds: float | np.ndarray = 0.5, floor: float = 0.05) -> KeptScores:
    return KeptScores(folder, Keep(_MARK, floor), _rules(np.full(_L, thresholds, np.float32)))


def _low(scores: np.ndarray, floor: float) -> np.ndarray:
    grouped = np.array([label.group is not None for label in _LABELS])
    return np.where(grouped | (scores >= np.float32(floor)), scores, np.float32(0))


@given(st.dictionaries(st.integers(0, 2**64 - 1), _scores, max_size=6), st.data())
def test_what_was_added_by_any_rank_is_found_by_any(
    pictures: dict[int, np.ndarray], data: st.DataObject
) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        ranks = {key: data.draw(st.integers(0, 2)) for key in pictures}
        for start in (0, 1):  # Some by an earlier start.
            for rank in range(3):
                with closing(_kept(folder)) as kept:
                    kept.write_as(rank)
                    for key in [key for key in pictures if ranks[key] == rank][start::2]:
                        kept.add(key, pictures[key])
        with closing(_kept(folder)) as kept:
            assert kept.notes == []
            assert len(kept) == len(pictures)
            for key, scores in pictures.items():
                np.testing.assert_array_equal(kept.find(key), _low(scores, 0.05))
                assert kept.find(key ^ 1) is None or key ^ 1 in pictures


def _filled(folder: Path, count: int = 4) -> Path:
    with closing(_kept(folder)) as kept:
        kept.write_as(0)
        for key in range(count):
            kept.add(key, np.full(_L, 0.25 + key / 16, np.float32))
    return folder / "rank-00000.scores"


@given(st.data())
def test_a_file_cut_anywhere_loses_only_what_was_cut(data: st.DataObject) -> None:
    with TemporaryDirectory() as name:
        path = _filled(Path(name))
        whole = read_score_file(path, _MARK, _L)
        begin, end = int(whole.offsets[0]), whole.end
        length = data.draw(st.integers(begin, end))
        os.truncate(path, length)
        left = sum(end <= length for end in [*whole.offsets.tolist()[1:], end])
        with closing(_kept(Path(name))) as kept:
            assert len(kept) == left
            assert kept.notes == [], "what a killed run leaves is nothing to talk of"
            kept.write_as(0)
            kept.add(9, np.full(_L, 0.75, np.float32))
        with closing(_kept(Path(name))) as kept:
            assert len(kept) == left + 1
            assert kept.find(9) is not None


@given(st.data())
def test_no_damage_gives_wrong_scores(data: st.DataObject) -> None:
    with TemporaryDirectory() as name:
        path = _filled(Path(name))
        content = bytearray(path.read_bytes())
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content)
        with closing(_kept(Path(name))) as kept:
            for key in range(4):
                found = kept.find(key)
                if found is not None:
                    np.testing.assert_array_equal(found, np.full(_L, 0.25 + key / 16, np.float32))
            assert len(kept) < 4
            kept.write_as(0)
            for key in range(4):
                if kept.find(key) is None:
                    kept.add(key, np.full(_L, 0.25 + key / 16, np.float32))
            kept.remove_unfit()
        with closing(_kept(Path(name))) as kept:
            assert len(kept) == 4
            assert kept.notes == []


@given(st.binary(max_size=200))
def test_any_file_is_read(content: bytes) -> None:
    with TemporaryDirectory() as name:
        path = Path(name) / "rank-00000.scores"
        for begin in (b"", header(_MARK, np.zeros(_L, np.float32))):
            path.write_bytes(begin + content)
            with closing(_kept(Path(name))) as kept:
                assert all(kept.find(key) is None for key in range(3))


def test_a_label_out_of_range_is_no_label(tmp_path: Path) -> None:
    path = tmp_path / "rank-00000.scores"
    wide = entry(1, np.full(_L + 3, 0.5, np.float32), np.r_[np.ones(_L + 2, np.float32), np.float32(0)])
    nan = entry(2, np.full(_L, np.inf, np.float32), np.zeros(_L, np.float32))
    path.write_bytes(header(_MARK, np.zeros(_L, np.float32)) + wide + nan)
    with closing(_kept(tmp_path)) as kept:
        assert len(kept) == 2
        assert kept.find(1) is None
        assert kept.find(2) is None


def test_scores_of_another_tagger_or_from_a_higher_floor_do_not_serve(tmp_path: Path) -> None:
    old = _filled(tmp_path)
    with closing(KeptScores(tmp_path, Keep("f" * 32), _rules(np.full(_L, 0.5, np.float32)))) as kept:
        assert len(kept) == 0
        assert kept.notes == [
            f"{old}: holds the scores of another tagger, or of this one before it was changed; it is not used"
        ]
    thresholds = np.full(_L, 0.5, np.float32)
    thresholds[4] = 0.02
    with closing(_kept(tmp_path, thresholds)) as kept:
        assert len(kept) == 0
        assert "kept from 0.05 on, and 1 tags are wanted from 0.02" in kept.notes[0]
        kept.write_as(0)
        kept.add(1, np.full(_L, 0.03, np.float32))
        assert old.exists(), "days of work do not go before there are others"
        kept.remove_unfit()
    assert [path.name for path in score_files(tmp_path)] == ["rank-00000-1.scores"]
    with closing(_kept(tmp_path, thresholds)) as kept:
        found = kept.find(1)
        assert found is not None
        assert found[4] == np.float32(0.03), "the lower threshold is a lower floor"
        assert found[5] == 0
    with closing(_kept(tmp_path, 0.35, floor=0.01)) as kept:
        kept.write_as(0)
        assert "to have those from 0.01 on, remove this file" in kept.notes[0]


def test_thresholds_of_groups_may_be_any(tmp_path: Path) -> None:
    _filled(tmp_path)
    thresholds = np.full(_L, 0.5, np.float32)
    thresholds[:4] = 0.001
    thresholds[5] = NEVER
    with closing(_kept(tmp_path, thresholds)) as kept:
        assert len(kept) == 4


def test_a_full_disk_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    size = _filled(tmp_path).stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with closing(_kept(tmp_path)) as kept:
        kept.write_as(0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, before[1]))  # In the middle of an entry.
        try:
            with pytest.raises(TrainkitError, match=r"File too large; free some space.*--keep-scores none"):
                kept.add(9, np.ones(_L, np.float32))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with closing(_kept(tmp_path)) as kept:
        assert len(kept) == 4
        assert kept.notes == []


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, a manifest of them and a tagger, to be copied by whoever writes."""
    folder = tmp_path_factory.mktemp("once")
    write_colours(folder / "pictures", _COUNT)
    _prepare(folder)
    write_wd(folder / "wd")
    return folder


@pytest.fixture
def data(tmp_path: Path, once: Path) -> Path:
    shutil.copytree(once, tmp_path / "data")
    return tmp_path / "data"


def _prepare(folder: Path) -> None:
    config = PrepareConfig(min_side=8, untagged=True)
    prepare(str(folder / "pictures"), folder / "manifest", config, processes=1, show=False)


def _apply(data: Path, *words: object) -> int:
    return main(["tagger", "apply", str(data / "wd"), str(data / "manifest"), *map(str, words)])


def _told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


def _additions(data: Path) -> list[tuple[str, list[tuple[str, float | None]]]]:
    return [
        (one.id, [(tag.name, tag.score) for tag in one.tags])
        for one in read_additions(data / "manifest", "wd")
    ]


def test_another_threshold_reads_no_picture(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _apply(data, "--threshold", 0.6, "--ratings", "--keep-scores", "none") == 0
    assert not list(data.rglob("*.scores"))
    looked = _additions(data)
    assert _apply(data, "--threshold", 0.35, "--restart") == 0
    assert _additions(data) != looked
    assert "scores are kept" in capsys.readouterr().out
    shutil.rmtree(data / "pictures")
    assert _apply(data, "--threshold", 0.6, "--ratings") == 2
    assert "Scores are kept: pictures that have them are not looked at again" in capsys.readouterr().err
    assert _apply(data, "--threshold", 0.6, "--ratings", "--restart") == 0
    assert f"{_COUNT} pictures by the scores that were kept" in capsys.readouterr().out
    assert _additions(data) == looked


def test_any_number_of_processes_then_and_now(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _apply(data, "--threshold", 0.35) == 0
    before = _additions(data)
    own = score_files(data / "manifest" / "additions" / ".wd")[0]
    own.rename(own.with_name("rank-00003.scores"))
    shutil.rmtree(data / "pictures")
    capsys.readouterr()
    assert _apply(data, "--threshold", 0.35, "--restart", "--json") == 0
    assert _told(capsys)["from_kept_scores"] == _COUNT
    assert _additions(data) == before


def test_only_what_is_new_changed_or_was_broken_is_looked_at(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = data / "pictures" / "006.png"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:200])
    assert _apply(data, "--threshold", 0.35, "--json") == 0
    assert _told(capsys)["problems"]
    broken.write_bytes(whole)
    assert _apply(data, "--threshold", 0.5, "--restart", "--json") == 0
    told = _told(capsys)
    assert (told["from_kept_scores"], told["problems"]) == (_COUNT - 1, [])
    # One picture more, and another one under an old name.
    shutil.copy(data / "pictures" / "001.png", data / "pictures" / "100.png")
    shutil.copy(data / "pictures" / "001.png", data / "pictures" / "002.png")
    _prepare(data)
    assert _apply(data, "--threshold", 0.4, "--restart", "--json") == 0
    told = _told(capsys)
    assert (told["from_kept_scores"], told["pictures"], told["problems"]) == (_COUNT - 1, _COUNT + 1, [])
    added = dict(_additions(data))
    assert added["100"] == added["002"] == added["001"]


def test_a_dry_run_keeps_scores_for_the_run_that_follows(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _apply(data, "--threshold", 0.35, "--dry-run", "--json") == 0
    first = _told(capsys)
    shutil.rmtree(data / "pictures")
    for words in (["--dry-run"], []):
        assert _apply(data, "--threshold", 0.35, "--json", *words) == 0
        told = _told(capsys)
        assert told["from_kept_scores"] == _COUNT
        assert told["tags"] == first["tags"]


def test_a_dry_run_beside_another_run_keeps_nothing(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = data / "manifest" / "additions" / ".wd"
    folder.mkdir(parents=True)
    with held(folder, 0):
        assert _apply(data, "--threshold", 0.35, "--dry-run") == 0
    assert "scores of this run are not kept: another process is writing" in capsys.readouterr().err
    assert not score_files(folder)


def test_a_lower_threshold_or_a_changed_tagger_scores_again_and_says_so(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _apply(data, "--threshold", 0.35) == 0
    capsys.readouterr()
    assert _apply(data, "--threshold", 0.01, "--restart") == 0
    told = capsys.readouterr()
    assert "note: " in told.err
    assert "kept from 0.05 on" in told.err
    assert "kept, without" not in told.out
    assert len(list(data.rglob("*.scores"))) == 1, "the old ones have gone"
    low = _additions(data)
    assert _apply(data, "--threshold", 0.01, "--restart") == 0
    assert f"{_COUNT} pictures by the scores" in capsys.readouterr().out
    assert _additions(data) == low
    (data / "wd" / "trainkit.toml").write_text('[input]\nchannels = "RGB"\nscale = 255\nfit = "stretch"\n')
    assert _apply(data, "--threshold", 0.01, "--restart") == 0
    told = capsys.readouterr()
    assert "of this one before it was changed" in told.err
    assert "kept, without" not in told.out
    assert _additions(data) != low


def test_a_preview_believes_what_is_kept(data: Path) -> None:
    page = data / "manifest" / "additions" / "wd.preview.html"
    assert _apply(data, "--threshold", 0.35, "--preview", 5) == 0
    looked = page.read_text()
    assert _apply(data, "--threshold", 0.35) == 0
    assert _apply(data, "--threshold", 0.35, "--preview", 5) == 0
    assert page.read_text().count("data:image/jpeg") == 5
    assert page.read_text().count("theme <small>") == looked.count("theme <small>") > 0
    # Scores of nothing at all in place of those of the network.
    path = score_files(data / "manifest" / "additions" / ".wd")[0]
    mark, pictures = exact_mark_of(data / "wd"), ManifestPictures.open(data / "manifest")
    floors = read_score_file(path, mark, len(WD_TAGS)).floors
    keys = [pictures.picture_key(row) for row in range(_COUNT)]
    nothing = [entry(key, np.zeros(len(WD_TAGS), np.float32), floors) for key in keys if key is not None]
    path.write_bytes(header(mark, floors) + b"".join(nothing))
    assert _apply(data, "--threshold", 0.35, "--preview", 5) == 0
    assert page.read_text().count("data:image/jpeg") == 5
    assert "theme <small>" not in page.read_text()


@pytest.mark.parametrize("floor", ["x", "nan", "-0.1", "1.5", ""])
def test_a_floor_is_a_score(data: Path, capsys: pytest.CaptureFixture[str], floor: str) -> None:
    assert _apply(data, "--threshold", 0.35, f"--keep-scores={floor}") == 2
    assert f"is {floor!r}, must be a score from 0 to 1, or none" in capsys.readouterr().err


def test_all_that_scores_come_from_is_in_a_taggers_mark(tmp_path: Path) -> None:
    folder = write_wd(tmp_path / "wd")
    weights, bias = colour_weights()
    write_onnx(folder / "model.onnx", weights, bias, external="weights.bin")
    (folder / "weights.bin").write_bytes(weights.tobytes())
    seen = [exact_mark_of(folder)]
    for name in ("weights.bin", "trainkit.toml", "selected_tags.csv", "tagger.json"):
        with (folder / name).open("ab") as file:
            file.write(b"\n")
        seen.append(exact_mark_of(folder))
    (folder / "evaluation.json").write_text("{}")
    assert exact_mark_of(folder) == seen[-1], "what an evaluation writes beside it changes nothing"
    assert len(set(seen)) == 5
    shutil.copy(folder / "model.onnx", folder / "other.onnx")
    assert exact_mark_of(folder / "model.onnx") != exact_mark_of(folder / "other.onnx")
