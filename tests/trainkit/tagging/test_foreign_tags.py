"""Lists of tags of other taggers: every published form is read, every broken line is named."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainkit.errors import ModelError
from trainkit.tagging.foreign_tags import read_tags

_names = st.lists(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(
        lambda t: t == t.strip() != ""
    ),
    min_size=1,
    max_size=20,
    unique=True,
)


@given(_names)
def test_names_come_back_in_their_order_whatever_they_hold(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("tags")
    with (folder / "selected_tags.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["tag_id", "name", "category", "count"])
        rows.writerows([n, name, 0, 9] for n, name in enumerate(names))
    shuffled = sorted(enumerate(names), key=lambda pair: pair[1])
    forms = {
        "tags.json": {name: n for n, name in shuffled},
        "list.json": names,
        "tag_mapping.json": {str(n): {"tag": name, "category": "General"} for n, name in shuffled},
        "metadata.json": {
            "dataset_info": {
                "tag_mapping": {"idx_to_tag": {str(n): name for n, name in shuffled}, "tag_to_category": {}}
            }
        },
    }
    for file_name, content in forms.items():
        (folder / file_name).write_text(json.dumps(content), encoding="utf-8")
    for path in folder.iterdir():
        assert [label.name for label in read_tags(path).labels] == names, path.name


def test_the_numbers_of_a_board_become_words(tmp_path: Path) -> None:
    path = tmp_path / "selected_tags.csv"
    path.write_text("tag_id,name,category,count\n1,safe,9,1\n2,solo,0,1\n3,miku,4,1\n4,scan,5,1\n")
    labels = read_tags(path).labels
    assert [label.category for label in labels] == ["rating", "general", "character", "meta"]
    assert [label.group for label in labels] == ["rating", None, None, None]
    path.write_text("id,name,category,count\n1,solo,0,1\n2,fox,5,1\n3,hi_res,7,1\n")  # Only e621 has 7.
    assert [label.category for label in read_tags(path).labels] == ["general", "species", "meta"]
    z3d = tmp_path / "tags-selected.csv"
    z3d.write_text("id,name,category\n1,fox,5\n")
    assert read_tags(z3d).labels[0].category == "species"
    assert read_tags(z3d, "danbooru").labels[0].category == "meta"


def test_a_list_may_bring_thresholds_and_categories_in_words(tmp_path: Path) -> None:
    path = tmp_path / "selected_tags.csv"
    path.write_text("\ufeffname,category,best_threshold\nsolo,0,0.41\nmiku,Character,0.7\n", encoding="utf-8")
    tags = read_tags(path)
    assert tags.thresholds == {"solo": 0.41, "miku": 0.7}
    assert tags.labels[1].category == "character"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (
            "t.csv",
            "tag_id,name,category,count\n1,solo,0,5\n2,miku\n",
            "t.csv:3: has 2 cells, its header has 4",
        ),
        ("t.csv", "tag_id,name\n1,solo\n2, \n", "t.csv:3: the tag's name is ' '"),
        ("t.csv", "name\nsolo\nsolo\n", "t.csv:3: the tag 'solo' stands there twice"),
        ("t.csv", "title\nsolo\n", "one must be name or tag"),
        ("t.csv", "name,category\nsolo,77\n", "t.csv:2: category is 77"),
        ("t.csv", "name,category\nsolo,-1\n", "t.csv:2: category is -1"),
        ("t.csv", "name,category\nsolo,0.5\n", "t.csv:2: category is 0.5"),
        ("t.csv", "name,name\nsolo,1\n", "t.csv:1: a column stands there twice"),
        ("t.csv", "name,best_threshold\nsolo,x\n", "t.csv:2: the threshold is 'x'"),
        ("t.csv", "name,best_threshold\nsolo,nan\n", "t.csv:2: the threshold is 'nan'"),
        ("t.csv", 'name\n"solo\n', "is no CSV"),
        ("t.csv", "", "one must be name"),
        ("t.csv", "name\n", "holds no tags"),
        ("t.json", '{"a": 0, "b": 2}', "numbers its tags otherwise than from 0 to 1"),
        ("t.json", '{"0": "a", "2": "b"}', "numbers its tags otherwise"),
        ("t.json", '{"0": "a", "00": "b"}', "numbers its tags otherwise"),
        ("t.json", "[" * 100_000, "is no JSON"),
        ("t.json", '["a", 3]', "tag 1: the tag's name is 3"),
        ("t.json", "3", "must be a list of names"),
        ("t.json", '{"dataset_info": {"tag_mapping": 3}}', "numbers its tags otherwise"),
        ("t.txt", "a\n\nb\n", "t.txt:2: the tag's name is ''"),
    ],
)
def test_a_broken_list_is_named_with_its_line(tmp_path: Path, name: str, content: str, says: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(ModelError) as raised:
        read_tags(tmp_path / name)
    assert says in str(raised.value)


def test_a_table_that_was_saved_with_fractions_means_the_same(tmp_path: Path) -> None:
    """Regression: 9.0 was a category called "9.0", so that ratings were written as content."""
    for name, text in (("whole.csv", "9\nfox,5\nx,8"), ("parts.csv", "9.0\nfox,5.0\nx,8.0")):
        (tmp_path / name).write_text(f"name,category\nsafe,{text}\n")
    assert read_tags(tmp_path / "whole.csv") == read_tags(tmp_path / "parts.csv")
    assert read_tags(tmp_path / "parts.csv").labels[0].group == "rating"


def test_bytes_that_are_no_text_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"name\n\xff\xfe\n")
    with pytest.raises(ModelError, match="no UTF-8 text at byte 5"):
        read_tags(tmp_path / "t.csv")
