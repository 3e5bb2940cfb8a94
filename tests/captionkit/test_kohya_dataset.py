"""A kohya dataset TOML as a source: every picture that sd-scripts would train, once, with its own text."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionkit import CaptionkitError, DataError, Record
from captionkit.importing.kohya import import_kohya
from captionkit.readers.kohya_caption import parse_lines
from captionkit.readers.kohya_config import read_kohya_config
from captionkit.readers.kohya_dataset import KohyaDatasetSource, _told_apart
from captionkit.readers.kohya_options import FACTS, OPTIONS, facts_of
from captionkit.readers.source import strict


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(path: str, text: str = "") -> None:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def pictures(folder: str, captions: dict[str, str | None], extension: str = ".caption") -> None:
    for name, caption in captions.items():
        write(f"{folder}/{name}")
        if caption is not None:
            write(f"{folder}/{os.path.splitext(name)[0]}{extension}", caption)


def dataset(text: str, name: str = "dataset.toml") -> KohyaDatasetSource:
    write(name, text)
    return KohyaDatasetSource(name)


def read(source: KohyaDatasetSource) -> tuple[dict[str, Record], list[str]]:
    """The records by id, and what was reported."""
    bad: list[str] = []
    records = list(source.records(lambda error: bad.append(str(error))))
    assert len({record.id for record in records}) == len(records)
    return {record.id: record for record in records}, bad


def said(record: Record) -> tuple[list[str], list[str]]:
    return [tag.name for tag in record.tags], [piece.text for piece in record.prose]


ONE = "[[datasets]]\n[[datasets.subsets]]\nimage_dir = 'fox'\n"


# ----------------------------------------------------------------------------------------- options inherited

VALUES = st.fixed_dictionaries(
    {},
    optional={
        "keep_tokens": st.integers(0, 9),
        "shuffle_caption": st.booleans(),
        "caption_prefix": st.text("ab, ", max_size=5),
        "caption_dropout_rate": st.floats(0, 1).map(lambda p: round(p, 3)),
        "num_repeats": st.integers(1, 9),
    },
)


def toml_of(table: dict[str, object]) -> str:
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())


@given(VALUES, st.lists(st.tuples(VALUES, st.lists(VALUES, min_size=1, max_size=3)), min_size=1, max_size=3))
def test_a_subset_goes_before_its_dataset_and_that_before_general(
    general: dict[str, object], datasets: list[tuple[dict[str, object], list[dict[str, object]]]]
) -> None:
    text = "[general]\n" + toml_of(general)
    expected = []
    for number, (table, subsets) in enumerate(datasets):
        text += "[[datasets]]\n" + toml_of(table)
        for place, subset in enumerate(subsets):
            image_dir = f"{number}_{place}"
            text += f"  [[datasets.subsets]]\n  image_dir = '{image_dir}'\n" + toml_of(subset)
            expected.append(general | table | subset | {"image_dir": image_dir})
    write("inherited.toml", text)
    config = read_kohya_config("inherited.toml")
    assert not config.faults
    assert [subset.values for subset in config.subsets] == expected
    lines = text.splitlines()
    for read in config.subsets:  # Each option is where its place says.
        for name, where in read.places.items():
            line = lines[int(where.rpartition(":")[2]) - 1]
            assert line.split("=")[0].strip() == name
            assert json.loads(line.split("=", 1)[1].replace("'", '"')) == read.values[name]


def test_json_is_read_too() -> None:
    write("d.json", json.dumps({"datasets": [{"keep_tokens": 2, "subsets": [{"image_dir": "fox"}]}]}))
    (subset,) = read_kohya_config("d.json").subsets
    assert (subset.number, subset.get("keep_tokens")) == ("1.1", 2)
    assert subset.places["keep_tokens"] == "d.json: datasets.1"


def test_options_are_told_where_they_are_wrong() -> None:
    write(
        "d.toml",
        "[general]\nshufle_caption = true\nkeep_tokens = 'two'\nimage_dir = 'x'\n\n[[datasets]]\n"
        "caption_dropout_rate = 15\nnum_repeats = -1\nflip_aug = 1\n[[datasets.subsets]]\nimage_dir = 'fox'\n"
        "[[datasets.subsets]]\nimage_dir = 'fox'\n[[datasets.subsets]]\nnum_repeats = 2\n"
        "[[datasets.subsets]]\nimage_dir = 'cat'\nnum_repeats = 0\n[training]\nlr = 1\n",
    )
    config = read_kohya_config("d.toml")
    assert [subset.name for subset in config.subsets] == ["fox"]
    assert [str(fault) for fault in config.faults] == [
        "d.toml:2: unknown option 'shufle_caption' (did you mean 'shuffle_caption'?)",
        "d.toml:3: keep_tokens is 'two', must be a whole number",
        "d.toml:4: image_dir may stand in a subset only, and stands in [general] (move it into the subsets)",
        "d.toml:7: caption_dropout_rate is 15, must be between 0 and 1 (15 % is 0.15)",
        "d.toml:8: num_repeats is -1, must be from 0 to 1,000,000,000,000",
        "d.toml:9: flip_aug is 1, must be true or false",
        "d.toml:12: 'fox' stands twice in one dataset, of which the first counts"
        " (put the second into a dataset of its own)",
        "d.toml:14: a subset without image_dir and without metadata_file",
        "d.toml:18: num_repeats is 0, so no picture of 'cat' is trained",
        "d.toml:19: unknown table or option 'training'"
        " (options stand in [general], [[datasets]] or [[datasets.subsets]])",
    ]


HOSTILE: dict[str, list[str]] = {
    "num_repeats": ["1e400", "nan", "9" * 5000, "true", "[]"],
    "token_warmup_step": ["inf", "nan", "-0.5", "2020-01-01"],
    "caption_dropout_every_n_epochs": ["99999999999999999999"],
    "image_dir": ["'" + "a" * 5000 + "'", '"a\\u0000b"', "''", "'/'", "'../..'"],
    "caption_extension": ["''", "'/../../x'", '"\\u0000"'],
    "caption_prefix": ['"\\u001b[31m|||,{{}"', "'}'"],
    "keep_tokens_separator": ["' '", "','", "'{'"],
    "caption_separator": ["''", "' '"],
}


@pytest.mark.parametrize(
    ("option", "value"), [(option, value) for option, values in HOSTILE.items() for value in values]
)
def test_hostile_values_never_end_in_a_traceback(option: str, value: str) -> None:
    pictures("fox", {"a.png": "solo, {a|b} ||| tree"})
    options = {"image_dir": "'fox'", "shuffle_caption": "true", option: value}
    text = "[[datasets]]\n[[datasets.subsets]]\n"
    text += "".join(f"{key} = {one}\n" for key, one in options.items())
    write("d.toml", text)
    said = "d.toml"
    try:
        source = KohyaDatasetSource("d.toml")
        records = list(source.records(lambda error: None))
        made = import_kohya("d.toml")
        for record in records:
            made.pipeline.render(record, samples=0)
    except CaptionkitError as error:
        said = str(error)
    assert said.startswith("d.toml")


@given(st.text(st.sampled_from("[]datsubeg.\n =\"'1{},#\\")))
def test_no_text_ends_in_a_traceback(text: str) -> None:
    write("d.toml", text)
    with pytest.raises(DataError):
        read_kohya_config("d.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no subset"),
        ("a = ", "is not valid TOML"),
        ("general = 3", "general must be a table, got 3"),
        ("[[datasets]]\n[[datasets.subsets]]\nimage_dir = ''", "d.toml:3: image_dir is empty"),
        ("datasets = 3", "datasets must be a list of tables"),
        ("[[datasets]]\nsubsets = [3]", "subsets must be a list of tables"),
        (
            '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "C:\\hoge"',
            "write 'C:\\pictures' in single quotes",
        ),
        ("x = " + "[" * 2000, "is not valid TOML"),
    ],
)
def test_a_file_that_is_none_says_why(text: str, message: str) -> None:
    write("d.toml", text)
    with pytest.raises(DataError) as caught:
        KohyaDatasetSource("d.toml")
    assert message in str(caught.value)
    assert str(caught.value).startswith("d.toml")


# -------------------------------------------------------------------------------------------------- captions


def test_the_first_line_of_the_file_with_the_extension_is_the_caption() -> None:
    pictures("fox", {"a.png": "solo, fox\nsecond line", "b.JPG": "A fox sits in the snow. tree"})
    pictures("fox", {"c.webp": "not read"}, ".txt")
    write("fox/notes.md")
    write("fox/inner/d.png")
    records, bad = read(dataset(ONE))
    assert {id: said(record) for id, record in records.items()} == {
        "fox/a": (["solo", "fox"], []),
        "fox/b": (["tree"], ["A fox sits in the snow."]),
    }
    assert records["fox/b"].image == "b.JPG"
    assert len(bad) == 1
    assert "fox/c: has no text c.caption beside it, and the subset no class_tokens" in bad[0]


@pytest.mark.parametrize("extension", [".txt", "txt"])
def test_an_extension_may_lack_its_dot(extension: str) -> None:
    pictures("fox", {"a.png": "solo"}, ".txt")
    records, bad = read(dataset(ONE + f"caption_extension = '{extension}'\n"))
    assert (said(records["fox/a"]), bad) == ((["solo"], []), [])


def test_without_a_file_it_is_class_tokens() -> None:
    pictures("fox", {"a.png": None, "b.png": "solo"})
    records, bad = read(dataset(ONE + "class_tokens = 'sks fox, animal'\n"))
    assert said(records["fox/a"]) == (["sks fox", "animal"], [])
    assert records["fox/a"].fact("kohya.caption_from") == "class_tokens"
    assert records["fox/b"].fact("kohya.caption_from") is None
    assert not bad


def test_with_wildcards_every_line_is_a_caption() -> None:
    pictures("fox", {"a.png": "solo, {red|white} fox\n\n  a fox, in the snow \n", "b.png": "solo"})
    records, _ = read(dataset(ONE + "enable_wildcard = true\n"))
    assert said(records["fox/a"]) == (["solo", "{red|white} fox"], ["a fox, in the snow"])
    assert records["fox/a"].fact("kohya.lines") == 2
    assert records["fox/b"].fact("kohya.lines") is None


def test_separators_of_ones_own() -> None:
    pictures("fox", {"a.png": "solo; big, red; fox $$ tree; snow $$ best"})
    records, _ = read(dataset(ONE + "caption_separator = ';'\nkeep_tokens_separator = '$$'\n"))
    assert said(records["fox/a"])[0] == ["solo", "big, red", "fox", "$$", "tree", "snow", "$$ $$", "best"]


def test_a_cut_out_face_has_the_caption_of_the_whole_picture_and_no_other_has() -> None:
    write("fox/cat_1.caption", "cat")
    pictures("fox", {"cat_1_20_30_64_64.png": None, "cat_1_of_all_our_cats.png": None})
    records, bad = read(dataset(ONE))
    assert {id: said(record)[0] for id, record in records.items()} == {"fox/cat_1_20_30_64_64": ["cat"]}
    assert len(bad) == 1  # sd-scripts gives `cat` to this one too.


def test_files_that_cannot_be_read_are_reported() -> None:
    pictures("fox", {"a.png": "", "b.png": "\nsolo", "d.png": "solo"})
    write("fox/c.png")
    Path("fox/c.caption").write_bytes(b"caf\xe9")
    records, bad = read(dataset(ONE))
    assert list(records) == ["fox/d"]
    assert [
        "fox/a.caption:1" in bad[0],
        "first line holds no caption" in bad[1],
        "is not UTF-8" in bad[2],
    ] == [True] * 3


def test_no_text_crashes_it_whatever_the_separators() -> None:
    @given(st.lists(st.text(), max_size=3), st.text(max_size=3), st.text(max_size=3), st.booleans())
    def law(lines: list[str], separator: str, keep: str, sentences: bool) -> None:
        text = parse_lines(lines, separator, keep, sentences)
        assert text.num_lines == len(lines)
        assert all(tag.name.strip() for tag in text.tags)

    law()


# ------------------------------------------------------------------------------------- subsets and their ids


def test_subsets_with_the_same_names_are_told_apart() -> None:
    for folder in ("x/fox", "y/fox", "cat"):
        pictures(folder, {"a.png": folder})
    text = "[[datasets]]\n" + "".join(
        f"[[datasets.subsets]]\nimage_dir = '{folder}'\n" for folder in ("x/fox", "y/fox", "cat")
    )
    source = dataset(text + "[[datasets]]\n[[datasets.subsets]]\nimage_dir = 'cat'\n")
    records, bad = read(source)
    assert {id: said(record)[0] for id, record in records.items()} == {
        "x/fox/a": ["x/fox"],
        "y/fox/a": ["y/fox"],
        "cat/a": ["cat"],
        "cat#2/a": ["cat"],
    }
    assert source.root == Path.cwd()
    assert all((source.root / str(record.image)).is_file() for record in records.values())
    assert not bad


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), min_size=1, max_size=6))
def test_ends_of_paths_tell_different_paths_apart(parts: list[list[str]]) -> None:
    paths = [Path("/", *own) for own in parts]
    names = _told_apart(paths)
    assert len(set(zip(paths, names, strict=True))) == len(set(paths)) == len(set(names))
    assert all(f"/{'/'.join(own)}".endswith(f"/{name}") for own, name in zip(parts, names, strict=True))


def test_two_pictures_of_one_name_are_both_read() -> None:
    pictures("fox", {"a.png": "solo", "a.jpg": "solo", "b.png": "tree"})
    records, bad = read(dataset(ONE))
    assert list(records) == ["fox/a.jpg", "fox/a.png", "fox/b"]
    assert not bad


def test_what_a_subset_says_becomes_facts() -> None:
    pictures("fox", {"a.png": "solo"})
    pictures("reg", {"b.png": "tree"})
    text = "[general]\nshuffle_caption = true\nkeep_tokens = 0\n[[datasets]]\nresolution = 512\n"
    text += "[[datasets.subsets]]\nimage_dir = 'fox'\nnum_repeats = 10\ncaption_prefix = 'sks,'\n"
    text += "[[datasets.subsets]]\nimage_dir = 'reg'\nis_reg = true\nflip_aug = true\n"
    records, _ = read(dataset(text))
    assert dict(records["fox/a"].info) == {
        "kohya.subset": "fox",
        "kohya.num_repeats": 10,
        "kohya.shuffle_caption": True,
        "kohya.caption_prefix": "sks,",
    }
    assert dict(records["reg/b"].info) == {
        "kohya.subset": "reg",
        "kohya.num_repeats": 1,
        "kohya.shuffle_caption": True,
        "kohya.is_reg": True,
        "kohya.flip_aug": True,
    }


def test_an_option_at_its_default_is_no_fact() -> None:
    defaults = {name: OPTIONS[name].default for name in FACTS}
    assert facts_of(defaults, "fox") == {"kohya.subset": "fox", "kohya.num_repeats": 1}


def test_metadata_is_a_subset_too() -> None:
    entries = {
        "a": {"caption": "a fox in the snow", "tags": "solo ;red fox", "train_resolution": [512, 640]},
        "inner/b.png": {"tags": "tree"},
        "../out": {"tags": "no"},
    }
    write("meta_cap.json", json.dumps(entries))
    write("fox/a.jpg")
    pictures("cat", {"a.png": "cat"})
    text = "[[datasets]]\ncaption_separator = ';'\n[[datasets.subsets]]\nmetadata_file = 'meta_cap.json'\n"
    text += "image_dir = 'fox'\nkeep_tokens = 1\n[[datasets]]\n[[datasets.subsets]]\nimage_dir = 'cat'\n"
    source = dataset(text)
    records, bad = read(source)
    assert {id: (said(record), record.image) for id, record in records.items()} == {
        "meta_cap/a": ((["solo", "red fox"], ["a fox in the snow"]), "fox/a.jpg"),
        "meta_cap/inner/b": ((["tree"], []), "fox/inner/b.png"),
        "cat/a": ((["cat"], []), "cat/a.png"),
    }
    assert records["meta_cap/a"].fact("kohya.subset") == "meta_cap.json"
    assert records["meta_cap/a"].fact("train_resolution.width") == 512
    assert records["meta_cap/a"].fact("kohya.keep_tokens") == 1
    assert len(bad) == 1
    assert "leads out of its folder" in bad[0]


def test_relative_folders_start_at_the_working_folder_or_else_at_the_file() -> None:
    pictures("here/fox", {"a.png": "solo"})
    records, _ = read(dataset(ONE, "here/dataset.toml"))
    assert list(records) == ["fox/a"]
    pictures("fox", {"b.png": "solo"})
    records, _ = read(dataset(ONE, "here/dataset.toml"))
    assert list(records) == ["fox/b"]


def test_folders_that_give_nothing_are_reported_with_their_line() -> None:
    pictures("fox", {"a.png": "solo"})
    write("cat/5_cat/a.png")
    text = ONE + "[[datasets.subsets]]\nimage_dir = 'cat'\n[[datasets.subsets]]\nimage_dir = 'dog'\n"
    text += "[[datasets]]\n[[datasets.subsets]]\nmetadata_file = 'meta.json'\n"
    records, bad = read(dataset(text))
    assert list(records) == ["fox/a"]
    assert [message.partition(" (")[0] for message in bad] == [
        "dataset.toml:5: no pictures in 'cat'",
        "dataset.toml:7: no such folder: 'dog'",
        "dataset.toml:10: no such file: 'meta.json'",
    ]
    assert "there are folders, such as 5_cat" in bad[0]


def test_without_any_picture_it_is_an_error() -> None:
    with pytest.raises(DataError, match="no subset has a picture"):
        list(dataset(ONE).records(lambda error: None))


def test_faults_of_the_file_are_reported_before_its_records() -> None:
    pictures("fox", {"a.png": "solo"})
    source = dataset(ONE + "shufle_caption = true\n")
    _, bad = read(source)
    assert bad == ["dataset.toml:4: unknown option 'shufle_caption' (did you mean 'shuffle_caption'?)"]
    with pytest.raises(DataError, match="unknown option"):
        list(source.records(strict))


def test_blocks_travel_to_other_processes() -> None:
    pictures("fox", {f"{number:04}.png": f"tag {number}" for number in range(1200)})
    source = dataset(ONE)
    blocks = list(source.blocks(strict))
    assert [block.amount for block in blocks] == [1000, 200]
    assert source.unit == "pictures"
    travelled = pickle.loads(pickle.dumps(blocks))
    both = [[r for block in some for r in block.records(strict)] for some in (blocks, travelled)]
    assert both[0] == both[1]
    assert len(both[0]) == 1200
