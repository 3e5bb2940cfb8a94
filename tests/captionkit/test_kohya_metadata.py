"""kohya's metadata, read and written: what its scripts write becomes records, and these come back."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionkit import CaptionkitError, DataError, Prose, Record, Tag
from captionkit.readers.kohya_metadata import KohyaMetadataSource
from captionkit.readers.parallel import map_blocks
from captionkit.readers.source import Block, Report, strict
from captionkit.record import Fact
from captionkit.testing import strategies
from captionkit.writers.fields import has_content
from captionkit.writers.kohya_metadata import KohyaMetadataTarget
from captionkit.writers.target import Losses


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
    several: list[dict[str, Any]] = [{}, {"images": tmp_path / "data"}]
    for options in several:
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


# -------------------------------------------------------------------------------------------------- written


def write(file: Path, records: list[Record], size: int = 2) -> Losses:
    """Write the records in chunks of so many."""
    target, losses = KohyaMetadataTarget(file), Losses()
    with target.open() as sink:
        for start in range(0, len(records), size):
            sink.append(target.encode(records[start : start + size], losses))
    return losses


def plain(record: Record) -> Record:
    """The record without what the format has no place for."""
    image = record.image or f"{record.id}.png"
    tags = tuple(Tag(tag.name) for tag in record.tags)
    return Record(
        image.removesuffix(".png"), tags, tuple(Prose(p.text) for p in record.prose), image, record.info
    )


NAMES = ["meta.json", "meta.jsonl", "meta.json.gz"]


@given(st.lists(strategies.records(), max_size=4), st.sampled_from(NAMES), st.booleans())
def test_what_is_not_lost_is_read_back(records: list[Record], name: str, made_plain: bool) -> None:
    records = [plain(record) if made_plain else record for record in records]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        losses = write(file, records)
        expected = [record for record in records if has_content(record)]
        if not expected:
            with pytest.raises(DataError, match="holds no"):
                read(file)
            return
        back, errors = read(file)
        # Of a tag "," nothing is left.
        assert len(back) + len(errors) == len(expected)
        if not losses.counts:
            assert back == records
            assert errors == []
            assert [[type(one.fact(name)) for name in dict(one.info)] for one in back] == [
                [type(one.fact(name)) for name in dict(one.info)] for one in records
            ]
        if back:  # What was read is all there when it is written again.
            again = Path(folder) / f"again {name}"
            assert not write(again, back).counts
            assert read(again) == (back, [])


def test_the_file_is_what_the_trainer_reads(tmp_path: Path) -> None:
    records = [
        Record(
            "fox/1",
            (Tag("red fox", "species"), Tag("|||"), Tag("snow"), Tag("||| |||"), Tag("^_^", score=0.5)),
            (Prose("One.", "cogvlm"), Prose("Two.")),
            "fox/1.png",
            {
                "width": 64,
                "height": 32,
                "train_resolution.width": 8,
                "score": 3,
                "text": "t",
                "image_size": 1,
            },
        ),
        Record("犬", (), (Prose("One."),)),
        Record("none"),
    ]
    file = tmp_path / "meta_cap.json"
    losses = write(file, records)
    assert json.loads(file.read_text()) == {
        "fox/1.png": {
            "tags": "red fox, |||, snow, |||, ^_^",
            "caption": "One.\nTwo.",
            "image_size": [64, 32],
            "score": 3,
            "train_resolution.width": 8,
            "info": {"image_size": 1, "text": "t"},
        },
        "犬": {"caption": "One."},
    }
    assert file.read_text().splitlines()[2:] == ['"犬": {"caption": "One."}', "}"]
    assert set(losses.counts) == {
        "categories of tags",
        "sources and scores of tags",
        "sources of captions",
        "the lack of a picture's path, for which the id stands",
        "records without tags and captions, left out",
    }
    assert read(file)[0][0].info == records[0].info


@pytest.mark.parametrize(
    ("record", "lost"),
    [
        (Record("a", (Tag("x, y"),), (), "a.png"), "tags with commas"),
        (Record("a", (Tag("{x"), Tag("y|z}")), (), "a.png"), "tags with commas"),
        (Record("a", (Tag("x\ny"),), (), "a.png"), "tags with commas or line ends"),
        (Record("a", (Tag("x|||y"),), (), "a.png"), "in their names, which are parted there"),
        (Record("a", (), (Prose("x\ny"),), "a.png"), "line ends in captions"),
        (Record("a", (), (Prose("x "),), "a.png"), "spaces around captions"),
        (Record("7", (Tag("x"),), (), "a.png"), "ids that are not the picture's path"),
        (Record("a", (Tag("x"),), (), "a.png", {"f": float("inf")}), "facts that are infinite"),
    ],
)
def test_what_is_lost_is_said(tmp_path: Path, record: Record, lost: str) -> None:
    losses = write(tmp_path / "meta.json", [record])
    assert [lost in what for what in losses.counts] == [True]
    assert read(tmp_path / "meta.json")[0] != [record]


def test_facts_of_any_name_come_back(tmp_path: Path) -> None:
    facts: dict[str, Fact] = {
        "width": True,
        "height": 5,
        "train_resolution.width": 7,
        "train_resolution.height": 0,
        "train_resolution": 1.5,
        "image_path": "x",
        "image_size": "y",
        "tags": "z",
        "id": 3,
        "a.b": False,
    }
    record = Record("a", (Tag("x"),), (), "a.png", facts)
    for name in NAMES:
        assert not write(tmp_path / name, [record]).counts
        assert read(tmp_path / name) == ([record], [])


def test_the_first_chunk_may_be_empty(tmp_path: Path) -> None:
    records = [Record("none"), Record("none"), Record("a", (Tag("x"),), (), "a.png"), Record("none")]
    assert len(write(tmp_path / "meta.json", records).counts) == 1
    assert (tmp_path / "meta.json").read_text() == '{\n"a.png": {"tags": "x"}\n}\n'
    write(tmp_path / "none.json", records[:2])
    assert json.loads((tmp_path / "none.json").read_text()) == {}
    assert KohyaMetadataTarget(tmp_path / "none.json").home == tmp_path
