"""Records: a trainer's picture finds its own record, and no other's."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionkit import DataError, Record, parse_tags
from captionkit.adapters.lookup import Records, record_of_text
from captionkit.readers import parse_caption

NAMES = st.text("ab.é _", min_size=1, max_size=4).filter(lambda name: name.strip(". ") == name)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


def picture(path: str) -> Record:
    return Record(path, parse_tags("fox"), image=path + ".png")


@given(st.lists(PATHS, min_size=1, max_size=8, unique=True))
def test_each_picture_finds_its_own_record_by_every_path(paths: list[str]) -> None:
    records = Records(map(picture, paths), root="/data/set")
    for path in paths:
        for name in (path, f"{path}.png", f"/data/set/{path}.png", f"/data/set/x/../{path}.png"):
            assert records.record("wrong", name).id == path


@given(st.lists(PATHS, min_size=1, max_size=8, unique=True))
def test_a_file_name_finds_only_what_is_its_own(paths: list[str]) -> None:
    records = Records(map(picture, paths))
    for path in paths:
        name = path.rpartition("/")[2]
        found = records.find(f"/elsewhere/{name}.png")
        same = [other for other in paths if other.rpartition("/")[2] == name]
        assert found is None or found.image == path + ".png" or len(same) > 1
        if len(same) == 1 and not any(f"{name}.png" in other for other in paths):
            assert found is not None


def test_a_picture_outside_the_root_is_nobody_s() -> None:
    records = Records([picture("a")], root="/data")
    assert records.find("/regularisation/a.png") is None
    assert records.find("/database/a.png") is None
    assert records.find("a.png") is not None


def test_two_pictures_of_one_name_are_not_confused() -> None:
    records = Records([picture("cats/a"), picture("dogs/a")], root="/data")
    assert records.find("a.png") is None
    found = records.find("/data/dogs/a.png")
    assert found is not None
    assert found.id == "dogs/a"


def test_an_id_that_is_no_path_does_not_hide_the_picture() -> None:
    records = Records([Record("17", parse_tags("a"), image="x/1.png"), Record("x/1", parse_tags("b"))])
    assert [records.record("", name).id for name in ("17", "x/1.png", "x/1", "x/1.webp")] == [
        *("17", "17", "x/1", "x/1")
    ]


def test_of_two_records_of_one_id_the_first_stays() -> None:
    records = Records([Record("a", parse_tags("one")), Record("a", parse_tags("two"))])
    assert records.find("a") is records[0]
    assert records.place_of_id("a") == 0


def test_an_absolute_picture_is_found_by_its_relative_path_too() -> None:
    records = Records([Record("17", parse_tags("a"), image="/data/x/1.png")], root="/data")
    assert records.find("x/1.png") is records.find("/data/x/1.png") is records[0]


@given(st.text(max_size=40))
def test_without_a_record_the_text_is_read(text: str) -> None:
    found = Records([], root="/data").record(text, "/data/cats/a.png")
    assert (found.id, (found.tags, found.prose)) == ("cats/a.png", parse_caption(text))


@given(st.text(max_size=20), st.text(max_size=20))
def test_without_a_path_the_id_is_the_text_s(one: str, other: str) -> None:
    assert (record_of_text(one).id == record_of_text(other).id) == (one == other)


def test_a_text_that_is_an_id_or_a_picture_stands_for_the_record() -> None:
    records = Records([picture("cats/a")])
    assert records.record(" cats/a\n").id == records.record("cats/a.png").id == "cats/a"
    with pytest.warns(UserWarning, match="none of 1 records belongs to the text 'a'"):
        assert records.record("a").id.startswith("text:")


def test_what_is_not_found_is_said_once() -> None:
    records = Records([picture("a")], root="/data")
    with pytest.warns(UserWarning, match=r"none of 1 records belongs to the picture '/data/b\.png'"):
        records.record("fox", "/data/b.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        records.record("fox", "/data/c.png")
    copy = pickle.loads(pickle.dumps(records))
    assert list(copy) == list(records)
    with pytest.warns(UserWarning, match="none of 1 records"):  # Another process says it for itself.
        copy.record("fox", "/data/c.png")


def test_a_folder_is_read_with_itself_as_the_root(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "a.png").touch()
    (tmp_path / "cats" / "a.txt").write_text("red, cat", encoding="utf-8")
    (tmp_path / "b.png").touch()
    with pytest.warns(UserWarning, match="1 records cannot be read and are missing; the first: .*b.png"):
        records = Records.read(tmp_path)
    found = records.find(tmp_path / "cats" / "a.png")
    assert found is not None
    assert [tag.name for tag in found.tags] == ["red", "cat"]


def test_a_file_s_folder_is_the_root(tmp_path: Path) -> None:
    table = tmp_path / "data.jsonl"
    table.write_text('{"file": "cats/a.png", "tags": "red"}\n', encoding="utf-8")
    assert Records.read(table).find(tmp_path / "cats" / "a.png") is not None
    with pytest.raises(DataError, match="no such file or folder"):
        Records.read(tmp_path / "missing")
