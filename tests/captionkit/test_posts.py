"""Posts of e621 and Danbooru in every form in which people have them."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionkit import CaptionkitError, DataError, Record, Tag
from captionkit.policies.tag_from_year import year_of
from captionkit.readers import json_window
from captionkit.readers.parallel import map_blocks
from captionkit.readers.posts import PostsSource
from captionkit.readers.source import Block, Report, strict

E621: dict[str, Any] = {
    "id": 100,
    "created_at": "2021-04-28T10:00:00.000-04:00",
    "file": {"width": 640, "height": 480, "ext": "png", "size": 5, "md5": "a1b2", "url": None},
    "preview": {"width": 150, "height": 112, "url": None},
    "score": {"up": 13, "down": -1, "total": 12},
    "tags": {
        "general": ["anthro", "solo"],
        "artist": ["zenfry"],
        "contributor": ["someone"],
        "copyright": [],
        "character": ["daz_(zenfry)"],
        "species": ["dragon"],
        "invalid": ["furry"],
        "meta": ["hi_res"],
        "lore": ["male_(lore)"],
    },
    "flags": {"pending": False, "deleted": False},
    "rating": "s",
    "fav_count": 7,
    "sources": ["https://example.org/1"],
    "description": "My dragon.",
    "comment_count": 3,
    "duration": None,
}
"""As e621's interface gives a post, shortened."""

E621_RECORD = Record(
    "100",
    (
        *(
            Tag("anthro", "general"),
            Tag("solo", "general"),
            Tag("zenfry", "artist"),
            Tag("someone", "contributor"),
        ),
        *(Tag("daz_(zenfry)", "character"), Tag("dragon", "species"), Tag("furry", "invalid")),
        *(Tag("hi_res", "meta"), Tag("male_(lore)", "lore")),
    ),
    (),
    "100.png",
    {
        "rating": "s",
        "score": 12,
        "score.up": 13,
        "score.down": -1,
        "score.total": 12,
        "fav_count": 7,
        "id": 100,
        "md5": "a1b2",
        "created_at": "2021-04-28T10:00:00.000-04:00",
        "width": 640,
        "height": 480,
    },
)

DANBOORU: dict[str, Any] = {
    "id": 200,
    "created_at": "2015-12-31T23:59:59.000-05:00",
    "score": 40,
    "source": "https://example.org/2",
    "md5": "c3d4",
    "rating": "g",
    "image_width": 800,
    "image_height": 600,
    "tag_string": "1girl artist_a highres hatsune_miku solo vocaloid",
    "fav_count": 50,
    "file_ext": "jpg",
    "up_score": 42,
    "down_score": -2,
    "is_deleted": False,
    "tag_string_general": "1girl solo",
    "tag_string_character": "hatsune_miku",
    "tag_string_copyright": "vocaloid",
    "tag_string_artist": "artist_a",
    "tag_string_meta": "highres",
    "media_asset": {"id": 1, "md5": "c3d4"},
}
"""As Danbooru's interface gives a post, shortened."""

DANBOORU_RECORD = Record(
    "200",
    (
        *(Tag("1girl", "general"), Tag("solo", "general"), Tag("hatsune_miku", "character")),
        *(Tag("vocaloid", "copyright"), Tag("artist_a", "artist"), Tag("highres", "meta")),
    ),
    (),
    "200.jpg",
    {
        "rating": "g",
        "score": 40,
        "score.up": 42,
        "score.down": -2,
        "fav_count": 50,
        "id": 200,
        "md5": "c3d4",
        "created_at": "2015-12-31T23:59:59.000-05:00",
        "width": 800,
        "height": 600,
    },
)

COLUMNS = [
    "id",
    "uploader_id",
    "created_at",
    "md5",
    "source",
    "rating",
    "image_width",
    "image_height",
    "tag_string",
    "locked_tags",
    "fav_count",
    "file_ext",
    "parent_id",
    "change_seq",
    "approver_id",
    "file_size",
    "comment_count",
    "description",
    "duration",
    "updated_at",
    "is_deleted",
    "is_pending",
    "is_flagged",
    "score",
    "up_score",
    "down_score",
    "is_rating_locked",
    "is_status_locked",
    "is_note_locked",
]
"""Of e621's daily export."""

ROW = {
    "id": "300",
    "created_at": "2007-02-10 02:39:05.49",
    "md5": "e5f6",
    "rating": "q",
    "fav_count": "9",
    "image_width": "10",
    "image_height": "20",
    "tag_string": "fox solo {o}_{o} ;| :}",
    "file_ext": "jpg",
    "is_deleted": "f",
    "score": "-3",
    "up_score": "1",
    "down_score": "-4",
    "description": "a, b",
}

