"""Records as JSON Lines: what is written is read back the same, and what is not is said."""

from __future__ import annotations

import json

import pytest
from hypothesis import given

from captionkit import Prose, Record, Tag, record_of
from captionkit.testing import strategies
from captionkit.writers.fields import fields_of, has_content
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
