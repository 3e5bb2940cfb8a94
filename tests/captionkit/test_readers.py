"""Records from files: what is written is read back, and whatever else lies there is a clear error."""

from __future__ import annotations

import json
import os
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionkit import CaptionkitError, DataError, Prose, Record, Tag, record_of
from captionkit.readers import read_folder, read_jsonl, read_records

# Reading does not look into a picture: any bytes will do.
NO_PICTURE = b""


def lay(folder: Path, files: dict[str, str | bytes]) -> Path:
    """Write `files` under `folder`."""
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def one(records: Iterator[Record]) -> Record:
    (record,) = records
    return record


def names(record: Record) -> list[str]:
    return [tag.name for tag in record.tags]


# ------------------------------------------------------------------------------------------------------- laws

words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1).filter(str.strip)
plain = st.text(st.characters(categories=["L", "N", "Zs"]), min_size=1).map(str.strip).filter(bool)
tags = st.builds(
    Tag, words, st.none() | words, st.none() | words, st.none() | st.floats(-1e9, 1e9, allow_nan=False)
)
prose = st.builds(lambda text, source: Prose(text.strip(), source), words, words)


@given(st.lists(tags), st.lists(prose, min_size=1), words)
def test_what_json_holds_is_read_back_from_a_line_and_from_a_sidecar(
    tags: list[Tag], prose: list[Prose], id: str
) -> None:
    fields = {
        "id": id,
        "tags": [
            {"name": tag.name, "category": tag.category, "source": tag.source, "score": tag.score}
            for tag in tags
        ],
        "captions": [{"text": piece.text, "source": piece.source} for piece in prose],
    }
    with tempfile.TemporaryDirectory() as folder:
        lines = lay(Path(folder), {"all.jsonl": json.dumps(fields, ensure_ascii=False) + "\n"}) / "all.jsonl"
        assert one(read_jsonl(lines)) == Record(id, tuple(tags), tuple(prose))
        lay(Path(folder), {"a.png": NO_PICTURE, "a.json": json.dumps(fields)})
        assert one(read_folder(folder)) == Record("a", tuple(tags), tuple(prose), "a.png")


values = (
    st.text(st.characters(codec="utf-8"))
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
)
facts = st.dictionaries(words, values, max_size=4)


@given(facts, facts, facts)
def test_facts_are_read_back_from_a_line_and_from_a_sidecar(
    plain: dict[str, str | int | float | bool],
    inner: dict[str, str | int | float | bool],
    info: dict[str, str | int | float | bool],
) -> None:
    taken = {
        "id",
        "file",
        "image",
        "file_name",
        "tags",
        "caption",
        "captions",
        "text",
        "prose",
        "info",
        "score",
    }
    plain = {key: value for key, value in plain.items() if key not in taken}
    info = {key: value for key, value in info.items() if key not in plain and not key.startswith("score.")}
    plain = {key: value for key, value in plain.items() if not key.startswith("score.")}
    expected = {**plain, **info, **{f"score.{key}": value for key, value in inner.items()}}
    fields = {"id": "r", "tags": "a", **plain, "score": inner, "info": info}
    with tempfile.TemporaryDirectory() as folder:
        lines = lay(Path(folder), {"all.jsonl": json.dumps(fields) + "\n"}) / "all.jsonl"
        assert dict(one(read_jsonl(lines)).info) == expected
        lay(Path(folder), {"a.png": NO_PICTURE, "a.json": json.dumps(fields)})
        assert dict(one(read_folder(folder)).info) == expected


