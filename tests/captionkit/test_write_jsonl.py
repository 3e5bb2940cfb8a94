"""Records as JSON Lines: what is written is read back the same, and what is not is said."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionkit import DataError, Prose, Record, Tag, record_of
from captionkit.readers import read_jsonl
from captionkit.testing import strategies
from captionkit.writers.fields import fields_of, has_content
from captionkit.writers.jsonl import JsonlTarget
from captionkit.writers.target import Losses


def kinds(record: Record) -> list[type]:
    """The kinds of a record's facts, for True == 1 == 1.0."""
    return [type(record.fact(name)) for name in dict(record.info)]


def back(record: Record) -> Record:
    """The record after the way through JSON."""
    return record_of(json.loads(json.dumps(fields_of(record))), "there")


# ------------------------------------------------------------------------------------------------------- laws


@given(strategies.records())
def test_what_is_not_lost_comes_back(record: Record) -> None:
    losses = Losses()
    fields = fields_of(record, losses)
    if not has_content(record):
        return
    read = record_of(json.loads(json.dumps(fields)), "there")
    if not losses.counts:
        assert read == record
        assert kinds(read) == kinds(record)
    # What was written the second time is all there.
    assert back(read) == read


@pytest.mark.parametrize(
    "record",
    [
        Record("7", (Tag("a, b"),)),
        Record("a", (Tag("x", "general"), Tag("y"), Tag("z", "general"))),
        Record("a", (Tag("x", "general"), Tag("y", "species"), Tag("z", "general"))),
        Record("a", (Tag("x", "", "", 0.5), Tag("y", "species", None, -3.0))),
        Record("a", (Tag("x", "general", "human", 1.0), Tag("y", "species"))),
        Record("a", (Tag("x"), Tag("|||"), Tag("y"), Tag("||| |||"), Tag("z"), Tag("||| |||"))),
        Record("a", (), (Prose("One."), Prose("Two."))),
        Record("a", (), (Prose("One.", "cogvlm"), Prose("Two."), Prose("Three.", ""))),
        Record("a", (Tag("x"),), (), "b/c.png", {"score.up": 3, "score": 2.0, "yes": True, "one": 1}),
        Record("a", (Tag("x"),), (), None, {"id": 3, "text": "t", "tags": "u", "info": False, "file": 1.5}),
        Record("a", (Tag("x"),), (), None, {"info.text": 1, "a.b.c": 2, " ": 3, "captoin": "x"}),
    ],
)
def test_what_is_easily_lost_comes_back(record: Record) -> None:
    losses = Losses()
    fields_of(record, losses)
    assert not losses.counts
    assert back(record) == record
    assert kinds(back(record)) == kinds(record)


@pytest.mark.parametrize(
    ("record", "lost"),
    [
        (Record("a", (Tag("x"),), (), " "), "paths of pictures that are blank"),
        (Record("a", (Tag("x", score=float("inf")),)), "scores of tags"),
        (Record("a", (Tag("x", score=10**400),)), "scores of tags"),
        (Record("a", (Tag("x", score=2**60 + 1),)), "scores of tags"),
        (Record("a", (Tag("x|||y"),)), "in their names"),
        (Record("a", (Tag("|||", "meta"),)), "in their names"),
        (Record("a", (Tag("||| |||"),)), "in their names"),
        (Record("a", (Tag("|||"), Tag("|||"))), "in their names"),
        (Record("a", (Tag("x"),), (Prose(" One. "),)), "spaces around captions"),
        (Record("a", (Tag("x"),), (Prose(""), Prose("One."))), "captions without text"),
        (Record("a", (Tag("x"),), (), None, {"f": float("-inf")}), "infinite"),
        (Record("a", (Tag("x"),), (), None, {"f": -(10**5000)}), "thousands of digits"),
    ],
)
def test_what_is_lost_is_said_and_the_rest_is_written(record: Record, lost: str) -> None:
    losses = Losses()
    fields_of(record, losses)
    assert [lost in what for what in losses.counts] == [True]
    assert back(record) != record


# ----------------------------------------------------------------------------------------------------- files


def write(target: JsonlTarget, records: Sequence[Record], size: int = 2) -> Losses:
    """Write the records in chunks of so many."""
    losses = Losses()
    with target.open() as sink:
        for start in range(0, len(records), size):
            sink.append(target.encode(records[start : start + size], losses))
    return losses


