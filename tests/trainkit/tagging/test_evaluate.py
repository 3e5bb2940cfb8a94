"""Evaluations: figures that are known, a tagger of ours from the command line, and what a person said."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from captionkit import ImplicationGraph, Record, Tag
from trainkit.cli import main
from trainkit.errors import ModelError, TrainkitError
from trainkit.manifest_pictures import ManifestPictures
from trainkit.prepare import PrepareConfig, prepare
from trainkit.tagging.backbone import BackboneConfig, make_backbone
from trainkit.tagging.corrections import Correction, Corrections, write_corrections
from trainkit.tagging.curves import EVALUATION, read_evaluation
from trainkit.tagging.evaluate import at_temperatures, calibrations_of
from trainkit.tagging.evaluating import evaluate, keep_evaluation
from trainkit.tagging.evaluation_page import evaluation_page
from trainkit.tagging.folder import About, read_about, write_about, write_tagger
from trainkit.tagging.judging import Judged, judge_pictures
from trainkit.tagging.label import Label
from trainkit.tagging.learned import Learned, write_learned
from trainkit.tagging.network import Head, TaggerNetwork
from trainkit.tagging.outputs import Outputs, Temperatures
from trainkit.tagging.questions import disagreements, uncertain
from trainkit.tagging.scores import CACHE
from trainkit.tagging.split import SplitConfig
from trainkit.tagging.tagger import Tagger
from trainkit.tagging.targets import Closing
from trainkit.tagging.truth import Truth

HOSTILE = "<script>alert(1)</script>"
LABELS = (
    Label("day", None, "light"),
    Label("night", None, "light"),
    Label("red", "colour"),
    Label(HOSTILE, "colour"),
)


class ByColour(Tagger):
    """Red is how red a picture is, day how green; the last tag is a guess."""

    looked = 0

    @property
    def name(self) -> str:
        return "by colour"

    @property
    def labels(self) -> tuple[Label, ...]:
        return LABELS

    @property
    def thresholds(self) -> Mapping[str, float]:
        return {}

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        return np.asarray(np.asarray(image, np.float32).mean(axis=(0, 1)) / 255)

    def scores(self, batch: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        self.looked += len(batch)
        return np.array([[c[1], 1 - c[1], c[0], 0.5] for c in batch], np.float32)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 pictures, every fifth labelled with the wrong light, every tenth without any tag."""
    folder = tmp_path_factory.mktemp("evaluate")
    lines = []
    for i in range(60):
        red, day = i % 3 == 0, i % 2 == 0
        colour = (200 if red else 40 + i % 7, 220 if day else 30, i)
        Image.new("RGB", (16, 16), colour).save(folder / f"{i}.png")
        light = "day" if day != (i % 5 == 1) else "night"
        tags = [] if i % 10 == 9 else [light, "picture", *(["red"] if red else [])]
        if i == 2:
            tags.append(HOSTILE)
        lines.append(json.dumps({"id": f"p/{i}", "image": f"{i}.png", "tags": tags}))
    (folder / "posts.jsonl").write_text("\n".join(lines))
    prepare(
        str(folder / "posts.jsonl"),
        folder / "manifest",
        PrepareConfig(untagged=True),
        processes=1,
        show=False,
    )
    return folder / "manifest"


def judged_by(
    tagger: Tagger, manifest: Path, cache: Path | None = None, corrections: Corrections | None = None
) -> Judged:
    return judge_pictures(
        tagger, "mark", ManifestPictures.open(manifest), cache, corrections=corrections or Corrections()
    )


def test_figures_are_those_that_were_put_in(manifest: Path) -> None:
    judged = judged_by(ByColour(), manifest)
    found = evaluate(judged, manifest, calibrate=False)
    assert (found.pictures, found.without_tags, found.held_out, found.labels) == (54, 6, False, 4)
    [light] = found.confusions
    wrong = sum(1 for i in range(60) if i % 10 != 9 and i % 5 == 1)
    assert (light.pictures, light.right) == (54, 54 - wrong)
    assert found.curves["red"].average_precision == 1
    assert found.curves["red"].threshold_for(1.0) is not None
    assert found.curves[HOSTILE].positives == 1
    assert found.curves[HOSTILE].average_precision == pytest.approx(1 / 54)
    asked = disagreements(judged.outputs, found.curves, judged.rows, judged.scores(), judged.truth, most=100)
    by_light = [question for question in asked if question.subject == "light"]
    assert sorted(question.row for question in by_light) == [
        i for i in range(60) if i % 10 != 9 and i % 5 == 1
    ]
    assert all(question.answers == ("day", "night") for question in by_light)
    assert {question.subject for question in asked} <= {"light", HOSTILE}


