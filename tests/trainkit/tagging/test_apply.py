"""Tags of a tagger in a manifest: by whom, from which score, once each, through kills and with several
processes."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from captionkit import Record
from tests.trainkit.processes import PATIENCE, environment
from tests.trainkit.tagging.foreign import COLOURS, write_colours, write_wd
from trainkit.additions.finished import read_additions
from trainkit.cli import main
from trainkit.manifest_pictures import ManifestPictures
from trainkit.prepare import PrepareConfig, prepare
from trainkit.tagging.curves import EVALUATION, FORMAT, Point, TagCurve, curve_entry

_COUNT = 20
_WRITE = ["--threshold", "0.35", "--threshold", "character=0.85", "--threads", "1"]


def _prepared(folder: Path, count: int = _COUNT, tags: dict[int, dict[str, list[str]]] | None = None) -> Path:
    write_colours(folder / "pictures", count, tags)
    prepare(str(folder / "pictures"), folder / "manifest", PrepareConfig(min_side=8), processes=1, show=False)
    return folder / "manifest"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures and a manifest, to be copied by whoever writes into it."""
    folder = tmp_path_factory.mktemp("prepared")
    _prepared(folder, tags={0: {"general": ["Red_Theme", "picture"]}, 5: {"meta": ["picture"]}})
    return folder


@pytest.fixture
def manifest(tmp_path: Path, prepared: Path) -> Path:
    shutil.copytree(prepared, tmp_path / "data")
    return tmp_path / "data" / "manifest"


@pytest.fixture
def tagger(tmp_path: Path) -> Path:
    return write_wd(tmp_path / "wd")


def _records(manifest: Path) -> dict[str, Record]:
    pictures = ManifestPictures.open(manifest)
    return {pictures.record(row).id: pictures.record(row) for row in range(len(pictures))}


def _added(manifest: Path, source: str = "wd") -> dict[str, list[str]]:
    return {
        id: [tag.name for tag in record.tags if tag.source == source]
        for id, record in _records(manifest).items()
    }


def _theme(id: str) -> list[str]:
    name = list(COLOURS)[int(id) % len(COLOURS)]
    return [f"{name} theme"] if name in ("red", "green", "blue") else []


def _apply(*words: object) -> int:
    return main(["tagger", "apply", *map(str, words)])