ROW_RECORD = Record(
    "300",
    tuple(map(Tag, ["fox", "solo", "{o}_{o}", ";|", ":}"])),
    (),
    "300.jpg",
    {
        "rating": "q",
        "score": -3,
        "score.up": 1,
        "score.down": -4,
        "fav_count": 9,
        "id": 300,
        "md5": "e5f6",
        "created_at": "2007-02-10 02:39:05.49",
        "width": 10,
        "height": 20,
    },
)


def export(rows: list[dict[str, str]]) -> str:
    """A CSV as the database writes it: a text with a carriage return stands in quotes too."""
    returns = any("\r" in text for row in rows for text in row.values())
    out = io.StringIO()
    if returns:
        writer = csv.DictWriter(out, COLUMNS, "", lineterminator="\n", quoting=csv.QUOTE_ALL)
    else:
        writer = csv.DictWriter(out, COLUMNS, "", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def read(
    folder: Path, content: Any, name: str = "posts.json", **options: Any
) -> tuple[list[Record], list[str]]:
    """The records of a file with this content, and the messages about the others, without the folder."""
    file = folder / name
    data = (content if isinstance(content, str) else json.dumps(content)).encode()
    file.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    errors: list[CaptionkitError] = []
    records = list(PostsSource(file, **options).records(errors.append))
    return records, [str(error).replace(f"{folder}/", "") for error in errors]


def test_the_real_posts_are_all_read(shared: Path) -> None:
    source = PostsSource(shared / "data" / "e621" / "posts.json")
    records = list(source.records(strict))
    raw = json.loads((shared / "data" / "e621" / "posts.json").read_text())
    assert len(records) == len(raw) == 75
    for record, post in zip(records, raw, strict=True):
        assert record.id == str(post["id"])
        assert record.image == f"{post['id']}.{post['ext']}"
        assert [(tag.category, tag.name) for tag in record.tags] == [
            (category, name) for category, names in post["tags"].items() for name in names
        ]
        assert dict(record.info) == {
            key: post[key] for key in ("id", "created_at", "rating", "width", "height")
        }
    assert Counter(tag.category for record in records for tag in record.tags).keys() == {
        *("general", "species", "character", "copyright", "artist", "invalid", "meta", "lore")
    }
    assert {year_of(record.fact("created_at") or 0) for record in records} == {2021}
    assert source.root == shared / "data" / "e621"


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("posts.json", {"posts": [E621, DANBOORU]}),
        ("posts.json", [E621, DANBOORU]),
        ("posts.json", json.dumps([E621, DANBOORU], indent=2)),
        ("posts.json", {"post": [E621, DANBOORU], "@attributes": {"count": 2}}),
        ("posts.jsonl", f"{json.dumps(E621)}\n\n{json.dumps(DANBOORU)}\n"),
        ("posts.json", f"{json.dumps(E621)}\n{json.dumps(DANBOORU)}"),
        ("posts.ndjson", f"{json.dumps({'post': E621})}\n{json.dumps(DANBOORU)}"),
    ],
)
def test_posts_in_every_form(tmp_path: Path, name: str, content: Any, packed: bool) -> None:
    name += ".gz" if packed else ""
    assert read(tmp_path, content, name) == ([E621_RECORD, DANBOORU_RECORD], [])


@pytest.mark.parametrize("content", [E621, {"post": E621}])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_single_post(tmp_path: Path, content: Any, indent: int | None) -> None:
    assert read(tmp_path, json.dumps(content, indent=indent)) == ([E621_RECORD], [])


def test_the_second_interface_of_e621(tmp_path: Path) -> None:
    post = {
        **{key: E621[key] for key in ("id", "created_at", "tags", "flags", "rating")},
        "files": {
            "meta": {"md5": "a1b2", "ext": "png", "size": 5},
            "original": {"width": 640, "height": 480, "url": None},
            "preview": {"width": 256, "height": 269},
        },
        "stats": {"score": E621["score"], "fav_count": 7, "comment_count": 81},
    }
    assert read(tmp_path, [post]) == ([E621_RECORD], [])


def test_the_daily_export(tmp_path: Path) -> None:
    for name in ("posts-2025-06-30.csv", "posts-2025-06-30.csv.gz"):
        assert read(tmp_path, export([ROW]), name) == ([ROW_RECORD], [])
        assert read(tmp_path, "\ufeff" + export([ROW]).replace("\n", "\r\n"), name) == ([ROW_RECORD], [])
    assert year_of(ROW_RECORD.fact("created_at") or 0) == 2007