def test_the_page_shows_all_of_it_and_runs_nothing_of_it(manifest: Path) -> None:
    found = evaluate(judged_by(ByColour(), manifest), manifest, calibrate=False)
    html = evaluation_page(found, review=3)
    assert HOSTILE not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "lower bound" in html
    assert "Nobody knows whether these pictures were kept from its training" in html


def test_scores_are_computed_once(manifest: Path, tmp_path: Path) -> None:
    tagger = ByColour()
    first = judged_by(tagger, manifest, tmp_path / "scores.npz")
    assert tagger.looked == 54
    second = judged_by(tagger, manifest, tmp_path / "scores.npz")
    assert tagger.looked == 54
    np.testing.assert_array_equal(first.raw, second.raw)
    (tmp_path / "scores.npz").write_bytes((tmp_path / "scores.npz").read_bytes()[:-900])
    np.testing.assert_array_equal(judged_by(tagger, manifest, tmp_path / "scores.npz").raw, first.raw)
    assert tagger.looked == 108
    pictures = ManifestPictures.open(manifest)
    judge_pictures(tagger, "other", pictures, tmp_path / "scores.npz", corrections=Corrections())
    assert tagger.looked == 162


def test_a_picture_whose_digest_nobody_knows_is_looked_at_each_time(tmp_path: Path) -> None:
    """Once scores were kept by its id alone: those of the old picture stood for the new one."""
    columns: dict[str, list[object]] = {
        "id": ["a"],
        "image": ["a.png"],
        "width": [16],
        "height": [16],
        "tags": [["red"]],
    }
    pq.write_table(pa.table(columns), tmp_path / "table.parquet")
    reds = []
    for red in (200, 40):
        Image.new("RGB", (16, 16), (red, 0, 0)).save(tmp_path / "a.png")
        judged = judged_by(ByColour(), tmp_path / "table.parquet", tmp_path / "scores.npz")
        reds.append(judged.raw[0, 2])
    assert reds == [pytest.approx(200 / 255), pytest.approx(40 / 255)]


