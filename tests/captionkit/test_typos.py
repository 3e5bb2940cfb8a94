"""Tags that look like typos: what is found, and what is left in peace."""

from __future__ import annotations

import csv
import gzip
from dataclasses import replace
from itertools import islice
from math import log10
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionkit.record import fold
from captionkit.stats.mentions import Mention
from captionkit.stats.near import Near, one_edit
from captionkit.stats.result import Typo
from captionkit.stats.typos import doubt, typos
from captionkit.stats.unmatched import There, unmatched

words = st.text("abc ", min_size=1, max_size=5)


def distance(one: str, other: str) -> int:
    """Edits between two texts, an exchange of neighbours counting as one (optimal string alignment)."""
    rows = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i in range(len(one) + 1):
        for j in range(len(other) + 1):
            if 0 in (i, j):
                rows[i][j] = i + j
                continue
            same = one[i - 1] == other[j - 1]
            rows[i][j] = min(rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + (not same))
            if i > 1 and j > 1 and one[i - 1] == other[j - 2] and one[i - 2] == other[j - 1]:
                rows[i][j] = min(rows[i][j], rows[i - 2][j - 2] + 1)
    return rows[-1][-1]


@given(words, words)
def test_one_edit_is_a_distance_of_one(one: str, other: str) -> None:
    assert one_edit(one, other) == one_edit(other, one) == (distance(one, other) == 1)


@given(st.lists(words, unique=True, max_size=20), words)
def test_near_names_are_those_at_one_edit_or_of_the_same_words(names: list[str], asked: str) -> None:
    def same_words(name: str) -> bool:
        return " " in asked and " " in name and sorted(name.split()) == sorted(asked.split())

    others = [name for name in names if name != asked]
    expected = {name for name in others if distance(name, asked) == 1 or same_words(name)}
    assert set(Near(names).to(asked)) == expected


COUNTS = {
    "blue hair": 1000,
    "running": 500,
    "animal": 400,
    "2girls": 300,
    "kangaroo": 300,
    "spore": 200,
    "tea": 90,
}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("bleu hair", "blue hair"),
        ("hair blue", "blue hair"),
        ("bluehair", "blue hair"),
        ("blue-hair", "blue hair"),
        ("runing", "running"),
        ("runnning", "running"),
        ("rumning", "running"),
        ("animals", "animal"),
    ],
)
def test_a_slip_is_found(name: str, meant: str) -> None:
    (found,) = typos(COUNTS | {name: 2}, {})
    assert replace(found, score=0.0) == Typo(name, 2, meant, COUNTS[meant])
    assert found.score == round(log10(COUNTS[meant] / 2) - doubt(name, meant), 2)


@pytest.mark.parametrize("name", ["3girls", "sport", "cunning", "teas", "red hair", "animaly"])
def test_another_word_is_no_slip(name: str) -> None:
    """Digits, short words, first letters, endings."""
    assert typos(COUNTS | {name: 2}, {}) == ()


def test_what_is_frequent_known_or_a_name_is_no_typo() -> None:
    slip = COUNTS | {"runing": 2}
    assert typos(slip | {"runing": 30}, {}) == ()
    assert typos(slip, {}, known={"runing"}) == ()
    assert typos(slip, {"runing": "artist", "running": "general"}) == ()
    assert typos(slip, {"runing": "general", "running": "species"}) != ()
    assert typos(slip | {"runing": 0}, {}) == ()
    assert typos({}, {}) == ()


def test_the_likeliest_typos_come_first() -> None:
    """By how many times as frequent the other is; words that may be meant so, such as plurals, last."""
    found = typos(COUNTS | {"runing": 1, "bleu hair": 9, "hair blue": 3, "animals": 1, "punning": 0}, {})
    assert [typo.name for typo in found] == ["runing", "hair blue", "bleu hair", "animals"]
    words = typos(
        {"smiling": 2000, "crying": 500, "sailing": 1, "smilign": 1, "smiping": 1, "smilling": 1}, {}
    )
    assert [typo.name for typo in words] == ["smilign", "smilling", "smiping", "sailing"]


@given(st.text("abs ", min_size=2, max_size=9), st.text("abs ", min_size=2, max_size=9))
def test_doubt_is_the_same_both_ways_and_never_below_zero(name: str, meant: str) -> None:
    if one_edit(name, meant):
        assert 0.0 <= doubt(name, meant) == doubt(meant, name) <= 2.0


