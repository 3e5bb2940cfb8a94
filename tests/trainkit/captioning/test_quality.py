"""``trainkit caption-clean``: raw answers cleaned and judged again, held against the tags, on a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.trainkit.captioning.caption_runs import additions, captions, write_manifest, write_run_file
from trainkit.additions.finished import write_additions
from trainkit.additions.merge import merge_additions
from trainkit.captioning.config import load_caption_run
from trainkit.captioning.judged import Judge, captioned
from trainkit.cli import main
from trainkit.manifest_pictures import ManifestPictures

RAW = (
    "The image shows a shape that appears to be drawn by hand.",
    "The image shows a plain ground and nothing more. There is no {tag}.",
    "I'm sorry, but I can't describe this image.",
    "<b>A shape</b> on a plain ground, drawn with a thick brush.",
    "A small shape.",
)


def write_run(folder: Path) -> Path:
    """The run file of a finished run over five drawn scenes."""
    manifest = write_manifest(folder, len(RAW))
    run_file = write_run_file(folder / "caption.toml", manifest, "http://127.0.0.1:9")
    config = load_caption_run(run_file)
    judge, pictures = Judge(config.clean, config.gate), ManifestPictures.open(manifest)
    made = []
    for row, raw in enumerate(RAW):
        record = pictures.record(row)
        text = raw.format(tag=record.tags[0].name)
        judged = judge.judge(text, finish="stop", prompt="")
        detail = {"raw": text, "finish": "stop", "prompt": "", "model": "m"}
        made.append(captioned(record.id, pictures.digest(row), "cog", detail, judged, judge.mark))
    write_additions(manifest, "cog", {"model": "m"}, made)
    merge_additions(manifest)
    return run_file


def told(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["caption-clean", *words, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_whole_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_file = write_run(tmp_path)
    manifest = tmp_path / "manifest"
    before, raws = captions(manifest), {id: one.detail["raw"] for id, one in additions(manifest).items()}

    # By the settings of the run nothing differs.
    same = told(capsys, str(run_file))
    assert (same["captioned"], same["refused"], same["changed"]) == (3, 2, 0)
    assert same["faults"] == {"empty": 1, "refusal": 1, "markup": 1}
    assert [one["how"] for one in same["denied"]] == ["negated"]
    page = Path(same["page"]).read_text(encoding="utf-8")
    assert "&lt;b&gt;A shape" in page
    assert "<b>A shape" not in page
    assert "data:image/jpeg;base64," in page

    # Others would change some; nothing is written without being asked for.
    other = [str(run_file), 'gate.let_through=["markup"]', "gate.min_words=4", "clean.hedges=false"]
    would = told(capsys, *other)
    assert (would["captioned"], would["changed"], would["written"]) == (3, 3, False)
    assert captions(manifest) == before

    # Written, the manifest has them, and what the models said stays as it was.
    assert told(capsys, *other, "--write")["written"]
    assert told(capsys, *other)["changed"] == 0
    assert main(["caption-clean", *other]) == 0
    assert "the manifest has them so already" in capsys.readouterr().out
    after = captions(manifest)
    assert sorted(text for one in after.values() for text in one.values()) == [
        "<b>A shape</b> on a plain ground, drawn with a thick brush.",
        *(text for one in before.values() for text in one.values() if "ground" in text),
        "A shape that appears to be drawn by hand.",
    ]
    assert {id: one.detail["raw"] for id, one in additions(manifest).items()} == raws


def test_a_run_that_has_not_ended_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_file = write_run_file(tmp_path / "caption.toml", write_manifest(tmp_path, 2), "http://127.0.0.1:9")
    assert main(["caption-clean", str(run_file)]) == 2
    assert "nothing was finished under this name" in capsys.readouterr().err
