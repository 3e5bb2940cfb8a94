"""Wildcards: anchored, word-aware, `_` as a space."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionkit import FlipRule, Prose, Record, Tag
from captionkit.patterns import compile_patterns
from captionkit.record import fold
from captionkit.testing import names


@pytest.mark.parametrize(
    ("pattern", "hits", "misses"),
    [
        ("sequence", ["sequence", "Sequence", " sequence "], ["sequences", "a sequence", "sequence a"]),
        ("text on*", ["text_on_shirt", "text on", "Text On Hat"], ["context on shirt", "text one", "texton"]),
        ("text on *", ["text_on_shirt", "text on"], ["text one"]),
        (
            "*right*",
            ["right", "facing right", "right_arm", "the right side"],
            ["bright colors", "copyright", "upright"],
        ),
        ("*left*", ["left 4 dead", "left"], ["cleft tail"]),
        ("asymmetrical*", ["asymmetrical", "asymmetrical hair"], ["symmetrical", "asymmetricality"]),
        ("asymmetr**", ["asymmetrical hair", "asymmetry"], ["an asymmetry"]),
        ("**asymmetr**", ["an asymmetry", "nonasymmetric"], ["symmetry"]),
        ("before and after", ["before_and_after"], ["before and afterwards"]),
        ("* (artist)", ["someone_(artist)", "someone (artist)"], ["someone"]),
        ("a*b", ["a b", "a x b"], ["ab", "axb"]),
        ("*", ["anything", "^_^"], []),
        ("a.c", ["a.c"], ["abc"]),
        ("c++", ["c++"], ["c"]),
    ],
)
def test_pattern(pattern: str, hits: list[str], misses: list[str]) -> None:
    match = compile_patterns((pattern,)).match
    assert [name for name in hits if not match(name)] == []
    assert [name for name in misses if match(name)] == []


@given(names())
def test_a_name_without_stars_matches_itself_in_any_spelling(name: str) -> None:
    if "*" not in name and fold(name):
        match = compile_patterns((name,)).match
        assert match(name)
        assert match(name.replace(" ", "_"))


@given(st.lists(names().filter(lambda name: fold(name) != ""), max_size=5), names())
def test_a_list_matches_what_one_of_its_patterns_matches(patterns: list[str], name: str) -> None:
    alone = any(compile_patterns((pattern,)).match(name) for pattern in patterns)
    assert compile_patterns(tuple(patterns)).match(name) == alone


def test_the_figures_on_real_tags(shared: Path) -> None:
    # Substrings would hit 36 and 108 names: cleft_tail, left_4_dead, copyright_symbol, bright_colors.
    path = shared / "data/e621/tag_implications-2025-06-30.csv.gz"
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        tags = {
            name for row in csv.DictReader(file) for name in (row["antecedent_name"], row["consequent_name"])
        }
    hits = {name for name in tags if compile_patterns(("*right*",)).match(name)}
    assert not any("bright" in name.split("_") or "copyright" in name for name in hits)
    assert {name for name in tags if "right" in name} - hits  # The anchors do exclude something here.


PROSE = FlipRule(prose_patterns=("text", "on the * side", "left"))


@pytest.mark.parametrize(
    ("text", "may_flip"),
    [
        ("A context.", True),
        ("Some Text.", False),
        ("On the\nleft.", False),
        ("On the far right side of it.", False),
        ("He sits on the mat. One side is red.", True),
        ("Two clefts.", True),
    ],
)
def test_words_in_prose_forbid_mirroring_only_where_asked(text: str, may_flip: bool) -> None:
    record = Record("1", (Tag("solo"),), (Prose(text),))
    assert PROSE.may_flip(record) is may_flip
    assert FlipRule(no_flip=("text", "left")).may_flip(record)  # Patterns for tags do not read prose.


def test_many_stars_on_a_long_sentence_end() -> None:
    """Found by attack: each inner `*` multiplied the places to try, and such a pattern ran for over 100 s."""
    text = "the a " * 1000
    assert compile_patterns(("the*a*the*a*the*zebra",)).in_prose(text) is None
    assert compile_patterns(("the*a*zebra",)).in_prose(text + "zebra") is not None
