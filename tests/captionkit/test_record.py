"""The values themselves: what a record takes, what a caption keeps."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionkit import Caption, DataError, Prose, Record, Source, Tag, parse_tags
from captionkit.record import fold, unique_tags
from captionkit.testing import captions, facts, names, tags

FOX = (Tag("fox"), Tag("tree"))


@given(captions(), st.lists(tags()).map(tuple), facts())
def test_a_caption_with_one_part_changed_keeps_the_rest(
    caption: Caption, others: tuple[Tag, ...], known: dict[str, Any]
) -> None:
    changed = caption.with_tags(others)
    assert changed == dataclasses.replace(caption, tags=others)
    prose = (Prose("A fox."),)
    assert caption.with_prose(prose) == dataclasses.replace(caption, prose=prose)
    assert caption.emptied() == Caption(source=Source.EMPTY, info=caption.info)
    record = Record("a", others, prose, info=known)
    assert dict(record.info) == known
    assert {name: Caption.of(record).fact(name) for name in known} == known
    assert record.info == tuple(sorted(record.info))


@pytest.mark.parametrize(
    ("tags", "prose", "source"),
    [
        (FOX, ("A fox.",), Source.BOTH_TAGS_FIRST),
        (FOX, (" ",), Source.TAGS),
        (FOX, (), Source.TAGS),
        ((), ("A fox.",), Source.CAPTION),
        ((), ("\n",), Source.EMPTY),
    ],
)
def test_the_source_of_a_whole_record(tags: tuple[Tag, ...], prose: tuple[str, ...], source: Source) -> None:
    caption = Caption.of(Record("a", tags, tuple(map(Prose, prose)), info={"x": 1}))
    assert (caption.tags, caption.source, caption.info) == (tags, source, (("x", 1),))
    assert all(piece.text.strip() for piece in caption.prose)


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ([1], r"record 'a': info: must be a table of names and values, got \[1\]"),
        (3, "record 'a': info: must be a table of names and values, got 3"),
        ({"": 1}, "record 'a': info: a fact's name must be text, got ''"),
        ({3: 1}, "record 'a': info: a fact's name must be text, got 3"),
        ({"x": [1]}, r"record 'a': info\.x: must be text, a number, true or false, got \[1\]"),
        ({"x": b"1"}, r"record 'a': info\.x: must be text, a number, true or false, got b'1'"),
    ],
)
def test_facts_are_checked(info: Any, message: str) -> None:
    with pytest.raises(DataError, match=f"^{message}$"):
        Record("a", info=info)


def test_a_fact_that_nobody_knows_is_none() -> None:
    record = Record("a", info={"b": None, "z": False, "a": 0})  # type: ignore[dict-item]
    assert record.info == (("a", 0), ("z", False))
    assert (record.fact("a"), record.fact("z"), record.fact("b")) == (0, False, None)
    assert Record("a", info=(("z", 1), ("b", 2))).info == (("b", 2), ("z", 1))
    assert Record("a").info == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"id": ""}, "a record's id must be text with at least one character, got ''"),
        ({"id": 3}, "a record's id must be text with at least one character, got 3"),
        ({"tags": "fox"}, "record 'a': tags: must be a list of Tag, got 'fox'"),
        ({"tags": ["fox"]}, r"record 'a': tags\[0\]: must be a Tag, got 'fox' \(write Tag\('fox'\)\)"),
        ({"tags": [Tag("fox"), 3]}, r"record 'a': tags\[1\]: must be a Tag, got 3"),
        ({"prose": [Tag("fox")]}, r"record 'a': prose\[0\]: must be a Prose, got Tag\(.*\)"),
    ],
)
def test_a_record_takes_tags_and_prose_alone(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=f"^{message}$"):
        Record(**{"id": "a", **arguments})


@pytest.mark.parametrize("value", [None, 3, b"x"])
def test_tags_and_prose_are_text(value: Any) -> None:
    with pytest.raises(DataError, match="a tag's name must be text, got"):
        Tag(value)
    with pytest.raises(DataError, match="a caption must be text, got"):
        Prose(value)


@pytest.mark.parametrize("value", [Tag("a"), Prose("a"), Record("a"), Caption()])
def test_values_are_frozen_and_can_be_keys(value: Any) -> None:
    field = dataclasses.fields(value)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, field, "b")
    assert not hasattr(value, "__dict__")
    assert value in {value}


@given(st.lists(tags()))
def test_of_each_name_the_first_tag_stays(several: list[Tag]) -> None:
    unique = unique_tags(tuple(several))
    kept = {tag.name: tag for tag in reversed(several)}
    assert unique == tuple(kept[name] for name in dict.fromkeys(tag.name for tag in several))


@given(names())
def test_folded_names_are_folded_once(name: str) -> None:
    assert fold(fold(name)) == fold(name)
    assert fold(name.upper()) == fold(name.lower().upper())
    assert "_" not in fold(name)
    assert "  " not in fold(name)


def test_tags_of_a_text() -> None:
    assert parse_tags(" red fox ,, run;x", category="a", source="b") == (
        Tag("red fox", "a", "b"),
        Tag("run;x", "a", "b"),
    )
    assert parse_tags("a;b, c", separator=";") == (Tag("a"), Tag("b, c"))
    assert parse_tags(" , ") == ()
