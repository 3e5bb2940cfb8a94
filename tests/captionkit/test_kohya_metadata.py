"""kohya's metadata, read and written: what its scripts write becomes records, and these come back."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from captionkit import CaptionkitError, DataError, Prose, Record, Tag
from captionkit.readers.kohya_metadata import KohyaMetadataSource
from captionkit.readers.parallel import map_blocks
from captionkit.readers.source import Block, Report, strict


def laid(folder: Path, content: Any, name: str = "meta_cap.json") -> Path:
    """A file of metadata; what is no text is written as the scripts write it."""
    file = folder / name
    file.write_text(content if isinstance(content, str) else json.dumps(content, indent=2))
    return file


def read(file: Path, **options: Any) -> tuple[list[Record], list[str]]:
    """The records, and the messages about the others, without the folder."""
    errors: list[CaptionkitError] = []
    records = list(KohyaMetadataSource(file, **options).records(errors.append))
    return records, [str(error).replace(f"{file.parent}/", "") for error in errors]


def one(folder: Path, key: str, entry: Any, **options: Any) -> Record:
    (record,), errors = read(laid(folder, {key: entry}), **options)
    assert errors == []
    return record


def test_an_entry_of_meta_lat(tmp_path: Path) -> None:
    entry = {
        "tags": "red fox, solo, , ^_^",
        "caption": "A fox in the snow.",
        "train_resolution": [640, 448],
        "image_size": [1024, 768],
    }
    assert one(tmp_path, "fox/0001.png", entry) == Record(
        "fox/0001",
        (Tag("red fox"), Tag("solo"), Tag("^_^")),
        (Prose("A fox in the snow."),),
        "fox/0001.png",
        {"width": 1024, "height": 768, "train_resolution.width": 640, "train_resolution.height": 448},
    )


def test_lines_of_the_jsonl_form(tmp_path: Path) -> None:
    lines = [
        {"image_path": "/data/a.jpg", "caption": "One.", "image_size": [8, 9]},
        {"image_path": "b", "tags": "x, y", "width": 3, "height": 4, "image_size": [8, 9], "source": "web"},
        {"caption": "no path"},
    ]
    file = laid(tmp_path, "\n\n".join(json.dumps(line) for line in lines), "meta.jsonl")
    records, errors = read(file)
    assert records == [
        Record("/data/a", (), (Prose("One."),), "/data/a.jpg", {"width": 8, "height": 9}),
        Record("b", (Tag("x"), Tag("y")), (), "b", {"width": 3, "height": 4, "source": "web"}),
    ]
    assert errors == [
        "meta.jsonl:5: 'image_path' must be the path of a picture, got the value null"
        " (is it a file of kohya's scripts?)"
    ]


def test_a_caption_of_several_lines_or_a_list_is_several_captions(tmp_path: Path) -> None:
    both = (Prose("One."), Prose("Two."))
    assert one(tmp_path, "a", {"caption": " One.\n\nTwo. \n"}).prose == both
    assert one(tmp_path, "a", {"caption": ["One.", "Two."]}).prose == both
    assert one(tmp_path, "a", {"captions": {"cogvlm": "One."}}).prose == (Prose("One.", "cogvlm"),)


def test_tags_are_parted_at_commas_and_lines_and_may_be_a_list(tmp_path: Path) -> None:
    expected = (Tag("a"), Tag("b"), Tag("|||"), Tag("c"))
    assert one(tmp_path, "a", {"tags": "a,\nb ||| c"}).tags == expected
    assert one(tmp_path, "a", {"tags": ["a", "b", "|||", "c"]}).tags == expected
    assert one(tmp_path, "a", {"tags": {"species": "fox"}}).tags == (Tag("fox", "species"),)


def test_a_caption_that_was_merged_from_txt_files(tmp_path: Path) -> None:
    entry = {"caption": "1girl, solo, A girl is sitting on a bench, reading. outdoors"}
    record = one(tmp_path, "a", entry, sentences_among_tags=True)
    assert [tag.name for tag in record.tags] == ["1girl", "solo", "outdoors"]
    assert record.prose == (Prose("A girl is sitting on a bench, reading."),)
    assert one(tmp_path, "a", entry).tags == ()


@pytest.mark.parametrize(
    ("key", "record_id", "image"),
    [
        ("fox/0001", "fox/0001", "fox/0001.PNG"),
        ("fox/0002", "fox/0002", "fox/0002.webp"),
        ("fox/0003", "fox/0003", "fox/0003"),
        ("fox/v1.5", "fox/v1.5", "fox/v1.5.jpg"),
        ("fox/v1.5.jpg", "fox/v1.5", "fox/v1.5.jpg"),
        ("none/a", "none/a", "none/a"),
        ("../out", "../out", "../out"),
        ("fox/../../out", "fox/../../out", "fox/../../out"),
        ("C:\\fox\\a.PNG", "C:\\fox\\a", "C:\\fox\\a.PNG"),
        ("犬", "犬", "犬.png"),
    ],
)
def test_the_suffix_is_that_of_the_picture_that_lies_there(
    tmp_path: Path, key: str, record_id: str, image: str
) -> None:
    (tmp_path / "data" / "fox").mkdir(parents=True)
    for name in ("data/fox/0001.PNG", "data/fox/0002.webp", "data/fox/v1.5.jpg", "data/犬.png", "out.png"):
        (tmp_path / name).touch()
    for options in ({}, {"images": tmp_path / "data"}):
        place = tmp_path if options else tmp_path / "data"
        record = one(place, key, {"tags": "a"}, **options)
        assert (record.id, record.image) == (record_id, image)
        assert KohyaMetadataSource("x", **options).root == (tmp_path / "data" if options else Path("."))


def test_a_path_out_of_the_folder_is_not_looked_for(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "out.png").touch()
    assert one(tmp_path / "data", str(tmp_path / "out"), {"tags": "a"}).image == str(tmp_path / "out")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            '{"train_resolution": [64, 64]}',
            "a.json:3: b: has neither tags nor captions; its keys are 'train_resolution'"
            " (give it 'tags' or 'caption', or take it out)",
        ),
        ('{"captoin": "x y"}', "did 'captoin' mean 'caption'?"),
        (
            '{"tags": "a", "image_size": [64, "64"]}',
            "a.json:3: image_size: must be [width, height] in pixels",
        ),
        ('{"tags": "a", "train_resolution": [0, 64]}', "a.json:3: train_resolution: must be [width, height]"),
        (
            '{"tags": "a", "image_size": [true, 64]}',
            "must be [width, height] in pixels, got a list [true, 64]",
        ),
        ('{"tags": "a", "image_size": 64}', "must be [width, height] in pixels, got the number 64"),
        ('{"tags": 7}', "a.json:3: tags: got the number 7"),
        ('{"tags": "a", "caption": 7}', "a.json:3: caption: got the number 7"),
        ('{"tags": "a", "x": NaN}', "a.json:3: x: must be a finite number"),
        ('{"tags": "a", "tags": "b"}', "a.json:3: the key 'tags' is there twice in one object"),
        (r'{"tags": "\ud83e"}', "a.json:3: holds half a surrogate pair"),
        ('{"tags": "a", "x": ' + "9" * 5000 + "}", "a.json:3: is not a record"),
        ('"a"', 'a.json:3: must be a JSON object {...}, got the text "a"'),
        ("null", "a.json:3: must be a JSON object {...}, got the value null"),
    ],
)
def test_an_entry_that_is_no_record_is_skipped_and_named_with_its_line(
    tmp_path: Path, entry: str, message: str
) -> None:
    file = laid(tmp_path, f'{{"a": {{"tags": "x"}},\n\n"b": {entry}, "c": {{"tags": "y"}}}}', "a.json")
    records, (error,) = read(file)
    assert [record.id for record in records] == ["a", "c"]
    assert message in error
    with pytest.raises(DataError, match=r"a\.json:3"):
        list(KohyaMetadataSource(file).records(strict))


def test_a_key_that_is_no_path_is_skipped(tmp_path: Path) -> None:
    file = laid(tmp_path, '{" ": {"tags": "x"}, "\\ud83e": {"tags": "x"}, "c": {"tags": "y"}}', "a.json")
    records, errors = read(file)
    assert [record.id for record in records] == ["c"]
    assert "a.json:1: the path of the picture is blank" in errors[0]
    assert "a.json:1: the key '\\ud83e' holds half a surrogate pair" in errors[1]


def test_broken_json_ends_the_file(tmp_path: Path) -> None:
    file = laid(tmp_path, '{"a": {"tags": "x"},\n"b": {"tags": "y"},\n"c": {"tags": "z"', "a.json")
    records, (error,) = read(file)
    assert [record.id for record in records] == ["a", "b"]
    assert error.startswith("a.json:3: ends in the middle; nothing behind it is read, 2 entries before it")


def test_posts_are_no_metadata(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a JSON array, wanted is one object of entries"):
        read(laid(tmp_path, [{"tags": "a"}]))


def ids(block: Block, report: Report) -> list[str]:
    return [record.id for record in block.records(report)]


@pytest.mark.parametrize("name", ["meta.json", "meta.jsonl.gz"])
def test_processes_change_nothing(tmp_path: Path, name: str) -> None:
    tags = "red fox, snow, " * 20
    entries = [(f"{number:05}", {"tags": tags if number % 700 else ""}) for number in range(5000)]
    if ".jsonl" in name:
        content = "".join(json.dumps({"image_path": key, **entry}) + "\n" for key, entry in entries) + "{"
    else:
        content = json.dumps(dict(entries))[:-1]
    data = content.encode()
    file = tmp_path / name
    file.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    outcomes = []
    for processes in (1, 2):
        errors: list[CaptionkitError] = []
        source = KohyaMetadataSource(file)
        parts = list(map_blocks(ids, source, processes=processes, report=errors.append))
        outcomes.append(([part for _, part in parts], [str(error) for error in errors]))
        assert sum(amount for amount, _ in parts) == len(data)
        assert source.total() in (len(data), None)
    assert outcomes[0] == outcomes[1]
    # One entry has no comma or bracket behind it where the file is cut.
    assert sum(map(len, outcomes[0][0])) == 5000 - 8 - (".jsonl" not in name)
    assert len(outcomes[0][1]) == 9