@given(st.lists(plain, min_size=1), st.sampled_from([", ", ",", "\n", ",\n", "\r\n"]), st.booleans())
def test_tags_of_a_text_sidecar_are_read_back_whatever_separates_them(
    names_written: list[str], separator: str, bom: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        text = separator.join(names_written).encode("utf-8-sig" if bom else "utf-8")
        record = one(read_folder(lay(Path(folder), {"a.png": NO_PICTURE, "a.txt": text})))
    assert names(record) == names_written


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(
    st.sampled_from(["id", "file", "image", "tags", "caption", "text", "captions", "other"]), json_values
)
contents = st.binary(max_size=60) | objects.map(lambda fields: json.dumps(fields).encode())


@given(st.lists(contents, max_size=4).map(b"\n".join), st.sampled_from(["txt", "caption", "json"]))
def test_whatever_lies_there_is_read_or_is_our_error_and_skipping_never_stops(
    content: bytes, suffix: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lay(
            Path(folder),
            {
                "all.jsonl": content + b'\n{"id": "last", "tags": "a"}',
                "a.png": NO_PICTURE,
                f"a.{suffix}": content,
                "b.png": NO_PICTURE,
                "b.txt": "b",
            },
        )
        for path, last in ((Path(folder) / "all.jsonl", "last"), (Path(folder), "b")):
            errors: list[CaptionkitError] = []
            records = list(read_records(path, on_error=errors.append))
            assert records[-1].id == last
            assert all(record.tags or record.prose for record in records)
            assert all(error.where is not None and error.where.startswith(str(path)) for error in errors)
            if errors:
                with pytest.raises(CaptionkitError, match=r"\S"):
                    list(read_records(path))


# --------------------------------------------------------------------------------------------------- examples


def test_a_folder_with_every_kind_of_sidecar(tmp_path: Path) -> None:
    lay(
        tmp_path,
        {
            "fox.png": NO_PICTURE,
            "fox.txt": "red fox, running, , snow\nwinter\n",
            "fox.caption": "A red fox runs.\n\nIt is winter.\n",
            "cats/Two.JPG": NO_PICTURE,
            "cats/Two.json": json.dumps(
                {"tags": {"species": ["cat"], "general": "two, indoors"}, "captions": {"cogvlm": "Two cats."}}
            ),
            "cats/v1.5.webp": NO_PICTURE,
            "cats/v1.5.caption": b"\xef\xbb\xbfA cat.",
            "cats/readme.md": "passed over",
            ".hidden/a.png": NO_PICTURE,
        },
    )
    assert list(read_records(tmp_path)) == [
        Record(
            "fox",
            (Tag("red fox"), Tag("running"), Tag("snow"), Tag("winter")),
            (Prose("A red fox runs."), Prose("It is winter.")),
            "fox.png",
        ),
        Record(
            "cats/Two",
            (Tag("cat", "species"), Tag("two", "general"), Tag("indoors", "general")),
            (Prose("Two cats.", "cogvlm"),),
            "cats/Two.JPG",
        ),
        Record("cats/v1.5", (), (Prose("A cat."),), "cats/v1.5.webp"),
    ]


def test_tags_and_captions_of_one_picture_may_stand_in_different_sidecars(tmp_path: Path) -> None:
    lay(tmp_path, {"a.png": NO_PICTURE, "a.txt": "fox", "a.json": '{"caption": "A fox."}'})
    assert one(read_folder(tmp_path)) == Record("a", (Tag("fox"),), (Prose("A fox."),), "a.png")


def test_a_json_file_may_hold_the_facts_alone_beside_the_others(tmp_path: Path) -> None:
    post = {
        "rating": "s",
        "score": {"up": 3, "total": 2},
        "ext": "png",
        "pools": [1],
        "sources": None,
        "deep": {"a": {"b": 1}},
    }
    lay(tmp_path, {"a.png": NO_PICTURE, "a.txt": "fox", "a.json": json.dumps(post)})
    record = one(read_folder(tmp_path))
    assert record.info == (("ext", "png"), ("rating", "s"), ("score.total", 2), ("score.up", 3))
    assert record.fact("score.total") == 2


@pytest.mark.parametrize(
    "fields", ['{"captoin": "A fox.", "rating": "s"}', '{"tagss": ["fox"], "rating": "s"}', "{}"]
)
def test_facts_do_not_hide_a_misspelt_key(tmp_path: Path, fields: str) -> None:
    lay(tmp_path, {"a.png": NO_PICTURE, "a.txt": "fox", "a.json": fields})
    with pytest.raises(CaptionkitError, match=r"a\.json: has neither tags nor captions"):
        list(read_folder(tmp_path))


def test_facts_alone_are_no_record(tmp_path: Path) -> None:
    lay(tmp_path, {"a.png": NO_PICTURE, "a.json": '{"rating": "s"}', "b.jsonl": '{"id": 1, "score": 3}'})
    for path in (tmp_path, tmp_path / "b.jsonl"):
        with pytest.raises(CaptionkitError, match="has neither tags nor captions"):
            list(read_records(path))


@pytest.mark.parametrize("key", ["file", "image", "file_name"])
def test_a_line_without_an_id_takes_the_picture_s_path(tmp_path: Path, key: str) -> None:
    lay(tmp_path, {"a.jsonl": json.dumps({key: "x/y.z.png", "tags": "a"})})
    assert one(read_jsonl(tmp_path / "a.jsonl")) == Record("x/y.z", (Tag("a"),), (), "x/y.z.png")


def test_a_line_may_number_its_id_and_leave_the_picture_out(tmp_path: Path) -> None:
    lay(tmp_path, {"a.jsonl": '\ufeff\n{"id": 7, "text": ["One.", " "], "tags": null}\r\n\n'})
    assert one(read_jsonl(tmp_path / "a.jsonl")) == Record("7", (), (Prose("One."),))


@pytest.mark.parametrize(
    "fields",
    [
        {"image": "x/a.png", "tags": [{"name": "fox", "category": "species", "score": None}], "rating": "s"},
        {"id": 7, "captions": {"cogvlm": ["One.", "Two."], "human": None}, "score": {"up": 3, "down": None}},
        {"id": "b", "tags": {"artist": "a, b", "species": None}, "text": "One.", "other": [1]},
    ],
)
def test_an_object_read_elsewhere_is_the_record_of_its_line(
    tmp_path: Path, fields: dict[str, object]
) -> None:
    lay(tmp_path, {"a.jsonl": json.dumps(fields)})
    assert record_of(fields, "row 1") == one(read_jsonl(tmp_path / "a.jsonl"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image": "a.png"}, "row 1: has neither tags nor captions; its keys are 'image' ("),
        ({"tags": "a"}, "row 1: has neither 'id' nor a picture"),
        ({"id": "", "tags": "a"}, "row 1: id: must be a text or a whole number, got ''"),
        ({"id": 1, "tags": 5}, "row 1: tags: got the number 5, allowed is a list"),
        ({"id": 1, "tags": [b"fox"]}, "row 1: holds what JSON does not know: Object of type bytes"),
        ({"id": 1, "tags": "a", "score": float("nan")}, "row 1: score: must be a finite number"),
    ],
)
def test_an_object_that_is_no_record_is_named_by_its_place(fields: dict[str, object], message: str) -> None:
    with pytest.raises(DataError) as raised:
        record_of(fields, "row 1")
    assert str(raised.value).startswith(message)


def test_the_order_of_a_folder_does_not_hang_on_the_file_system(tmp_path: Path) -> None:
    for name in ("b", "a/z", "c", "a/b"):
        lay(tmp_path, {f"{name}.png": NO_PICTURE, f"{name}.txt": "t"})
    assert [record.id for record in read_folder(tmp_path)] == ["b", "c", "a/b", "a/z"]


def test_a_link_in_a_ring_is_one_bad_file_of_its_folder(tmp_path: Path) -> None:
    """Regression: it could not be asked whether it is a folder, and all pictures beside it were lost."""
    lay(tmp_path, {"a.png": NO_PICTURE, "a.txt": "t", "b.txt": "t"})
    os.symlink("b.png", tmp_path / "b.png")
    os.symlink("ring", tmp_path / "ring")
    assert [record.id for record in read_folder(tmp_path)] == ["a", "b"]


def test_a_linked_folder_is_read_and_a_link_in_a_circle_is_an_error(tmp_path: Path) -> None:
    lay(tmp_path, {"data/a.png": NO_PICTURE, "data/a.txt": "t", "far/b.png": NO_PICTURE, "far/b.txt": "t"})
    os.symlink(tmp_path / "far", tmp_path / "data/linked")
    assert [record.id for record in read_folder(tmp_path / "data")] == ["a", "linked/b"]
    os.symlink(tmp_path / "data", tmp_path / "far/circle")
    with pytest.raises(
        CaptionkitError, match=r"circle: is a link to a folder above itself \(remove the link\)"
    ):
        list(read_folder(tmp_path / "data"))


def test_reading_is_one_record_at_a_time(tmp_path: Path) -> None:
    lay(tmp_path, {"a.jsonl": '{"id": 1, "tags": "a"}\nbroken\n'})
    records = read_jsonl(tmp_path / "a.jsonl")
    assert next(records).id == "1"  # The broken line has not been met yet.
    with pytest.raises(CaptionkitError):
        next(records)


def test_the_memory_of_reading_does_not_grow_with_the_file(tmp_path: Path) -> None:
    def peak_bytes(num_lines: int) -> int:
        line = json.dumps({"file": "a/b.png", "tags": [f"tag {index}" for index in range(40)]}) + "\n"
        (tmp_path / "a.jsonl").write_text(line * num_lines)
        tracemalloc.start()
        for _ in read_jsonl(tmp_path / "a.jsonl"):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    # Holding the records would take 10 KB for each; 500 KB are for what else runs meanwhile.
    assert peak_bytes(16_000) < peak_bytes(4000) + 500_000


# ------------------------------------------------------------------------------------------------- real data


def test_the_emoji_are_all_read(shared: Path) -> None:
    records = list(read_records(shared / "data/emoji/metadata.jsonl"))
    assert len(records) == len({record.id for record in records}) == 1679
    assert records[0] == Record(
        "noto72/emoji_u1f1e6",
        (),
        (Prose("regional indicator A"),),
        "noto72/emoji_u1f1e6.png",
        (("hexcode", "1F1E6"),),
    )
    assert (
        sum(len(record.tags) >= 3 for record in records) == 1422
    )  # The figure in the data's own description.


def test_real_posts_are_json_sidecars(shared: Path, tmp_path: Path) -> None:
    posts = json.loads((shared / "data/e621/posts.json").read_text())
    for post in posts:
        lay(tmp_path, {f"{post['id']}.{post['ext']}": NO_PICTURE, f"{post['id']}.json": json.dumps(post)})
    records = {record.id: record for record in read_folder(tmp_path)}
    assert len(records) == 75
    for post in posts:
        written = {(category, name) for category, entries in post["tags"].items() for name in entries}
        assert {(tag.category, tag.name) for tag in records[str(post["id"])].tags} == written


def test_the_emoji_folder_alone_points_at_its_table(shared: Path) -> None:
    with pytest.raises(CaptionkitError, match=r"metadata\.jsonl is there: give that instead of the folder"):
        next(read_records(shared / "data/emoji"))


# -------------------------------------------------------------------------------------------------- bad input

BAD_LINES = {
    '{"id": 1, "tags": "a" "caption": "A."}': (
        "{file}:2: is not valid JSON: Expecting ',' delimiter at column 23"
        " (mend it there; strings and keys stand in double quotes, no comma follows the last entry)"
    ),
    '["a"]': '{file}:2: must be a JSON object {{...}}, got a list ["a"]',
    '{"id": 1, "tags": 3}': (
        '{file}:2: tags: got the number 3, allowed is a list ["a", "b"], a text "a, b", or lists by category'
        ' {{"species": ["a"]}}'
    ),
    '{"id": 1, "tags": {"species": {"a": 1}}}': (
        '{file}:2: tags.species: got an object {{"a": 1}}, allowed is a list ["a", "b"] or a text "a, b"'
    ),
    '{"id": 1, "tags": ["a", 3]}': (
        '{file}:2: tags[1]: a tag must be a text or an object {{"name": ...}}, got the number 3'
    ),
    '{"id": 1, "tags": ["a", " "]}': "{file}:2: tags[1]: an empty tag: ' ' (take the entry out)",
    '{"id": 1, "tags": [{"name": "a", "scroe": 1}]}': (
        "{file}:2: tags[0]: unknown key 'scroe', allowed are 'name', 'category', 'source', 'score'"
        " (did you mean 'score'?)"
    ),
    '{"id": 1, "tags": [{"name": "a", "score": NaN}]}': (
        "{file}:2: tags[0].score: must be a finite number, got the number NaN"
    ),
    '{"id": 1, "tags": [{"score": 1}]}': '{file}:2: tags[0]: a tag object needs a "name"',
    '{"id": 1, "caption": {"cogvlm": 3}}': (
        "{file}:2: caption.cogvlm: got the number 3, allowed is a text, a list of texts, or texts by source"
        ' {{"cogvlm": "..."}}'
    ),
    '{"id": 1, "caption": "A.", "text": "B."}': (
        "{file}:2: captions stand under 2 keys: 'caption', 'text' (keep one of them and rename the others)"
    ),
    '{"id": 1, "tags": [], "caption": " "}': (
        "{file}:2: has neither tags nor captions; its keys are 'id', 'tags', 'caption'"
        " (give it 'tags' or 'caption', or take it out)"
    ),
    '{"id": 1, "tag": "a"}': (
        "{file}:2: has neither tags nor captions; its keys are 'id', 'tag' (did 'tag' mean 'tags'?)"
    ),
    '{"tags": "a"}': (
        "{file}:2: has neither 'id' nor a picture ('file', 'image' or 'file_name')"
        " (the draws of a record hang on its id; give it one)"
    ),
    '{"id": 1, "tags": "a", "score": NaN}': (
        "{file}:2: score: must be a finite number, got the number NaN (write null where nobody knows it)"
    ),
    '{"id": 1, "tags": "a", "info": [3]}': (
        '{file}:2: info: got a list [3], allowed is an object {{"rating": "s"}}'
    ),
    '{"id": 1, "tags": "a", "info": {"score": [3]}}': (
        "{file}:2: info.score: must be text, a number, true or false under a name, got a list [3]"
    ),
    '{"id": 1, "tags": "a", "score": 3, "info": {"score": 3}}': (
        "{file}:2: info.score: the fact 'score' is there twice (keep one of the two)"
    ),
    '{"id": true, "tags": "a"}': "{file}:2: id: must be a text or a whole number, got True",
    '{"file": 3, "tags": "a"}': "{file}:2: file: must be the path of a picture, got 3",
    r'{"id": "\ud83e", "tags": "a"}': (
        "{file}:2: holds half a surrogate pair, which is no character"
        r" (write the character itself, or both halves: \ud83e\udd8a)"
    ),
}


@pytest.mark.parametrize(("line", "message"), BAD_LINES.items(), ids=range(len(BAD_LINES)))
def test_a_bad_line_is_named_and_can_be_skipped(tmp_path: Path, line: str, message: str) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(f'{{"id": 0, "tags": "a"}}\n{line}\n{{"id": 2, "tags": "a"}}\n')
    with pytest.raises(CaptionkitError) as raised:
        list(read_jsonl(file))
    assert str(raised.value) == message.format(file=file)
    assert raised.value.where is not None
    assert raised.value.where.startswith(f"{file}:2")
    errors: list[CaptionkitError] = []
    assert [record.id for record in read_jsonl(file, on_error=errors.append)] == ["0", "2"]
    assert [str(error) for error in errors] == [str(raised.value)]


@pytest.mark.parametrize(
    ("content", "line", "what"),
    [
        ("fox, caf\u00e9".encode("cp1252"), 1, "byte 0xe9 at offset 8"),
        ("fox\nsnow\ncaf\u00e9".encode("cp1252"), 3, "byte 0xe9 at offset 12"),
        (b"\xef\xbb\xbffox\n\xff", 2, "byte 0xff at offset 7"),
        ("fox".encode("utf-16"), 1, "it begins with a UTF-16 byte order mark"),
        ("fox".encode("utf-16-le"), 1, "a NUL byte at offset 1"),
    ],
    ids=["cp1252", "third line", "after a mark", "utf-16", "utf-16 without mark"],
)
@pytest.mark.parametrize("suffix", ["txt", "caption", "json"])
def test_a_sidecar_in_another_encoding_is_named_with_line_and_offset(
    tmp_path: Path, content: bytes, line: int, what: str, suffix: str
) -> None:
    lay(tmp_path, {"a.png": NO_PICTURE, f"a.{suffix}": content})
    with pytest.raises(CaptionkitError) as raised:
        list(read_folder(tmp_path))
    assert str(raised.value).startswith(
        f"{tmp_path / f'a.{suffix}'}:{line}: is not UTF-8: {what} (convert it, "
    )
    assert "iconv -f" in str(raised.value)


def test_a_line_in_another_encoding_is_named_with_its_offset_in_the_file(tmp_path: Path) -> None:
    file = lay(tmp_path, {"a.jsonl": b'{"id": 1, "tags": "a"}\n{"id": 2, "tags": "caf\xe9"}\n'}) / "a.jsonl"
    offset = file.read_bytes().index(b"\xe9")
    with pytest.raises(CaptionkitError, match=f"a.jsonl:2: is not UTF-8: byte 0xe9 at offset {offset} "):
        list(read_jsonl(file))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"a.png": NO_PICTURE},
            "{folder}/a.png: has neither tags nor captions beside it"
            " (write a.txt (tags), a.caption (captions) or a.json, or take the picture out)",
        ),
        (
            {"a.png": NO_PICTURE, "a.txt": " , \n"},
            "{folder}/a.txt:1: holds no tags (write them in, separated by commas, or delete the file)",
        ),
        (
            {"a.png": NO_PICTURE, "a.txt": "a", "a.caption": "\n"},
            "{folder}/a.caption:1: holds no caption (write one per line, or delete the file)",
        ),
        (
            {"a.png": NO_PICTURE, "a.jpg": NO_PICTURE, "a.txt": "a"},
            "{folder}/a: 2 pictures share one id and one set of sidecars: a.jpg, a.png"
            " (rename all but one of them)",
        ),
        (
            {"a.png": NO_PICTURE, "a.txt": "a", "a.json": '{"tags": "b"}'},
            "{folder}/a.json: tags stand here and in a.txt too (keep them in one of the two)",
        ),
        (
            {"a.png": NO_PICTURE, "a.json": '{\n  "tags": ["a"]\n  "caption": "A."\n}'},
            "{folder}/a.json:3: is not valid JSON: Expecting ',' delimiter at column 3"
            " (mend it there; strings and keys stand in double quotes, no comma follows the last entry)",
        ),
        (
            {"a.png": NO_PICTURE, "a.json": '{"labels": ["a"]}'},
            "{folder}/a.json: has neither tags nor captions; its keys are 'labels'"
            " (give it 'tags' or 'caption', or take it out)",
        ),
    ],
    ids=["no sidecar", "no tags", "no caption", "two pictures", "tags twice", "broken json", "other json"],
)
def test_a_bad_picture_is_named_and_can_be_skipped(
    tmp_path: Path, files: dict[str, str | bytes], message: str
) -> None:
    lay(lay(tmp_path, files), {"b.png": NO_PICTURE, "b.txt": "b"})
    with pytest.raises(CaptionkitError) as raised:
        list(read_folder(tmp_path))
    assert str(raised.value) == message.format(folder=tmp_path)
    errors: list[CaptionkitError] = []
    assert [record.id for record in read_folder(tmp_path, on_error=errors.append)] == ["b"]
    assert [str(error) for error in errors] == [str(raised.value)]