@given(st.lists(strategies.records(), max_size=5), st.sampled_from(["all.jsonl", "all.jsonl.gz"]))
def test_what_is_written_is_read_back(records: list[Record], name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        losses = write(JsonlTarget(file), records)
        expected = [record for record in records if has_content(record)]
        if not expected:
            with pytest.raises(DataError, match="holds no records"):
                list(read_jsonl(file))
            return
        read = list(read_jsonl(file))
        assert [record.id for record in read] == [record.id for record in expected]
        # What was read is all there when it is written again.
        again = Path(folder) / f"again {name}"
        assert not write(JsonlTarget(again), read).counts
        assert list(read_jsonl(again)) == read
        if not losses.counts:
            assert read == records
            assert again.read_bytes() == file.read_bytes()
        assert [entry.name for entry in Path(folder).iterdir() if entry.name.startswith(".")] == []


def test_a_line_is_short_where_little_is_known(tmp_path: Path) -> None:
    records = [
        Record("a", (Tag("red fox"), Tag("犬")), (Prose("A fox."),), "a.png", {"rating": "s", "score": 3}),
        Record("b", (Tag("fox", "species"), Tag("snow", "general", score=0.5))),
        Record("c", (), (Prose("One."), Prose("Two.", "cogvlm")), None, {"text": "x"}),
    ]
    assert JsonlTarget(tmp_path / "all.jsonl").encode(records, Losses()).decode().splitlines() == [
        '{"id": "a", "image": "a.png", "tags": ["red fox", "犬"], "caption": "A fox.",'
        ' "rating": "s", "score": 3}',
        '{"id": "b", "tags": {"species": ["fox"], "general": [{"name": "snow", "score": 0.5}]}}',
        '{"id": "c", "captions": [{"text": "One.", "source": "human"}, {"text": "Two.", "source": "cogvlm"}],'
        ' "info": {"text": "x"}}',
    ]


def test_a_record_with_nothing_is_left_out_and_half_a_character_replaced(tmp_path: Path) -> None:
    file = tmp_path / "all.jsonl"
    records = [
        Record("nothing"),
        Record("blank", (), (Prose("  "),)),
        Record(
            "half",
            (Tag("fox \ud83e"), Tag("x", "\udd8a")),
            (Prose("\ud83e", "\ud83e"),),
            "\ud83e",
            {"\ud83e": 1},
        ),
        Record("whole \ud83e", (Tag("🦊"),)),
    ]
    losses = write(JsonlTarget(file), records)
    assert losses.lines() == [
        "lost: records without tags and captions, left out, of 2 records, such as 'nothing'",
        "lost: halves of surrogate pairs in texts, of 2 records, such as 'half'",
    ]
    half, whole = list(read_jsonl(file))
    assert half == Record(
        "half", (Tag("fox \ufffd"), Tag("x", "\ufffd")), (Prose("\ufffd", "\ufffd"),), "\ufffd", {"\ufffd": 1}
    )
    assert whole == Record("whole \ufffd", (Tag("🦊"),))


def test_packed_it_is_the_same_and_always_the_same_bytes(tmp_path: Path) -> None:
    records = [Record(str(number), (Tag("fox"),)) for number in range(50)]
    for name in ("plain.jsonl", "one.jsonl.gz", "two.jsonl.gz"):
        write(JsonlTarget(tmp_path / name), records, size=7)
    packed = (tmp_path / "one.jsonl.gz").read_bytes()
    assert gzip.decompress(packed) == (tmp_path / "plain.jsonl").read_bytes()
    assert packed == (tmp_path / "two.jsonl.gz").read_bytes()


def interrupted(target: JsonlTarget) -> None:
    """Write something, and then fail."""
    with target.open() as sink:
        sink.append(b"x" * 1_000_000)
        raise RuntimeError


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    for name in ("all.jsonl", "all.jsonl.gz"):
        file = tmp_path / name
        file.write_bytes(b"before")
        with pytest.raises(RuntimeError):
            interrupted(JsonlTarget(file))
        assert file.read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 2


def test_where_nothing_can_be_written_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    places = {tmp_path / "file" / "a.jsonl": "its folder is not there", tmp_path: "is a folder"}
    for path, message in places.items():
        with pytest.raises(DataError, match=message), JsonlTarget(path).open():
            pass
    assert JsonlTarget(tmp_path / "a.jsonl").home == tmp_path
