"""Order: nothing is lost, groups stand in order, fixed tags stay, glued tags travel together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionkit import (
    Caption,
    CaptionPipeline,
    Draws,
    Policy,
    Prose,
    RecipeError,
    Record,
    Source,
    Tag,
    load_pipeline,
    parse_tags,
    read_folder,
)
from captionkit.policies import DropTags, EmptyCaption, Sequence, ShuffleTags
from captionkit.policies.important import ImportantFirst, MarkImportant
from captionkit.policies.keep_fixed import KeepFixed
from captionkit.policies.order_by_category import OrderByCategory
from captionkit.policies.rename import RenameTags
from captionkit.policies.split_tags import SplitTags
from captionkit.record import unique_tags
from captionkit.testing import captions, check_policy, pattern_lists

categories = st.sampled_from(["artist", "character", "general", "meta", "species", "..."])


@st.composite
def orders(draw: st.DrawFn) -> tuple[str | tuple[str, ...], ...]:
    """Orders of some categories, some of them in groups, with and without `...`."""
    named = draw(st.lists(categories, min_size=1, unique=True))
    cut = draw(st.integers(0, len(named) - 1))
    return (*named[:cut], tuple(named[cut:])) if draw(st.booleans()) else tuple(named)


def names(caption: Caption) -> list[str]:
    return [tag.name for tag in caption.tags]


def draws(seed: int = 0) -> Draws:
    return Draws(seed, 0, 0, "r")


def texts(*steps: Policy, tags: str, k: int = 4) -> list[str]:
    record = Record("r", parse_tags(tags))
    return [rendered.text for rendered in CaptionPipeline(steps=steps).render_many(record, k)]


# ------------------------------------------------------------------------------------------ order_by_category


@given(captions(), orders(), pattern_lists(), st.booleans(), st.integers(0, 99))
def test_the_same_tags_in_the_order_of_their_groups(
    caption: Caption,
    order: tuple[str | tuple[str, ...], ...],
    special: tuple[str, ...],
    shuffle: bool,
    seed: int,
) -> None:
    first = next(iter(order))
    members = {first if isinstance(first, str) else first[0]: special}
    policy = OrderByCategory(order=order, members=members, shuffle=shuffle)
    after = policy.apply(caption, draws(seed))
    assert sorted(map(repr, after.tags)) == sorted(map(repr, caption.tags))  # Nothing vanishes.
    groups = [group if isinstance(group, tuple) else (group,) for group in order]
    marked = MarkImportant(patterns=special).rewrite(replace(caption, important=frozenset())).important

    def place(tag: Tag) -> int:
        if tag.name in marked:
            return 0
        others = next((index for index, group in enumerate(groups) if "..." in group), len(groups))
        own = [index for index, group in enumerate(groups) if tag.category in group and tag.category != "..."]
        return own[0] if own else others

    places = [place(tag) for tag in after.tags]
    assert places == sorted(places)
    if not shuffle:
        assert list(after.tags) == sorted(caption.tags, key=place)


def test_categories_in_order_and_the_unknown_where_the_dots_are() -> None:
    caption = Caption(
        (
            Tag("highres", "meta"),
            Tag("smile", "general"),
            Tag("by someone", "artist"),
            Tag("fox", "species"),
            Tag("mystery"),
            Tag("solo", "general"),
        )
    )
    policy = OrderByCategory(
        order=("special", "artist", "...", "meta"), members={"special": ("solo",)}, shuffle=False
    )
    assert names(policy.apply(caption, draws())) == [
        "solo",
        "by someone",
        "smile",
        "fox",
        "mystery",
        "highres",
    ]
    # Without dots, and of a category that the order does not name: a 2026 trainer lost these.
    assert names(OrderByCategory(order=("meta",), shuffle=False).apply(caption, draws()))[0] == "highres"


def test_categories_of_one_group_are_shuffled_together_and_apart_from_the_others() -> None:
    tags = tuple(Tag(f"{category} {number}", category) for category in "abc" for number in range(3))
    orders_seen = set()
    for seed in range(60):
        after = names(OrderByCategory(order=("c", ("a", "b"))).apply(Caption(tags), draws(seed)))
        assert {name[0] for name in after[:3]} == {"c"}
        orders_seen.add("".join(name[0] for name in after[3:]))
    # Of the 20 orders of two kinds of three, a seeded run of 60 draws that saw fewer than 10 would be broken.
    assert len(orders_seen) >= 10


def test_one_group_s_length_does_not_move_another_s_draws() -> None:
    policy = OrderByCategory(order=("b", "a"))
    tags = tuple(Tag(f"a {number}", "a") for number in range(6))
    alone = names(policy.apply(Caption(tags), draws()))
    more = names(policy.apply(Caption((*tags, Tag("b 1", "b"), Tag("b 2", "b"), Tag("b 3", "b"))), draws()))
    assert more[3:] == alone


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"order": []}, "an empty list, or a category without a name; name at least one category"),
        ({"order": ["a", []]}, "an empty list, or a category without a name"),
        ({"order": ["a", ""]}, "an empty list, or a category without a name"),
        ({"order": ["a", ["b", "a"]]}, "'a' is there twice; a category has one place"),
        (
            {"order": ["a"], "members": {"special": ["solo"]}},
            "members of 'special', which is not in the order; put it there",
        ),
    ],
)
def test_an_order_that_is_none_is_an_error(step: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=r"steps\[0\]") as raised:
        load_pipeline(
            {"steps": [{"kind": "order_by_category", **step}]},
            kinds=[] if _built_in("order_by_category") else [OrderByCategory],
        )
    assert message in str(raised.value)


def _built_in(kind: str) -> bool:
    from captionkit.policies import BUILT_IN

    return any(policy.model_fields["kind"].default == kind for policy in BUILT_IN)


# -------------------------------------------------------------------------------------------- important_first


@given(captions(), st.lists(pattern_lists().filter(bool), max_size=3), st.integers(0, 99))
def test_ranks_stand_in_order_then_the_important_then_the_rest(
    caption: Caption, ranks: list[tuple[str, ...]], seed: int
) -> None:
    after = ImportantFirst(ranks=tuple(ranks)).apply(caption, draws(seed))
    assert sorted(map(repr, after.tags)) == sorted(map(repr, caption.tags))
    assert after.important == caption.important
    bare = replace(caption, important=frozenset())
    of_rank = [MarkImportant(patterns=rank).rewrite(bare).important for rank in ranks]

    def place(tag: Tag) -> int:
        own = [number for number, ranked in enumerate(of_rank) if tag.name in ranked]
        return own[0] if own else len(ranks) + (tag.name not in caption.important)

    places = [place(tag) for tag in after.tags]
    assert places == sorted(places)


def test_without_ranks_a_step_draws_as_it_did_before_there_were_any() -> None:
    caption = Caption(parse_tags("a, b, c, d, e"), important=frozenset({"b", "d"}))
    with_unmet = ImportantFirst(ranks=(("no such tag",),)).apply(caption, draws())
    assert with_unmet == ImportantFirst().apply(caption, draws())


def test_an_empty_rank_is_an_error() -> None:
    with pytest.raises(ValueError, match="rank 2 has no pattern; give it one, or take it out"):
        ImportantFirst(ranks=(("a",), ()))


# ------------------------------------------------------------------------------------------------- keep_fixed

words = st.sampled_from(["a", "b", "c", "d", "e", "red fox", "f", "g"])
lists = st.lists(words, max_size=5)
LOSE_ALL = DropTags(rate=1.0, spare_important=False)


def _joined(parts: list[list[str]], glued: bool) -> str:
    """Parts with separators between them, in either spelling."""
    return (" ||| " if glued else ", |||, ").join(", ".join(part) for part in parts)


@given(st.lists(lists, min_size=2, max_size=3), st.booleans(), st.booleans(), st.integers(0, 99))
def test_what_stands_outside_the_separators_stays(
    parts: list[list[str]], glued: bool, lose: bool, seed: int
) -> None:
    if not glued:
        parts = parts[:2]  # A second separator of the same spelling cannot be told from the first: see below.
    if len(parts) > 2:  # A name stands once in a record, where it came first.
        parts = [parts[0], [name for name in parts[1] if name not in parts[2]], parts[2]]
    caption = Caption.of(Record("r", parse_tags(_joined(parts, glued))))
    policy = KeepFixed(then=LOSE_ALL if lose else Sequence(steps=(ShuffleTags(), DropTags(rate=0.3))))
    after = names(policy.apply(caption, draws(seed)))
    before = list(dict.fromkeys(parts[0]))
    behind = [name for name in dict.fromkeys(parts[2] if len(parts) > 2 else []) if name not in before]
    between = set(parts[1]) - {*before, *behind}
    assert after[: len(before)] == before
    assert after[len(after) - len(behind) :] == behind
    assert set(after[len(before) : len(after) - len(behind)]) <= (set() if lose else between)
    assert not any("|" in name for name in after)


@pytest.mark.parametrize(
    ("tags", "text"),
    [
        ("1girl, solo ||| red fox, tree", "1girl, solo, +red fox, +tree"),
        ("1girl, solo, |||, red fox, tree", "1girl, solo, +red fox, +tree"),
        ("1girl, solo ||| red fox ||| best, great", "1girl, solo, +red fox, best, great"),
        ("1girl ||| ||| best", "1girl, best"),
        ("1girl|||tree|||best", "1girl, +tree, best"),
        ("|||, a, b", "+a, +b"),
        ("a, b |||", "a, b"),
        ("a ||| b ||| c ||| d", "a, +b, c, d"),
        ("a, b ||| c, a", "a, b, +c"),
        ("a ||| b, c ||| c", "a, +b, c"),
        ("a, b, c", "+a, +b, +c"),
    ],
)
def test_separators_in_the_usual_spellings(tags: str, text: str) -> None:
    mark_all = RenameTags(aliases={name: f"+{name}" for name in ("a", "b", "c", "d", "tree", "red fox")})
    assert texts(KeepFixed(then=mark_all), tags=tags, k=1) == [text]


@pytest.mark.parametrize(
    "text", ["a, b ||| c, d ||| e", "a, b, |||, c, d, |||, e", "a, b|||c, d|||e", "a, b, |||, c, d ||| e"]
)
def test_both_separators_of_a_text_file_are_met_however_they_are_written(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.png").write_bytes(b"")
    (tmp_path / "x.txt").write_text(text)
    (record,) = read_folder(tmp_path)
    assert names(Caption.of(record)) == ["a", "b", "|||", "c", "d", "||| |||", "e"]
    assert CaptionPipeline(steps=(KeepFixed(then=LOSE_ALL),)).render(record).text == "a, b, e"


def test_without_a_separator_the_first_are_fixed() -> None:
    first = KeepFixed(first=2, then=LOSE_ALL)
    assert texts(first, tags="a, b, c, d", k=1) == ["a, b"]
    assert texts(first, tags="a ||| b, c, d", k=1) == ["a"]
    assert texts(KeepFixed(first=1, separator="", then=LOSE_ALL), tags="a, b ||| c", k=1) == ["a"]
    assert texts(KeepFixed(separator="###", then=LOSE_ALL), tags="a ### b", k=1) == ["a"]


def test_the_rest_of_the_caption_stays_and_what_is_important_stays_known() -> None:
    caption = Caption(
        parse_tags("a ||| b, c"),
        (Prose("A fox."),),
        Source.BOTH_CAPTION_FIRST,
        frozenset({"c"}),
        (("rating", "s"),),
        "before",
        "after",
    )
    after = KeepFixed(then=Sequence(steps=(MarkImportant(patterns=("b",)), EmptyCaption(p=1.0)))).apply(
        caption, draws()
    )
    assert after == replace(caption, tags=parse_tags("a"))
    marked = KeepFixed(then=MarkImportant(patterns=("b",))).apply(caption, draws())
    assert marked.important == {"b", "c"}


def test_a_loose_tag_that_gets_a_fixed_tag_s_name_is_that_tag() -> None:
    rename = KeepFixed(then=RenameTags(aliases={"c": "a", "d": "e"}))
    assert texts(rename, tags="a ||| b, c, d ||| e", k=1) == ["a, b, e"]


def test_explain_says_how_many_are_fixed() -> None:
    pipeline = CaptionPipeline(steps=(KeepFixed(then=ShuffleTags()),))
    steps = pipeline.explain(Record("r", parse_tags("a, b ||| c, d"))).trace
    reasons = {step.address: step.reason for step in steps}
    assert reasons["keep_fixed#0"] == "2 tags fixed before, 0 behind"
    assert "keep_fixed#0/then" in reasons


# ------------------------------------------------------------------------------------------------- split_tags


@given(st.lists(st.lists(words, min_size=1, max_size=3), max_size=5))
def test_glued_tags_become_their_parts_in_their_place(groups: list[list[str]]) -> None:
    caption = Caption(unique_tags(tuple(Tag(";;;".join(group), "general") for group in groups)))
    after = SplitTags().rewrite(caption)
    assert names(after) == list(dict.fromkeys(name for group in groups for name in group))
    assert {tag.category for tag in after.tags} <= {"general"}


@given(st.integers(0, 99))
def test_glued_tags_travel_together(seed: int) -> None:
    caption = Caption(parse_tags("a;;;b;;;c, d, e, f;;;g"))
    steps = Sequence(steps=(ShuffleTags(), DropTags(rate=0.5), SplitTags()))
    text = "".join(names(steps.apply(caption, draws(seed))))
    assert ("abc" in text) is any(letter in text for letter in "abc")
    assert ("fg" in text) is any(letter in text for letter in "fg")


def test_the_parts_of_an_important_tag_are_important_and_empty_parts_are_none() -> None:
    caption = Caption(parse_tags("x, a;;; ;;;b, ;;;"), important=frozenset({"a;;; ;;;b"}))
    after = SplitTags().rewrite(caption)
    assert names(after) == ["x", "a", "b"]
    assert {"a", "b"} <= after.important


# --------------------------------------------------------------------------------------------------- all laws

POLICIES: list[Policy] = [
    ImportantFirst(ranks=(("solo", "*fox*"), ("mammal",))),
    ImportantFirst(patterns=("solo",), ranks=(("fox",),), shuffle=False),
    KeepFixed(first=2, then=DropTags(rate=1.0)),
    KeepFixed(first=1, separator="", then=Sequence(steps=(ShuffleTags(), DropTags()))),
    OrderByCategory(order=("species", "...", "artist"), members={"species": ("solo",)}),
    OrderByCategory(order=(("artist", "general"), "species"), shuffle=False),
    SplitTags(separator="o"),
]


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: str(policy)[:60])
def test_policy_keeps_its_laws(policy: Policy) -> None:
    check_policy(policy)