@pytest.mark.parametrize(
    ("path", "read", "message"),
    [
        ("gone", read_records, "gone: no such file or folder (looked from the folder "),
        ("gone", read_folder, "gone: no such folder (read_records takes a folder or a .jsonl file)"),
        ("gone.jsonl", read_jsonl, "gone.jsonl: no such file (read_records takes a folder or a .jsonl file)"),
        ("empty", read_jsonl, "empty: is a folder, not a JSON Lines file (read_records takes "),
        ("table.csv", read_folder, "table.csv: is a file, not a folder (read_records takes "),
        ("notes.md", read_records, "notes.md: is no file of records that we know: its suffix is '.md'"),
    ],
)
def test_what_is_no_data_is_an_error_before_the_first_record(
    tmp_path: Path, path: str, read: Callable[..., Iterator[Record]], message: str
) -> None:
    lay(tmp_path, {"table.csv": "a,b", "empty/note.md": "x", "notes.md": "x"})
    with pytest.raises(CaptionkitError) as raised:
        read(
            tmp_path / path, on_error=lambda error: None
        )  # Nothing could be skipped: it is raised nevertheless.
    assert f"{tmp_path}/{message}" in str(raised.value)


def test_a_folder_without_pictures_is_an_error(tmp_path: Path) -> None:
    lay(tmp_path, {"a.txt": "fox", "sub/b.heic": NO_PICTURE})
    with pytest.raises(
        CaptionkitError, match=r"no pictures in this folder or below it \(pictures end in \.avif, "
    ):
        list(read_folder(tmp_path, on_error=lambda error: None))


def test_one_json_array_is_told_from_json_lines(tmp_path: Path) -> None:
    lay(tmp_path, {"a.jsonl": '[\n{"id": 1, "tags": "a"}\n]\n'})
    with pytest.raises(CaptionkitError, match=r"a.jsonl:1: is one JSON array, not JSON Lines .*jq -c"):
        list(read_jsonl(tmp_path / "a.jsonl"))


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(tmp_path, {"a.png": NO_PICTURE, "a.txt": "fox"})

    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)  # chmod does not stop a test that runs as root.
    with pytest.raises(
        CaptionkitError, match=r"a.txt: cannot be read: Permission denied \(check its permissions\)"
    ):
        list(read_folder(tmp_path))