def test_pictures_are_named_as_the_downloader_named_them(tmp_path: Path) -> None:
    records, errors = read(tmp_path, [E621, {**DANBOORU, "md5": None}], names="md5", images="pictures")
    assert [record.image for record in records] == ["a1b2.png"]
    assert [record.id for record in records] == ["100"]
    assert errors == [
        "posts.json:1: post 200: its md5 is kept back (some posts show it to members only; or name by id)"
    ]
    assert PostsSource("posts.json", images="pictures").root == Path("pictures")


def test_deleted_posts_are_named_or_wanted(tmp_path: Path) -> None:
    posts = [{**E621, "flags": {"deleted": True}}, {**DANBOORU, "is_deleted": True}]
    records, errors = read(tmp_path, posts)
    assert records == []
    assert errors[0] == "posts.json:1: post 100: is deleted, its picture is not to be had"
    assert len(errors) == 2
    assert read(tmp_path, posts, deleted=True) == ([E621_RECORD, DANBOORU_RECORD], [])
    rows = export([{**ROW, "is_deleted": "t"}])
    assert read(tmp_path, rows, "p.csv")[1] == ["p.csv:2: post 300: is deleted, its picture is not to be had"]
    assert read(tmp_path, rows, "p.csv", deleted=True) == ([ROW_RECORD], [])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file": {"ext": "webm"}}, 'post 100: is no picture that is read, but the text "webm"'),
        ({"file": {"ext": "../x"}}, "is no picture that is read"),
        ({"tags": {"general": []}}, "post 100: has no tags"),
        ({"tags": []}, "post 100: has no tags"),
        ({"tags": {"general": [7]}}, "tags.general: must be a list of names, got a list [7]"),
        ({"tags": {"general": [" "]}}, "tags.general: must be a list of names"),
        ({"tags": 7}, "post 100: tags: must be a list of names, got the number 7"),
        ({"id": None}, "posts.json:1: id: a post needs an id, got the value null"),
        ({"id": True}, "a post needs an id, got the value true"),
        ({"id": "../x"}, "id must be letters and digits"),
        ({"id": [1]}, "id: got a list [1], no fact"),
        ({"rating": ["s"]}, "rating: got a list"),
        ({"fav_count": float("inf")}, "fav_count: got the number Infinity, no fact"),
        ({"score": {"total": float("nan")}}, "score.total: got the number NaN, no fact"),
    ],
)
def test_a_bad_post_is_skipped_and_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    records, (error,) = read(tmp_path, [{**E621, **change}, DANBOORU])
    assert records == [DANBOORU_RECORD]
    assert message in error


def test_what_nobody_says_is_no_fact(tmp_path: Path) -> None:
    records, _ = read(tmp_path, [{"id": 1, "tags": "red_fox  snow", "rating": None, "score": {}}])
    assert records == [Record("1", (Tag("red_fox"), Tag("snow")), (), None, {"id": 1})]


def test_a_line_that_is_broken_is_skipped(tmp_path: Path) -> None:
    content = f"{json.dumps(E621)}\n{{\n[1]\n{json.dumps(DANBOORU)}\n"
    records, errors = read(tmp_path, content, "posts.jsonl")
    assert records == [E621_RECORD, DANBOORU_RECORD]
    assert [error.split(": ")[0] for error in errors] == ["posts.jsonl:2", "posts.jsonl:3"]


# ---------------------------------------------------------------------------------------------------- the CSV

texts = st.text(st.sampled_from('ab, "\n\r犬'), max_size=12)


@given(st.lists(texts, min_size=1, max_size=8), st.integers(1, 60), st.booleans())
def test_rows_are_whole_wherever_the_file_is_cut(descriptions: list[str], chunk: int, packed: bool) -> None:
    rows = [{**ROW, "id": str(number), "description": text} for number, text in enumerate(descriptions)]
    text = export(rows)
    with tempfile.TemporaryDirectory() as folder, patch.object(json_window, "CHUNK", chunk):
        name = "posts.csv.gz" if packed else "posts.csv"
        records, errors = read(Path(folder), text, name)
        assert errors == []
        assert [record.id for record in records] == [row["id"] for row in rows]
        source = PostsSource(Path(folder) / name)
        assert sum(block.amount for block in source.blocks(strict)) == len(text.encode())