def test_a_picture_that_is_gone_and_scores_that_are_none_are_told(manifest: Path, tmp_path: Path) -> None:
    copied = tmp_path / "data"
    shutil.copytree(manifest.parent, copied)
    (copied / "2.png").unlink()

    class Odd(ByColour):
        def scores(self, batch: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
            scores = super().scores(batch)
            scores[0, 0] = np.nan
            return scores

    judged = judged_by(Odd(), copied / "manifest")
    assert any("2.png" in problem for problem in judged.problems)
    assert any("are no numbers" in problem for problem in judged.problems)
    assert len(judged.rows) + len(judged.problems) == 54


def test_nothing_to_judge_says_what_to_do(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    prepare(str(tmp_path), tmp_path / "m", PrepareConfig(untagged=True), processes=1, show=False)
    with pytest.raises(TrainkitError, match=r"none of 1 pictures has a tag.*tagger review"):
        judged_by(ByColour(), tmp_path / "m")


def truth_of(
    record: Record, corrections: Corrections | None = None, none_of: tuple[str, ...] = ()
) -> list[int]:
    outputs = Outputs(LABELS, none_of, ((2, 3),))
    closing = Closing(outputs, ImplicationGraph({"red": [HOSTILE]}), {})
    truth = Truth(outputs, closing, corrections=corrections, unheard=("by colour",))
    return [int(one) for one in truth.of(record)]


@pytest.mark.parametrize(
    ("tags", "said", "truth"),
    [
        ([], {}, [-1, -1, -1, -1]),
        (["fox"], {}, [-1, -1, 0, 0]),
        (["Day", "red"], {}, [1, 0, 1, 1]),
        (["day", "night"], {}, [-1, -1, 0, 0]),
        (["day", "night"], {"night": False}, [1, 0, 0, 0]),
        (["day"], {"night": True}, [0, 1, 0, 0]),
        (["fox"], {"night": False, "day": False}, [0, 0, 0, 0]),
        ([], {"red": True}, [-1, -1, 1, 1]),
        (["red"], {HOSTILE: False}, [-1, -1, 0, 0]),
    ],
)
def test_what_is_known_of_a_picture(tags: list[str], said: dict[str, bool], truth: list[int]) -> None:
    record = Record("a", tuple(map(Tag, tags)))
    corrections = Corrections(Correction("a", tag, right) for tag, right in said.items())
    assert truth_of(record, corrections) == truth


def test_what_the_tagger_added_is_no_witness() -> None:
    assert truth_of(Record("a", (Tag("day", source="by colour"), Tag("fox")))) == [-1, -1, 0, 0]
    assert truth_of(Record("a", (Tag("day", source="by colour"),))) == [-1, -1, -1, -1]
    assert truth_of(Record("a", (Tag("fox"),)), none_of=("light",)) == [0, 0, 0, 0]


@given(st.floats(0.2, 5), st.floats(0.2, 5), st.integers(0, 99))
def test_temperatures_keep_implications_and_there_and_back_is_nothing(
    tags: float, light: float, seed: int
) -> None:
    outputs = Outputs(LABELS, ("light",), ((2, 3),))
    logits = np.random.default_rng(seed).normal(0, 2, (6, 5)).astype(np.float32)
    scores = outputs.probabilities(logits)
    wanted = outputs.probabilities(logits, Temperatures(tags, {"light": light}))
    moved = at_temperatures(outputs, scores, Temperatures(tags, {"light": light}))
    np.testing.assert_allclose(moved, wanted, atol=2e-4)
    assert (moved[:, 3] >= moved[:, 2]).all()


def test_a_temperature_that_does_not_help_the_other_half_is_not_used() -> None:
    rng = np.random.default_rng(0)
    outputs = Outputs((Label("red"),))
    scores = rng.random((4000, 1)).astype(np.float32)
    half = np.arange(4000) % 2 == 0
    honest = rng.random((4000, 1)) < scores
    mixed = np.where(half[:, None], scores > 0.5, honest).astype(np.int8)
    [found] = calibrations_of(outputs, scores, mixed, half)
    assert found.tried < 0.2
    assert found.temperature == 1.0
    [found] = calibrations_of(outputs, scores, (scores > 0.5).astype(np.int8), half)
    assert found.temperature < 0.2
    assert found.error_after < found.error_before


def test_what_is_least_certain_comes_first(manifest: Path) -> None:
    judged = judged_by(ByColour(), manifest)
    asked = uncertain(judged.outputs, {}, judged.rows, judged.scores(), most=3)
    assert {question.subject for question in asked} == {"light", "red", HOSTILE}
    light = [question for question in asked if question.subject == "light"]
    assert [question.weight for question in light] == sorted((q.weight for q in light), reverse=True)
    assert all(question.labelled is None for question in asked)


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tagger of ours with random weights."""
    folder = tmp_path_factory.mktemp("tagger") / "tiny"
    settings = {"hidden_sizes": [8], "depths": [1], "num_stages": 1, "patch_size": 4}
    made = make_backbone(BackboneConfig(kind="convnext", settings=settings, size=16), 0)
    outputs = Outputs(LABELS[:3])
    network = TaggerNetwork(made.backbone, Head(made.backbone.num_features, outputs.count, 0.0))
    torch.nn.init.normal_(network.head.linear.weight, 0, 2, generator=torch.Generator().manual_seed(1))
    about = About(
        "tiny",
        outputs,
        made.preprocessing,
        made.backbone.pool,
        SplitConfig(share=0.9, seed=3),
        False,
        (),
        Temperatures(3.0, {"light": 3.0}),
        "convnext",
        (),
        {},
        {},
    )
    write_tagger(folder, about, made.backbone, network.state_dict())
    return folder


def test_a_tagger_of_ours_is_evaluated_calibrated_and_judged_again_without_looking(
    manifest: Path, tagger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, data = tmp_path / "tagger", tmp_path / "data"
    shutil.copytree(tagger, ours)
    shutil.copytree(manifest.parent, data)
    words = ["tagger", "evaluate", str(ours), str(data / "manifest")]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "held-out pictures" in told
    assert "always the commonest" in told
    assert "precision is a lower bound" in told
    curves = read_evaluation(ours)
    assert set(curves) == {"day", "night", "red"}
    assert (ours / "report.html").is_file()
    assert (ours / "review.html").is_file()
    evaluation = json.loads((ours / "evaluation.json").read_text())
    temperatures = read_about(ours).temperatures
    assert temperatures == Temperatures(**evaluation["temperature"])
    assert temperatures != read_about(tagger).temperatures

    # Every picture is gone; but all scores are known.
    for picture in data.glob("*.png"):
        picture.unlink()
    assert main([*words, "--review", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tags"] == evaluation["tags"]
    assert read_evaluation(ours) == curves

    # What a person said counts more than the record.
    everything = [Correction(f"p/{i}", "red", i % 2 == 0) for i in range(60)]
    write_corrections(tmp_path / "corrections.jsonl", everything)
    assert main([*words, "--review", "0", "--corrections", str(tmp_path / "corrections.jsonl")]) == 0
    assert read_evaluation(ours)["red"].positives != curves["red"].positives


def test_what_the_tagger_learned_from_a_person_counts_and_what_counts_nowhere_is_said(
    manifest: Path, tagger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Regression: an evaluation without --corrections held the records against what a person had said before,
    and one with the corrections of another manifest was silent about it."""
    ours, pictures = shutil.copytree(tagger, tmp_path / "tagger"), ManifestPictures.open(manifest)
    words = ["tagger", "evaluate", str(ours), str(manifest), "--review", "0"]
    assert main(words) == 0
    before = read_evaluation(ours)["red"].positives
    ids = {pictures.record(row).id: pictures.digest(row) for row in range(len(pictures))}
    write_learned(ours, [Learned(Correction(id, "red", True), digest) for id, digest in ids.items()])
    (tmp_path / "other.jsonl").write_text(
        '{"id": "elsewhere/1", "tag": "red", "right": true}\n{"id": "p/1", "tag": "nigth", "right": true}\n'
    )
    capsys.readouterr()
    assert main([*words, "--corrections", str(tmp_path / "other.jsonl")]) == 0
    told = capsys.readouterr().err
    assert read_evaluation(ours)["red"].positives > before
    assert "60 of" in told
    assert "from the tagger's training" in told
    assert "1 of 2 are of pictures that the manifest does not have, the first of 'elsewhere/1'" in told
    assert "1 of 2 are of tags that the tagger does not know, the first 'nigth' of 'p/1'" in told


def test_where_nothing_can_be_written_no_picture_is_looked_at(
    manifest: Path, tagger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Regression: 20,000 pictures were scored, and then it could not be written."""
    ours = shutil.copytree(tagger, tmp_path / "tagger")
    out = tmp_path / "file" / "evaluation"
    out.parent.write_text("")
    for words in (["evaluate", str(ours), str(manifest)], ["review", str(manifest), "--tagger", str(ours)]):
        assert main(["tagger", *words, "-o", str(out)]) == 2
        assert f"{out} cannot be written: Not a directory; -o FOLDER" in capsys.readouterr().err
    assert not (ours / CACHE).exists()
    # A tagger that belongs to somebody else, and a new folder for all that comes of it.
    new = tmp_path / "new"
    assert main(["tagger", "evaluate", str(ours), str(manifest), "-o", str(new), "--review", "0"]) == 0
    assert f"next: trainkit tagger apply {ours} {manifest} --evaluation {new} --" in capsys.readouterr().out


def test_thresholds_never_outlive_the_temperatures_that_they_are_for(manifest: Path, tmp_path: Path) -> None:
    """Regression: killed between writing the two, an evaluation left new temperatures beside thresholds of
    the old ones, and `apply --precision` went by these."""
    (tmp_path / EVALUATION).write_text("{}")
    evaluation = evaluate(judged_by(ByColour(), manifest), manifest, calibrate=True)
    with pytest.raises(ModelError):
        keep_evaluation(tmp_path, evaluation, tmp_path)  # There is no tagger.
    assert not (tmp_path / EVALUATION).exists()


def test_elsewhere_the_tagger_stays_as_it_is(manifest: Path, tagger: Path, tmp_path: Path) -> None:
    before = (tagger / "tagger.json").read_bytes()
    assert main(["tagger", "evaluate", str(tagger), str(manifest), "-o", str(tmp_path / "out"), "--all"]) == 0
    assert (tagger / "tagger.json").read_bytes() == before
    assert not (tagger / "evaluation.json").exists()
    assert read_evaluation(tmp_path / "out")["red"].pictures == 54


def test_a_review_of_a_tagger(
    manifest: Path, tagger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["tagger", "review", str(manifest), "--tagger", str(tagger), "--count", "10", "--json"]
    assert main([*words, "-o", str(tmp_path / "a")]) == 0
    assert json.loads(capsys.readouterr().out)["questions"] == 10
    assert main([*words, "-o", str(tmp_path / "b"), "--uncertain"]) == 0
    assert json.loads(capsys.readouterr().out)["questions"] == 10
    write_corrections(
        tmp_path / "all.jsonl",
        [Correction(f"p/{i}", tag, False) for i in range(60) for tag in ("day", "night", "red")],
    )
    said = ["--corrections", str(tmp_path / "all.jsonl")]
    assert main([*words, "-o", str(tmp_path / "c"), "--uncertain", *said]) == 0
    assert json.loads(capsys.readouterr().out)["pages"] == []


def test_a_foreign_manifest_is_told_from_one_that_was_held_out(
    manifest: Path, tagger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = tmp_path / "tagger"
    shutil.copytree(tagger, ours)
    write_about(ours, replace(read_about(ours), split=SplitConfig(share=1e-9)))
    assert main(["tagger", "evaluate", str(ours), str(manifest)]) == 2
    assert "was held out" in capsys.readouterr().err
