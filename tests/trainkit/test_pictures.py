"""The data set of a folder or a table: what is measured, what counts how much, what is left out by name."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from captionkit import CaptionPipeline, FlipRule
from trainkit.data_config import DataConfig
from trainkit.errors import PictureError, TrainkitError
from trainkit.keys import key_of
from trainkit.picture import PictureReader
from trainkit.pictures import DataSet, read_data
from trainkit.place import Place
from trainkit.store.settings import StoreConfig
from trainkit.store.store import Store

READER = PictureReader(Store(StoreConfig()), "blue")


def lay(folder: Path, name: str, size: tuple[int, int] = (40, 30), **fields: Any) -> Path:
    """One gray picture with its sidecar."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "gray").save(path)
    path.with_suffix(".json").write_text(json.dumps({"tags": ["fox"]} | fields))
    return path


def read(path: Path, **settings: Any) -> DataSet:
    return read_data(DataConfig(path=path, **settings), [CaptionPipeline()])


def test_sizes_are_measured_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    lay(tmp_path, "a.png", (40, 30))
    Image.new("RGB", (50, 20)).save(lay(tmp_path, "b.png"), exif=exif)
    data = read(tmp_path)
    assert data.sizes.tolist() == [[40, 30], [20, 50]]
    assert data.sizes.dtype == np.int32
    assert [p.size for p in data.pictures] == [(40, 30), (20, 50)]
    assert (data.skipped, data.notes) == ((), ())
    assert data.keys.tolist() == [key_of("a"), key_of("b")]


def test_a_subset_is_in_the_order_that_was_asked_for(tmp_path: Path) -> None:
    for i in range(5):
        lay(tmp_path, f"{i}.png", (40 + i, 30))
    data = read(tmp_path)
    some = data.subset([4, 0, 2])
    assert [p.record.id for p in some.pictures] == ["4", "0", "2"]
    assert some.sizes[:, 0].tolist() == [44, 40, 42]
    assert data.subset([]).sizes.shape == (0, 2)
    assert pickle.loads(pickle.dumps(some)).pictures == some.pictures
    assert [p.record.id for p in data.spread(3)] == ["0", "2", "4"]
    assert data.spread(100) == list(data.pictures)


def test_a_picture_may_be_mirrored_where_any_phase_allows_it(tmp_path: Path) -> None:
    lay(tmp_path, "a.png")
    lay(tmp_path, "b.png", tags=["left arrow"])
    arrows = CaptionPipeline(flip=FlipRule(no_flip=("*arrow",)))
    config = DataConfig(path=tmp_path)
    assert [p.may_flip for p in read_data(config, [arrows]).pictures] == [True, False]
    assert [p.may_flip for p in read_data(config, [arrows, CaptionPipeline()]).pictures] == [True, True]


def test_weights_multiply_and_idle_patterns_are_noted(tmp_path: Path) -> None:
    lay(tmp_path, "cosplay/far/a.png", loss_weight=4)
    lay(tmp_path, "cosplay/b.png", loss_weight=0)
    lay(tmp_path, "c.png", loss_weight=0.5)
    lay(tmp_path, "d[1].png")
    weights = {"cosplay/*": 0.5, "*/far/*": 10, "Cosplay/*": 7, "d[[]1].*": 3, "nothing": 2}
    data = read(tmp_path, weights=weights)
    assert {p.record.id: p.weight for p in data.pictures} == {
        "cosplay/far/a": 20.0,
        "cosplay/b": 0.0,
        "c": 0.5,
        "d[1]": 3.0,
    }
    assert data.notes == (
        "data.weights: 'Cosplay/*' matches no picture",
        "data.weights: 'nothing' matches no picture",
    )


def test_patterns_see_absolute_paths_below_the_folder_as_relative_ones(tmp_path: Path) -> None:
    inside, outside = lay(tmp_path / "data", "sub/a.png"), lay(tmp_path / "elsewhere", "sub/b.png")
    lines = [{"image": str(path), "tags": "fox"} for path in (inside, outside)]
    table = tmp_path / "data/all.jsonl"
    table.write_text("".join(json.dumps(line) + "\n" for line in lines))
    data = read(table, weights={"sub/*": 0.5, "*/elsewhere/*": 3})
    assert [p.weight for p in data.pictures] == [0.5, 3]