def outcome(file: Path, chunk: int) -> tuple[list[Record], list[str]]:
    """What is read, and what is said, when so many bytes are read at a time."""
    errors: list[CaptionkitError] = []
    records: list[Record] = []
    with patch.object(json_window, "CHUNK", chunk):
        try:
            records += PostsSource(file).records(errors.append)
        except DataError as error:
            errors.append(error)
    return records, [str(error) for error in errors]


@given(st.lists(texts, min_size=1, max_size=4), st.integers(1, 60), st.data())
def test_a_damaged_export_is_read_or_is_our_error(rows: list[str], chunk: int, data: st.DataObject) -> None:
    content = export([{**ROW, "description": text} for text in rows]).encode()
    at = data.draw(st.integers(0, len(content)))
    damaged = content[:at] + data.draw(st.binary(max_size=3))
    damaged += content[at + data.draw(st.integers(0, 2)) :] if data.draw(st.booleans()) else b""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "posts.csv"
        file.write_bytes(damaged)
        for size in (chunk, 1 << 18):
            records, errors = outcome(file, size)
            assert records or errors


@pytest.mark.parametrize(
    ("content", "messages"),
    [
        (export([ROW, {**ROW, "score": "x"}]), ["p.csv:3: score: must be a whole number, got 'x'"]),
        (export([ROW, {**ROW, "tag_string": ""}]), ["p.csv:3: post 300: has no tags"]),
        (export([ROW]) + "1,2\n", ["p.csv:3: the row has 2 fields, the first line 29"]),
        (export([{**ROW, "description": 'a\n\n"b"'}]) + "1\n", ["p.csv:5: the row has 1 fields"]),
        (export([{**ROW, "description": "a\r\rb"}]) + "1\n", ["p.csv:3: the row has 1 fields"]),
        (export([ROW]) + '\n7,"x\n1,2', ["p.csv:4: a quotation mark opens and is not closed, nothing"]),
    ],
)
def test_a_bad_row_is_named_with_the_line_on_which_it_begins(
    tmp_path: Path, content: str, messages: list[str]
) -> None:
    records, errors = read(tmp_path, content, "p.csv")
    assert len(records) == 1
    assert len(errors) == len(messages)
    assert all(message in error for message, error in zip(messages, errors, strict=True))


def test_an_export_that_is_no_text_is_read_up_to_there(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_bytes(export([ROW]).encode() + b"301,\xff\n")
    errors: list[CaptionkitError] = []
    assert list(PostsSource(file).records(errors.append)) == [ROW_RECORD]
    assert [str(error).replace(f"{tmp_path}/", "")[:50] for error in errors] == [
        f"p.csv:3: is not UTF-8: byte 0xff at offset {len(export([ROW])) + 4} (co"
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.csv", "", "holds no posts"),
        ("p.csv", export([]), "holds no posts"),
        ("p.csv", "id,name\n1,2\n", "p.csv:1: column tag_string is missing; the file has: id, name"),
        ("p.json", "[]", "holds no entries"),
        ("p.json", "", "holds no entries"),
        ("p.jsonl", "\n", "holds no records"),
        ("p.json", "id,tags", "is no JSON"),
    ],
)
def test_a_file_without_posts_is_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(DataError) as error:
        read(tmp_path, content, name)
    assert message in str(error.value)


@pytest.mark.parametrize("name", ["p.json", "p.jsonl", "p.csv"])
def test_a_file_that_is_not_there_is_our_error(tmp_path: Path, name: str) -> None:
    source = PostsSource(tmp_path / name)
    assert source.total() is None
    with pytest.raises(DataError, match="No such file"):
        list(source.records(strict))


def ids(block: Block, report: Report) -> list[str]:
    return [record.id for record in block.records(report)]


def test_processes_change_nothing(tmp_path: Path) -> None:
    rows = [{**ROW, "id": str(number), "tag_string": "a_b c " * 40} for number in range(4000)]
    (tmp_path / "p.csv").write_text(export(rows) + "1,2\n" + export(rows[:2000]))
    outcomes = []
    for processes in (1, 2):
        errors: list[CaptionkitError] = []
        parts = list(
            map_blocks(ids, PostsSource(tmp_path / "p.csv"), processes=processes, report=errors.append)
        )
        outcomes.append((parts, [str(error) for error in errors]))
    assert outcomes[0] == outcomes[1]
    assert sum(len(part) for _, part in outcomes[0][0]) == 6000
    assert len(outcomes[0][1]) == 2
    assert len(outcomes[0][0]) > 4
