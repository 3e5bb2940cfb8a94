"""The pages on which a person judges: driven by a real browser, by its keyboard."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.trainkit.tagging.browser import BACKSPACE, LEFT, RIGHT, Browser, browser, browser_found
from trainkit.cli import main
from trainkit.manifest_pictures import ManifestPictures
from trainkit.prepare import PrepareConfig, prepare
from trainkit.tagging import review as review_module
from trainkit.tagging.corrections import Correction, Corrections, read_corrections, write_corrections
from trainkit.tagging.even import sample_questions
from trainkit.tagging.questions import Question, worthiest
from trainkit.tagging.review import write_review

HOSTILE = "</script><img src=x onerror=\"document.title='owned'\">"


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures of one colour each, one of which is called as no picture should be."""
    folder = tmp_path_factory.mktemp("review")
    lines = []
    for i in range(6):
        Image.new("RGB", (40 + i, 40), (40 * i, 90, 200 - 30 * i)).save(folder / f"{i}.png")
        id = HOSTILE if i == 3 else f"picture/{i}"
        lines.append(json.dumps({"id": id, "image": f"{i}.png", "tags": ["colour", f"tag {HOSTILE}"]}))
    (folder / "posts.jsonl").write_text("\n".join(lines))
    prepare(str(folder / "posts.jsonl"), folder / "manifest", PrepareConfig(), processes=1, show=False)
    return folder / "manifest"


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if not browser_found():
        pytest.skip("needs chromium and chromedriver")
    with browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


def test_a_person_judges_by_keyboard_and_takes_the_corrections_home(
    manifest: Path, tmp_path: Path, window: Browser
) -> None:
    pictures = ManifestPictures.open(manifest)
    ids = [pictures.record(row).id for row in range(6)]
    questions = [
        *(Question(row, HOSTILE, (), "yes", "no", 0.97) for row in range(4)),
        *(Question(row, "light", ("day", "night", "dusk")) for row in range(3)),
    ]
    [page] = write_review(tmp_path, f"Judge {HOSTILE}", "Why not.", questions, pictures).paths
    window.open(page)
    assert window.text("h1") == f"Judge {HOSTILE}"
    assert window.text("#told") == "0 of 7 judged"
    window.keys("yn")
    window.keys(RIGHT)  # On from the third without a word.
    window.keys("u")
    assert window.text("#told") == "3 of 7 judged"
    assert window.text("#what") == "Which light?"
    window.keys("23")
    window.keys(BACKSPACE)  # Undo: the second light is asked about again.
    assert window.text("#told") == "4 of 7 judged"
    window.keys("01")  # None of them; the last one is day. Then comes what was left out.
    assert window.text("#known").endswith(f"Picture{ids[2]}")
    window.keys(LEFT)
    window.keys("y")  # Another word about the second.
    assert window.text("#told") == "6 of 7 judged"

    # Another visit: what was said is there, and can be undone.
    window.open(page)
    assert window.text("#told") == "6 of 7 judged"
    window.keys("z")
    assert window.text("#told") == "5 of 7 judged"
    window.keys("n")
    window.click("#save")
    said = read_corrections(window.saved("corrections.jsonl"))
    assert [(one.id, one.tag, one.right) for one in said] == [
        (ids[0], HOSTILE, True),
        (ids[0], "day", False),
        (ids[0], "night", True),
        (ids[0], "dusk", False),
        (ids[1], "day", False),
        (ids[1], "night", False),
        (ids[1], "dusk", False),
        (ids[1], HOSTILE, False),
        (ids[2], "day", True),
        (ids[2], "night", False),
        (ids[2], "dusk", False),
    ]
    assert window.run("return document.title") == f"Judge {HOSTILE}"
    assert window.errors() == []


def test_corrections_that_are_loaded_go_on(manifest: Path, tmp_path: Path, window: Browser) -> None:
    pictures = ManifestPictures.open(manifest)
    questions = [Question(row, "red", ()) for row in (0, 3)] + [Question(1, "light", ("day", "night"))]
    [page] = write_review(tmp_path, "Judge", "Why not.", questions, pictures).paths
    said = [
        Correction(HOSTILE, "red", False),
        Correction("picture/1", "day", False),
        Correction("picture/1", "night", True),
        Correction("elsewhere", "red", True),
    ]
    write_corrections(tmp_path / "before.jsonl", said)
    window.open(page)
    window.type("#load", str(tmp_path / "before.jsonl"))
    window.wait_for("#told", "2 of 3 judged")
    window.keys("y")
    assert window.run("return document.getElementById('end').hidden") is False
    window.click("#save")
    now = read_corrections(window.saved("corrections.jsonl"))
    assert now.get("picture/0", "red") is True
    assert [now.get(one.id, one.tag) for one in said] == [False, False, True, None]


