"""Pictures of which nothing is known: prepared when asked for, looked at, trained, and given tags."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from captionkit import CaptionPipeline
from tests.trainkit.additions.known import ROWS, put_pictures, records_in
from tests.trainkit.prepare.drawn import drawn, encoded
from trainkit.cli import main
from trainkit.data_config import DataConfig
from trainkit.errors import TrainkitError
from trainkit.manifest_pictures import ManifestPictures
from trainkit.pictures import read_data
from trainkit.place import Place
from trainkit.prepare import PrepareConfig, prepare

UNTAGGED = PrepareConfig(untagged=True)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Seven pictures: one with tags, one with facts alone, one with an empty sidecar, and a mask."""
    folder = put_pictures(tmp_path / "data")
    (folder / "1.txt").write_text("fox, snow")
    (folder / "2.json").write_text('{"rating": "s"}')
    (folder / "3.txt").write_text(" \n")
    shutil.copy(folder / "4.png", folder / "4-masklabel.png")
    return folder


@pytest.mark.parametrize("kind", ["folder", "tar", "jsonl", "csv", "parquet"])
def test_all_readers_let_them_through_when_asked(data: Path, tmp_path: Path, kind: str) -> None:
    names = [f"data/{number}.png" for number in range(ROWS)]
    source = {"folder": data}.get(kind, tmp_path / f"all.{kind}")
    if kind == "tar":
        with tarfile.open(source, "w") as tar:
            for path in sorted(data.iterdir()):
                tar.add(path, path.name)
    elif kind == "jsonl":
        source.write_text("".join(json.dumps({"image": name}) + "\n" for name in names))
    elif kind == "csv":
        source.write_text("image,rating\n" + "".join(f"{name},s\n" for name in names))
    elif kind == "parquet":
        pq.write_table(pa.table({"image": names}), source)
    manifest = tmp_path / "manifest"
    assert prepare(source, manifest, UNTAGGED, processes=1).rows == ROWS
    tagged = [record for record in records_in(manifest) if record.tags or record.prose]
    assert [[tag.name for tag in record.tags] for record in tagged] == (
        [["fox", "snow"]] if kind in ("folder", "tar") else []
    )
    facts = {record.fact("rating") for record in records_in(manifest)}
    assert facts == {"folder": {None, "s"}, "tar": {None, "s"}, "csv": {"s"}}.get(kind, {None})


def test_without_it_they_are_left_out_and_what_to_do_is_said(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["prepare", str(data), "-o", str(tmp_path / "manifest"), "--processes", "1"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "empty record" in said
    assert "pictures of which nothing is known are taken with --untagged" in said
    for path in [*data.glob("*.txt"), *data.glob("*.json")]:
        path.unlink()
    with pytest.raises(TrainkitError, match=r"no picture can be used .*--untagged takes pictures"):
        prepare(data, tmp_path / "other", processes=1)
    assert main([*words, "--untagged"]) == 0
    said = capsys.readouterr().out
    assert "no picture has tags or captions yet\nnext: trainkit tagger apply TAGGER" in said


def test_a_column_that_is_nearly_called_tags_is_still_a_mistake(tmp_path: Path) -> None:
    table = tmp_path / "all.csv"
    table.write_text("image,tag\na.png,fox\n")
    with pytest.raises(ValueError, match="did 'tag' mean 'tags'"):
        prepare(table, tmp_path / "manifest", UNTAGGED, processes=1)


def test_posts_always_have_tags(tmp_path: Path) -> None:
    (tmp_path / "posts.json").write_text('[{"id": 1}]')
    with pytest.raises(ValueError, match="posts lists pictures by their tags and captions"):
        prepare(tmp_path / "posts.json", tmp_path / "manifest", UNTAGGED, processes=1)


def test_a_run_trains_them_with_empty_captions_and_says_so(data: Path, tmp_path: Path) -> None:
    prepare(data, tmp_path / "some", UNTAGGED, processes=1)
    read = read_data(DataConfig(path=tmp_path / "some"), [CaptionPipeline()])
    assert len(read.pictures) == ROWS
    assert not read.skipped
    texts = [CaptionPipeline().render(p.record, epoch=0, draw=0).text for p in read.pictures]
    assert texts == ["", "fox, snow", "", "", "", "", ""]
    assert any(
        note.startswith(f"data.path: {ROWS - 1} of {ROWS} pictures have neither tags nor captions")
        for note in read.notes
    )
    for path in [*data.glob("*.txt"), *data.glob("*.json")]:
        path.unlink()
    prepare(data, tmp_path / "none", UNTAGGED, processes=1)
    (note,) = read_data(DataConfig(path=tmp_path / "none"), [CaptionPipeline()]).notes
    assert note.startswith(f"data.path: NONE of the {ROWS} pictures has tags or captions, so ALL")
    assert "trainkit tagger apply TAGGER" in note
    assert "trainkit caption caption.toml" in note


def test_pictures_come_in_order_and_one_that_cannot_be_read_is_named(data: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest"
    (data / "5.png").write_bytes(encoded(drawn(20, 30).convert("L").convert("LA"), "PNG"))
    prepare(data, manifest, UNTAGGED, processes=1)
    (data / "2.png").write_bytes(b"\x89PNG what is this")
    (data / "4.png").unlink()
    pictures = ManifestPictures.open(manifest)
    order = [6, 2, 0, 4, 5, 5, 1, 3]
    seen = list(pictures.images(order, threads=3, ahead=2))
    assert [one.row for one in seen] == order
    assert [one.record for one in seen] == [pictures.record(row) for row in order]
    assert [one.image is None for one in seen] == [row in (2, 4) for row in order]
    assert all((one.image is None) == (one.problem is not None) for one in seen)
    problems = " ".join(one.problem or "" for one in seen)
    assert "data/2.png: changed since it was prepared" in problems
    assert "data/4.png: no such file" in problems
    images = [one.image for one in seen if one.image is not None]
    assert {image.mode for image in images} == {"RGB"}
    assert images[0].size == (20, 22)
    assert pictures.digest(0) == pictures.manifest.digest(0).hex() != ""
    assert list(pictures.images([])) == []


def test_no_more_pictures_are_decoded_than_may_be(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(data, tmp_path / "manifest", UNTAGGED, processes=1)
    pictures = ManifestPictures.open(tmp_path / "manifest")
    decoded: list[str] = []
    real = ManifestPictures._decoded

    def noted(self: ManifestPictures, place: Place) -> Image.Image:
        decoded.append(place.name)
        return real(self, place)

    monkeypatch.setattr(ManifestPictures, "_decoded", noted)
    for count, _ in enumerate(pictures.images(row % ROWS for row in range(60)), 1):
        assert len(decoded) <= count + 16
    decoded.clear()
    some = pictures.images((row % ROWS for row in range(10**9)), ahead=3)
    next(some)
    some.close()
    assert len(decoded) <= 4


def test_a_plain_table_has_no_digests_and_is_looked_at_all_the_same(data: Path, tmp_path: Path) -> None:
    table = tmp_path / "plain.parquet"
    sides = {"width": [20] * 2, "height": [16, 17]}
    pq.write_table(pa.table({"image": ["data/0.png", "data/1.png"], **sides}), table)
    pictures = ManifestPictures.open(table)
    assert [one.problem for one in pictures.images(range(2))] == [None, None]
    assert pictures.digest(0) == ""
    assert pictures.keys.tolist() == [pictures.manifest.keys[0], pictures.manifest.keys[1]]
