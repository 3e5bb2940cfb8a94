"""What additions may do to a record: the laws, over any records and any additions."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from captionkit import Prose, Record, Tag
from captionkit.record import fold
from captionkit.testing import names, records
from trainkit.additions.addition import PERSON, Addition
from trainkit.additions.rule import with_additions

MACHINES = ("wd", "own")


def additions(name: str, denied: bool = False) -> st.SearchStrategy[Addition]:
    """What somebody of this name says of the picture."""
    own = names().filter(lambda text: "|||" not in text)
    tags = st.lists(st.builds(Tag, own, st.none(), st.just(name), st.floats(0, 1)), max_size=4)
    prose = st.lists(st.builds(Prose, st.text(max_size=9), st.just(name)), max_size=0 if denied else 2)
    wrong = st.lists(names(), max_size=3 if denied else 0)
    return st.builds(Addition, st.just("a"), st.just(""), tags.map(tuple), prose.map(tuple), wrong.map(tuple))


said = st.tuples(additions("wd"), additions("own")).map(lambda two: list(zip(MACHINES, two, strict=True)))
corrected = st.tuples(additions(PERSON, denied=True), said).map(lambda both: [(PERSON, both[0]), *both[1]])
known = records()
OWNED = frozenset(MACHINES)


def added(record: Record, some: list[tuple[str, Addition]]) -> Record:
    return with_additions(record, OWNED, some, Counter())


@given(known, corrected)
def test_twice_is_once(record: Record, some: list[tuple[str, Addition]]) -> None:
    once = added(record, some)
    assert added(once, some) == once


@given(known, said)
def test_what_others_said_stays_where_it_is(record: Record, some: list[tuple[str, Addition]]) -> None:
    merged = added(record, some)
    assert merged.tags[: len(record.tags)] == record.tags
    assert merged.prose[: len(record.prose)] == record.prose
    assert (merged.id, merged.image, merged.info) == (record.id, record.image, record.info)


@given(known, corrected, said)
def test_of_what_an_addition_said_before_nothing_is_left(
    record: Record, some: list[tuple[str, Addition]], before: list[tuple[str, Addition]]
) -> None:
    assert added(added(record, before), some) == added(record, some)


@given(known, corrected)
def test_no_tag_is_added_twice_and_none_that_a_person_denies(
    record: Record, some: list[tuple[str, Addition]]
) -> None:
    merged = added(record, some)
    ours = [fold(tag.name) for tag in merged.tags if tag not in record.tags]
    theirs = {fold(tag.name) for tag in merged.tags if tag in record.tags}
    assert len(set(ours)) == len(ours)
    assert not theirs & set(ours)
    person = some[0][1]
    said_too = {fold(tag.name) for tag in person.tags}
    assert not {fold(name) for name in person.denied} & ({*ours, *theirs} - said_too)


@given(known, said)
def test_who_comes_first_does_not_matter_where_they_say_different_things(
    record: Record, some: list[tuple[str, Addition]]
) -> None:
    first = {fold(tag.name) for tag in some[0][1].tags}
    other = tuple(tag for tag in some[1][1].tags if fold(tag.name) not in first)
    some = [some[0], ("own", replace(some[1][1], tags=other))]
    one, two = added(record, some), added(record, some[::-1])
    assert Counter(one.tags) == Counter(two.tags)
    assert Counter(one.prose) == Counter(two.prose)


@given(known, corrected)
def test_all_that_is_said_is_counted(record: Record, some: list[tuple[str, Addition]]) -> None:
    count: Counter[tuple[str, str]] = Counter()
    merged = with_additions(record, OWNED, some, count)
    for name, addition in some[1:]:
        told = sum(count[name, what] for what in ("tags", "known", "denied"))
        assert told == len(addition.tags)
        assert count[name, "tags"] == sum(tag.source == name for tag in merged.tags)


def test_a_person_takes_out_what_is_wrong_and_puts_in_what_lacks() -> None:
    record = Record("a", (Tag("red fox"), Tag("snow", source="wd", score=0.9)), (Prose("A fox."),))
    person = Addition("a", "", (Tag("night", source=PERSON),), denied=("Red_Fox",))
    tagger = Addition("a", "", (Tag("red_fox", source="wd"), Tag("day", source="wd", score=0.8)))
    count: Counter[tuple[str, str]] = Counter()
    merged = with_additions(record, OWNED, [(PERSON, person), ("wd", tagger)], count)
    assert merged.tags == (Tag("night", source=PERSON), Tag("day", source="wd", score=0.8))
    assert merged.prose == (Prose("A fox."),)
    assert +count == {(PERSON, "denied"): 1, (PERSON, "tags"): 1, ("wd", "denied"): 1, ("wd", "tags"): 1}
