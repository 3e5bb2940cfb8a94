"""Wildcards: anchored, word-aware, `_` as a space; and regular expressions."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionkit import (
    CaptionPipeline,
    FlipRule,
    Prose,
    RecipeError,
    Record,
    Tag,
    dump_pipeline,
    load_pipeline,
)
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
        (r"regex:\d+ ?girls?", ["1girl", "2_girls", "12 Girls"], ["girl", "a 1girl", "1girl x"]),
        (r"regex:(by|art by)_.+", ["by someone", "ART_BY_someone"], ["by", "ruby someone"]),
        (r"regex:(a)\1", ["aa"], ["a", "aaa"]),
        ("regex: a|b ", ["a", "B"], ["ab", "a b"]),
        ("regex:a.c", ["abc", "a c"], ["ac"]),
        ("re:zero*", ["re:zero", "Re:Zero_kara"], ["zero"]),  # A tag of e621, and no regular expression.
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


def test_regular_expressions_of_a_list_do_not_disturb_each_other() -> None:
    """In one expression the second `\\1` would stand for what the first group matched."""
    match = compile_patterns((r"regex:(a)\1", r"regex:(b)\1", "c*")).match
    assert [name for name in ("aa", "bb", "c d", "ba", "ab") if match(name)] == ["aa", "bb", "c d"]


@given(st.text("ab_ 1", min_size=1, max_size=6))
def test_a_plain_word_is_its_own_regular_expression(name: str) -> None:
    if fold(name):
        plain, regex = compile_patterns((name,)), compile_patterns((f"regex:{fold(name)}",))
        for other in (name, name.upper(), f"x{name}", f"{name}x"):
            if fold(other):
                assert regex.match(other) == plain.match(other)


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (r"regex:(left|right)", "On the Left, a copyright.", "Left"),
        (r"regex:(left|right)", "A cleft in bright copyright.", None),
        (r"regex:\w+ hand", "His right\thand.", None),
        (r"regex:\w+\s+hand", "His right\thand.", "right\thand"),
        (r"regex:a*", "No such word, a caption says aa.", "a"),
        (r"regex:z*", "Nothing is no match.", None),
    ],
)
def test_a_regular_expression_finds_words_in_prose(pattern: str, text: str, found: str | None) -> None:
    assert compile_patterns((pattern,)).in_prose(text) == found


def test_the_first_words_of_all_patterns_count() -> None:
    patterns = compile_patterns(("right", r"regex:l.ft"))
    assert patterns.in_prose("To the left and to the right.") == "left"
    assert patterns.in_prose("To the right and to the left.") == "right"


def test_a_file_holds_patterns_of_all_sorts(tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("# People.\nsolo\n\n  regex:\\d+ ?girls?  \n*_(artist)\n", "utf-8")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        "[flip]\nno_flip = [{file = 'more.txt'}, {regex = '(ab)+'}, 'regex:x']\nprose_patterns = []\n",
        "utf-8",
    )
    pipeline = load_pipeline(recipe)
    assert pipeline.flip.no_flip == ("solo", r"regex:\d+ ?girls?", "*_(artist)", "regex:(ab)+", "regex:x")
    assert load_pipeline(dump_pipeline(pipeline)) == pipeline


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (["a", "regex:(a"], "pattern 1 is no regular expression: '(a': missing ), unterminated subpattern"),
        (["regex:a)(b"], "pattern 0 is no regular expression: 'a)(b': unbalanced parenthesis at position 1"),
        (["regex: "], "pattern 0 is empty: 'regex: '"),
        ([{"regex": ""}], "pattern 0 is empty: 'regex:'"),
        (["regex:a{99999999999}"], "the repetition number is too large"),
        ([{"regex": "(?s)a"}], "'(?s)a': flags stand in a group, as in (?s:...)"),
        (
            ["a", {"regex": 3}],
            'a pattern is text, {file = "patterns.txt"} or {regex = "..."}, got {\'regex\': 3} at 1',
        ),
        ([{"file": "a.txt", "regex": "a"}], 'a pattern is text, {file = "patterns.txt"} or {regex = "..."}'),
    ],
)
def test_a_pattern_that_is_none(patterns: list[object], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_pipeline({"flip": {"no_flip": patterns}})
    assert str(caught.value).startswith("flip.no_flip: ")
    assert message in str(caught.value)


def test_a_bad_line_of_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("solo\n# So far so good.\nregex:[a\n", "utf-8")
    with pytest.raises(RecipeError, match=r"more\.txt:3: the pattern is no regular expression: '\[a'"):
        load_pipeline({"flip": {"no_flip": [{"file": str(tmp_path / "more.txt")}]}})


def test_a_pattern_in_python_is_checked_too() -> None:
    with pytest.raises(ValueError, match="pattern 0 is no regular expression"):
        CaptionPipeline(flip=FlipRule(no_flip=("regex:(",)))