def test_one_tag_at_a_time_and_without_a_picture_of_another(
    manifest: Path, tmp_path: Path, window: Browser
) -> None:
    pictures = ManifestPictures.open(manifest)
    questions = [Question(row, tag, ()) for tag in ("red", "blue") for row in range(3)]
    [page] = write_review(tmp_path, "Judge", "Why not.", questions, pictures).paths
    window.open(page)
    window.run("const f = document.getElementById('filter'); f.value = 'blue'; f.onchange()")
    assert window.text("#told") == "0 of 3 judged"
    window.keys("yyy")
    assert window.text("#told") == "3 of 3 judged"
    assert window.text("#what") == "Does it have blue?"


def test_large_reviews_are_several_pages(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review_module, "_MOST_BYTES", 2_500)
    pictures = ManifestPictures.open(manifest)
    questions = [Question(row, tag, ()) for tag in ("red", "blue") for row in range(6)]
    (tmp_path / "review-9.html").write_text("of an earlier review")
    reviewed = write_review(tmp_path, "Judge", "Why not.", questions, pictures)
    assert set(reviewed.paths) == set(tmp_path.iterdir())
    assert len(reviewed.paths) > 2
    assert all(path.stat().st_size < 2_500 + 30_000 for path in reviewed.paths)
    assert sum(path.read_text().count('"subject":') for path in reviewed.paths) == len(questions)
    write_review(tmp_path, "Judge", "Why not.", [], pictures)
    assert list(tmp_path.iterdir()) == []


def test_a_sample_is_the_same_every_time_and_goes_on_after_corrections(manifest: Path) -> None:
    pictures = ManifestPictures.open(manifest)

    def rows(count: int, corrections: Corrections | None = None, seed: int = 0) -> list[int]:
        judged = (corrections or Corrections()).get
        asked = sample_questions(pictures, ["red"], {}, count=count, seed=seed, judged=judged)
        return [question.row for question in asked]

    assert rows(2) == rows(4)[:2]
    assert sorted(rows(10)) == [0, 1, 2, 3, 4, 5]
    assert rows(6, seed=1) != rows(6)
    judged = Corrections(Correction(pictures.record(row).id, "Red", True) for row in rows(2))
    assert rows(2, judged) == rows(4)[2:]


def test_subjects_take_turns() -> None:
    questions = [Question(row, "a", (), weight=0.9 - row / 100) for row in range(5)]
    questions += [Question(9, "b", (), weight=0.1), Question(8, "c", (), weight=0.95)]
    chosen = worthiest(questions, 4)
    assert [(q.subject, q.row) for q in chosen] == [("c", 8), ("a", 0), ("a", 1), ("b", 9)]


def test_the_command_makes_a_page_to_label_from_nothing(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["tagger", "review", str(manifest), "-o", str(tmp_path / "out"), "--count", "3"]
    assert main([*words, "--tag", "red", "--group", "light=day,night"]) == 0
    assert "6 questions" in capsys.readouterr().out
    assert '"subject":"light"' in (tmp_path / "out" / "review.html").read_text()
    assert main(words) == 2
    assert "give either --tagger, or what to ask" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*words, "--group", "light=day"])
    assert "must be NAME=TAG,TAG" in capsys.readouterr().err


def test_a_picture_that_is_gone_is_not_asked_about(manifest: Path, tmp_path: Path) -> None:
    copied = tmp_path / "data"
    shutil.copytree(manifest.parent, copied)
    (copied / "2.png").unlink()
    pictures = ManifestPictures.open(copied / "manifest")
    questions = [Question(row, "red", ()) for row in range(6)]
    reviewed = write_review(tmp_path, "Judge", "Why not.", questions, pictures)
    assert reviewed.asked == 5
    assert "2.png" in reviewed.problems[0]