def test_the_measure_on_the_lists_of_e621(shared: Path) -> None:
    """What is found of real misspellings, and suspected of tags in use: of the 40,000 most frequent tags. Of
    all, `typos` has the figures."""
    groups = {"1": "artist", "3": "copyright", "4": "character", "5": "species", "7": "meta", "8": "lore"}
    with gzip.open(shared / "data/e621/tags-2026-04-01.csv.gz", "rt", encoding="utf-8") as file:
        rows = [row for row in islice(csv.reader(file), 40_000) if fold(row[0])]
    counts = {fold(row[0]): int(row[2]) for row in rows}
    categories = {fold(row[0]): groups.get(row[1], "general") for row in rows}
    assert len(typos(counts, categories)) < 0.004 * len(counts)
    with gzip.open(shared / "data/e621/tag_aliases-2025-05-01.csv.gz", "rt", encoding="utf-8") as file:
        aliases = [
            (fold(row["antecedent_name"]), fold(row["consequent_name"]))
            for row in csv.DictReader(file)
            if row["status"] == "active"
        ]
    slips = {
        old: new
        for old, new in aliases
        if old not in counts
        and counts.get(new, 0) >= 300
        and old != new
        and (one_edit(old, new) or sorted(old.split()) == sorted(new.split()))
    }
    assert len(slips) > 4_000
    rare = {old: counts[new] // 300 for old, new in slips.items()}
    kinds = categories | dict.fromkeys(slips, "general")
    found = {typo.name: typo.meant for typo in typos(counts | rare, kinds)}
    assert sum(found.get(old) == new for old, new in slips.items()) > 0.85 * len(slips)


# --- What the recipe names and the data does not have. ---

THERE = There(
    names=dict.fromkeys(["text on shirt", "solo", "red fox", "by someone"]),
    categories={"artist"},
    tag_sources={"human"},
    prose_sources={"cogvlm"},
    facts={"rating", "rating=s"},
    in_prose={"left"},
)


@pytest.mark.parametrize(
    "mention",
    [
        Mention("x", "pattern", ("Text_on*",)),
        Mention("x", "pattern", ("regex:text on .*",)),
        Mention("x", "tag", ("Red_Fox",)),
        Mention("x", "tag", ("nothing", "solo")),
        Mention("x", "part", ("on",)),
        Mention("x", "category", ("artist",)),
        Mention("x", "tag source", ("human",)),
        Mention("x", "prose source", ("cogvlm",)),
        Mention("x", "fact", ("rating=s",)),
        Mention("x", "prose pattern", ("left",)),
    ],
)
def test_what_is_there_is_not_missed(mention: Mention) -> None:
    assert unmatched([mention], THERE) == ()


@pytest.mark.parametrize(
    ("mention", "near"),
    [
        (Mention("x", "pattern", ("sool",)), ("solo",)),
        (Mention("x", "pattern", ("text on shirts*",)), ("text on shirt*",)),
        (Mention("x", "pattern", ("txet on*",)), ("text on*",)),
        (Mention("x", "pattern", ("sol*",)), ("sol**",)),
        (Mention("x", "pattern", ("written*",)), ()),
        (Mention("x", "pattern", ("text of*",)), ()),
        (Mention("x", "tag", ("redfox",)), ("red fox",)),
        (Mention("x", "category", ("artists",)), ("artist",)),
        (Mention("x", "prose source", ("cogvl",)), ("cogvlm",)),
        (Mention("x", "fact", ("ratings",)), ()),
        (Mention("x", "fact", ("rating=ss",)), ("s",)),
        (Mention("x", "fact", ("rating=questionable",)), ()),
        (Mention("x", "prose pattern", ("right",)), ()),
        (Mention("x", "part", (";;;",)), ()),
        (Mention("x", "pattern", ("regex:sool",)), ()),
    ],
)
def test_what_is_missed_has_near_names(mention: Mention, near: tuple[str, ...]) -> None:
    assert [(one.what, one.near) for one in unmatched([mention, mention], THERE)] == [(mention.what[0], near)]


def test_of_facts_that_nobody_has_only_the_name_is_told() -> None:
    """And nothing of those that kohya datasets give to few pictures only."""
    names = ("score=1", "score=2", "kohya.subset=a", "kohya.lines", "kohya.flip_aug=True")
    found = unmatched([Mention("x", "fact", (name,)) for name in names], THERE)
    assert [(one.what, one.kind) for one in found] == [("score", "fact"), ("kohya.subset", "fact")]
    there = replace(THERE, facts={"kohya.subset", "kohya.subset=train/fox"})
    mention = Mention("x", "fact", ("kohya.subset=train/fxo",))
    assert [(one.what, one.near) for one in unmatched([mention], there)] == [
        ("kohya.subset=train/fxo", ("train/fox",))
    ]