def test_tags_come_in_beside_a_persons(
    manifest: Path, tagger: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _records(manifest)
    assert _apply(tagger, manifest, *_WRITE) == 0
    told = capsys.readouterr().out
    after = _records(manifest)
    for id, record in after.items():
        assert record.tags[: len(before[id].tags)] == before[id].tags, "a person's tags stay as they are"
        added = record.tags[len(before[id].tags) :]
        assert [tag.name for tag in added] == ([] if id == "000" else _theme(id))
        for tag in added:
            assert tag.source == "wd"
            assert tag.category == "general"
            assert tag.score is not None
            assert tag.score > 0.9
    assert re.search(r"red theme +3 +1 +0 +0\.99", told), told
    assert "8 pictures of which it says nothing" in told
    page = (manifest / "additions" / "wd.html").read_text()
    assert "red theme" in page
    assert "0.999" in page

    assert _apply(tagger, manifest, *_WRITE) == 0
    assert _records(manifest) == after
    assert "20 of them by an earlier start" in capsys.readouterr().out


def test_other_settings_are_another_run(
    manifest: Path, tagger: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _apply(tagger, manifest, *_WRITE) == 0
    before = _records(manifest)
    assert _apply(tagger, manifest, "--threshold", "0.99999") == 2
    assert "--restart" in capsys.readouterr().err
    assert _records(manifest) == before
    assert _apply(tagger, manifest, "--threshold", "0.99999", "--restart") == 0
    assert not any(_added(manifest).values()), "what the name owned has gone"
    assert _apply(tagger, manifest, *_WRITE, "--name", "again") == 0
    assert _added(manifest, "again")["001"] == ["green theme"]


def test_only_what_is_wanted_under_the_names_that_are_wanted(
    manifest: Path, tagger: Path, tmp_path: Path
) -> None:
    renames = tmp_path / "renames.csv"
    renames.write_text("Blue Theme,cold\n")
    words = ["--threshold", "0.01", "--only", "*theme", "--only", "^_^", "--except", "green*", "--ratings"]
    assert _apply(tagger, manifest, *words, "--rename", renames) == 0
    added = _added(manifest)
    assert added["001"] == []
    assert added["002"] == ["cold"]
    assert added["003"] == ["^_^"]
    words = ["--threshold", "0.01", "--only", "general", "--only", "sensitive", "--ratings", "--name", "r"]
    assert _apply(tagger, manifest, *words) == 0
    assert {tuple(names) for names in _added(manifest, "r").values()} == {("sensitive",), ("general",)}
    assert _apply(tagger, manifest, "--threshold", "0.35", "--keep-underscores", "--name", "u") == 0
    assert _added(manifest, "wd")["002"] == ["cold"], "another addition's stay"
    assert _added(manifest, "u")["001"] == ["green_theme"]


def test_thresholds_from_a_precision(
    manifest: Path, tagger: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _apply(tagger, manifest, "--precision", "0.9") == 2
    assert "was never evaluated" in capsys.readouterr().err
    curves = [
        TagCurve("red_theme", 50, 100, 0.9, 0.5, (Point(0.3, 0.5, 1.0, 90), Point(0.6, 0.95, 0.9, 50))),
        TagCurve("green_theme", 50, 100, 0.9, 0.5, (Point(0.3, 0.5, 1.0, 90), Point(0.9, 0.7, 0.4, 20))),
        TagCurve("blue_theme", 4, 100, 1.0, 0.5, (Point(0.3, 1.0, 1.0, 4),)),
    ]
    tags = {curve.tag: curve_entry(curve) for curve in curves}
    (tagger / EVALUATION).write_text(json.dumps({"format": FORMAT, "tags": tags}))
    assert _apply(tagger, manifest, "--json", "--only", "*theme") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["thresholds"] == "a precision of 0.9 in the tagger's evaluation"
    assert set(told["tags"]) == {"red theme"}
    assert told["never"] == {
        "green_theme": "reaches a precision of 0.700 at most, not 0.9",
        "blue_theme": "4 pictures of the evaluation have it, fewer than 10 (--min-support)",
    }
    assert _apply(tagger, manifest, "--precision", "0.4", "--min-support", "2", "--name", "all") == 0
    assert _added(manifest, "all")["002"] == ["blue theme"]


def test_a_person_has_the_last_word(manifest: Path, tagger: Path, tmp_path: Path) -> None:
    corrections = tmp_path / "corrections.jsonl"
    said = [
        ("001", "Green_theme", False),
        ("002", "picture", False),
        ("003", "snow", True),
        ("002", "sea", True),
    ]
    lines = [json.dumps({"id": id, "tag": tag, "right": right}) for id, tag, right in said]
    corrections.write_text("\n".join(lines))
    assert _apply(tagger, manifest, *_WRITE, "--corrections", corrections) == 0
    records = _records(manifest)
    assert [tag.name for tag in records["001"].tags] == ["picture"]
    assert [(tag.name, tag.source) for tag in records["002"].tags] == [("sea", "human"), ("blue theme", "wd")]
    assert ("snow", "human") in [(tag.name, tag.source) for tag in records["003"].tags]
    # What was said stays said, for every other tagger and without the file.
    assert _apply(tagger, manifest, *_WRITE, "--name", "second", "--restart") == 0
    assert [tag.name for tag in _records(manifest)["001"].tags] == ["picture"]
    told = [addition for addition in read_additions(manifest, "second") if addition.id == "001"]
    assert told[0].tags == ()
    assert told[0].detail == {"contradicted": ["green theme"]}
    corrections.write_text(json.dumps({"id": "001", "tag": "green theme", "right": True}))
    assert _apply(tagger, manifest, *_WRITE, "--corrections", corrections) == 0
    records = _records(manifest)
    assert ("green theme", "human") in [(tag.name, tag.source) for tag in records["001"].tags]
    assert ("snow", "human") in [(tag.name, tag.source) for tag in records["003"].tags]


def test_implied_tags_come_with_those_that_imply_them(manifest: Path, tagger: Path, tmp_path: Path) -> None:
    graph = tmp_path / "implications.csv"
    graph.write_text(
        "id,antecedent_name,consequent_name,created_at,status\n1,green_theme,^_^,,active\n"
        "2,picture,blue_theme,,active\n"
    )
    words = [*_WRITE, "--implications", graph]
    assert _apply(tagger, manifest, *words) == 0
    added = _added(manifest)
    assert added["001"] == ["green theme", "^_^"]
    assert added["002"] == ["blue theme"]
    assert _apply(tagger, manifest, *words, "--without-implied", "--restart") == 0
    added = _added(manifest)
    assert added["001"] == ["green theme"]
    assert added["002"] == [], "a person's picture implies it"


def test_a_look_before_writes_no_tags(
    manifest: Path, tagger: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in manifest.rglob("*") if path.is_file()}
    assert _apply(tagger, manifest, *_WRITE, "--preview", 5) == 0
    page = (manifest / "additions" / "wd.preview.html").read_text()
    assert page.count("<h3>") == 5
    assert page.count("data:image/jpeg") == 5
    capsys.readouterr()
    assert _apply(tagger, manifest, *_WRITE, "--preview", 5, "--json") == 0
    told = json.loads(capsys.readouterr().out)  # Regression: a sentence, where programs read.
    assert Path(told["page"]) == manifest / "additions" / "wd.preview.html"
    assert _apply(tagger, manifest, *_WRITE, "--dry-run", "-o", manifest.parent / "dry.html") == 0
    assert re.search(r"green theme +4 +0", capsys.readouterr().out)
    assert "would be added" in (manifest.parent / "dry.html").read_text()
    for path, content in before.items():
        assert path.read_bytes() == content, path
    assert not list((manifest / "additions").glob("*.jsonl"))


def test_when_no_picture_can_be_tagged_that_is_an_error(
    manifest: Path, tagger: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Regression: pictures that had been moved away were "0 of 0 pictures", and all was well."""
    for picture in (manifest.parent / "pictures").glob("*.png"):
        picture.unlink()
    assert _apply(tagger, manifest, *_WRITE) == 2
    told = capsys.readouterr()
    assert "no picture could be tagged; the first: " in told.err
    assert "20 pictures could not be tagged" in told.out


def test_names_in_pages_are_escaped(tmp_path: Path) -> None:
    manifest = _prepared(tmp_path, 3, {0: {"general": ["<script>alert(1)</script>"]}})
    tags = [("<img src=x onerror=alert(2)>", 0), ("b", 0), ("</td><b>red", 0), ("c", 0), ("d", 0), ("e", 0)]
    tagger = write_wd(tmp_path / "wd", [*tags, ("f", 4)])
    for words in (["--preview", "3"], []):
        assert _apply(tagger, manifest, "--threshold", "0.3", *words) == 0
    for path in (manifest / "additions").glob("*.html"):
        text = path.read_text()
        assert "<script>alert" not in text
        assert "<img src=x" not in text
        assert "<b>red" not in text
        assert "&lt;" in text


def test_a_broken_picture_is_named_and_tried_again(
    manifest: Path, tagger: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = manifest.parent / "pictures" / "006.png"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:200])
    (manifest.parent / "pictures" / "011.png").unlink()
    assert _apply(tagger, manifest, *_WRITE) == 0
    told = capsys.readouterr().out
    assert "2 pictures could not be tagged" in told
    assert "006.png" in told
    assert "011" in told
    assert _added(manifest)["006"] == []
    assert _added(manifest)["001"] == ["green theme"]
    broken.write_bytes(whole)
    assert _apply(tagger, manifest, *_WRITE) == 0
    assert "1 pictures could not be tagged" in capsys.readouterr().out
    assert _added(manifest)["006"] == ["green theme"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--threshold", "x"], "is 'x', must be SCORE or CATEGORY=SCORE"),
        (["--threshold", "nan"], "must be a finite number"),
        (["--threshold", "0.3", "--threshold", "0.4"], "is 0.3 and 0.4"),
        (["--threshold", "character=0.85"], "need one for all others"),
        (["--threshold", "0.3", "--threshold", "artist=0.5"], "no tags of that category; it has character"),
        (["--threshold", "0.3", "--precision", "0.9"], "give a precision or thresholds, not both"),
        (["--threshold", "1.5"], "must be less than or equal to 1"),
        (["--threshold", "0.3", "--only", "nothing like it"], "fits no tag of the tagger"),
        (["--threshold", "0.3", "--except", "**"], "no tag of the tagger is left"),
        (["--threshold", "0.3", "--name", "human"], "kept for what a person says"),
        (["--threshold", "0.3", "--name", "../x"], "must be 1 to 80 letters"),
        (["--threshold", "0.3", "--corrections", "/none"], "/none cannot be read"),
        (["--threshold", "0.3", "--rename", "/none"], "/none cannot be read"),
        (["--threshold", "0.3", "--implications", "/none"], "cannot read the implications"),
        ([], "comes with no thresholds"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_written(
    manifest: Path, tagger: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    assert _apply(tagger, manifest, *words) == 2
    assert says in capsys.readouterr().err
    assert not list(manifest.rglob("*.jsonl")) or not (manifest / "additions").exists()


def test_a_plain_table_is_refused(tmp_path: Path, tagger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _apply(tagger, tmp_path / "none", "--threshold", "0.3") == 2
    assert str(tmp_path / "none") in capsys.readouterr().err


_STANDS_STILL = """
import itertools, sys, time
import onnxruntime
from trainkit.cli import main

run, number = onnxruntime.InferenceSession.run, itertools.count()

def slow(session, *asked):
    if next(number) >= 40:
        time.sleep(3600)
    return run(session, *asked)

onnxruntime.InferenceSession.run = slow
sys.exit(main(sys.argv[1:]))
"""
"""trainkit with a model that does not get beyond its 40th batch, so that a kill meets it in the middle."""


def _start(*launcher: str, words: list[object]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *launcher, "tagger", "apply", *map(str, words)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_killed_and_gone_on_with_by_two_processes(
    tmp_path: Path, tagger: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = _prepared(tmp_path, 120)
    words: list[object] = [tagger, manifest, *_WRITE, "--batch", "1"]
    journal = manifest / "additions" / ".wd" / "rank-00000.jsonl"
    process = _start("-c", _STANDS_STILL, words=words)
    end = time.monotonic() + PATIENCE
    while not journal.exists() or journal.read_bytes().count(b"\n") <= 5:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "the process does not get on"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = journal.read_bytes().count(b"\n") - 1
    assert 0 < done < 120, "killed in the middle"
    assert not any(_added(manifest).values()), "the manifest is as it was"

    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "trainkit"]
    both = _start(*launcher, words=words)
    out, err = both.communicate(timeout=PATIENCE)
    assert both.returncode == 0, err
    assert out.count("report: ") == 1, "one of them speaks"
    assert f"({done} of them by an earlier start)" in out
    made = [addition.id for addition in read_additions(manifest, "wd")]
    assert sorted(made) == [f"{n:03d}" for n in range(120)], "every picture once"
    assert all(names == _theme(id) for id, names in _added(manifest).items())

    shutil.rmtree(tmp_path / "pictures")
    capsys.readouterr()
    assert _apply(tagger, manifest, "--threshold", "0.99", "--restart", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["from_kept_scores"] == 120, "by the scores of all three processes"