@pytest.mark.parametrize("weight", [-1, "much", True, 1e309, 10**400])
def test_a_weight_that_is_none_is_skipped_by_name(tmp_path: Path, weight: Any) -> None:
    lay(tmp_path, "a.png", loss_weight=weight)
    lay(tmp_path, "b.png")
    data = read(tmp_path, max_bad_share=0.5)
    (skipped,) = data.skipped
    assert skipped.name.startswith(str(tmp_path / "a."))
    assert "loss_weight" in skipped.reason
    assert "must be a" in skipped.reason
    assert [p.record.id for p in data.pictures] == ["b"]


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"weights": {"a": -1}}, "greater than or equal to 0"),
        ({"weights": {"a": float("inf")}}, "finite"),
        ({"mask_floor": 1.5}, "less than or equal to 1"),
        ({"masks": "alfa"}, "'none', 'alpha' or 'file'"),
    ],
)
def test_settings_out_of_range_are_refused(tmp_path: Path, settings: dict[str, Any], part: str) -> None:
    with pytest.raises(ValidationError, match=part):
        DataConfig(path=tmp_path, **settings)


def test_masks_are_no_pictures_and_wrong_ones_are_named(tmp_path: Path) -> None:
    for name in "abc":
        lay(tmp_path, f"{name}.png")
    Image.new("L", (40, 30), 255).save(tmp_path / "a-masklabel.png")
    Image.new("L", (30, 40), 255).save(tmp_path / "b.mask.png")
    for masks in ("none", "alpha"):
        data = read(tmp_path, masks=masks)
        assert [p.record.id for p in data.pictures] == ["a", "b", "c"]
        assert data.skipped == ()
    data = read(tmp_path, masks="file", max_bad_share=0.5)
    assert [(p.record.id, p.mask) for p in data.pictures] == [
        ("a", Place(str(tmp_path / "a-masklabel.png"))),
        ("c", None),
    ]
    (skipped,) = data.skipped
    assert skipped.name == str(tmp_path / "b.png")
    assert "its mask b.mask.png is 30x40, which is no scaled copy of 40x30" in skipped.reason
    (tmp_path / "a-masklabel.png").unlink()
    (tmp_path / "b.mask.png").unlink()
    assert read(tmp_path, masks="file").notes == (
        'data.masks is "file", but no picture has a mask beside it',
    )


def test_a_file_that_only_looks_like_a_mask_is_reported(tmp_path: Path) -> None:
    lay(tmp_path, "a.png")
    Image.new("L", (40, 30)).save(tmp_path / "other.mask.png")
    (skipped,) = read(tmp_path, max_bad_share=0.5).skipped
    assert skipped.name == str(tmp_path / "other.mask.png")


def test_a_picture_that_changed_its_size_is_named(tmp_path: Path) -> None:
    path = lay(tmp_path, "a.png", (40, 30))
    (picture,) = read(tmp_path).pictures
    assert READER.image(picture).size == (40, 30)
    wrong = replace(picture, size=(512, 512))
    for load in (READER.layers, READER.image):
        with pytest.raises(PictureError) as caught:
            load(wrong)
        assert str(caught.value) == f"{path}: the manifest says 512x512, the file is 40x30: prepare again"


def test_layers_are_picture_and_mask(tmp_path: Path) -> None:
    path = lay(tmp_path, "a.png", (40, 30))
    image = Image.new("RGBA", (40, 30), (255, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, 20, 30))
    image.save(path)
    (picture,) = read(tmp_path, masks="alpha").pictures
    shown, mask = READER.layers(picture)
    assert mask is not None
    assert (mask.getpixel((5, 5)), mask.getpixel((30, 5))) == (0, 255)
    # The ground shows where the mask is black: the VAE sees a whole picture.
    assert (shown.getpixel((5, 5)), shown.getpixel((30, 5))) == ((0, 0, 255), (255, 0, 0))
    again = READER.mask(picture)
    assert again is not None
    assert np.array_equal(np.asarray(again), np.asarray(mask))
    (plain,) = read(tmp_path).pictures
    assert READER.layers(plain)[1] is None
    assert READER.mask(plain) is None


def test_what_holds_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainkitError, match="no such folder or table"):
        read(tmp_path / "gone")
    lay(tmp_path, "a.png").write_bytes(b"")
    with pytest.raises(TrainkitError, match="holds no picture that can be used"):
        read(tmp_path, max_bad_share=1.0)
    with pytest.raises(TrainkitError, match=r"1 of 1 pictures cannot be used \(100\.0%"):
        read(tmp_path)
