"""What mutation testing found that no test noticed (scripts/mutate.py): one test for each."""

from __future__ import annotations

from math import sqrt
from pathlib import Path

import pytest

from captionkit import (
    Caption,
    Draws,
    ImplicationsError,
    Policy,
    Prose,
    RecipeError,
    Tag,
    load_pipeline,
)
from captionkit.implications import ImplicationSource, read_implications
from captionkit.implications.exports import export_rows
from captionkit.implications.tag_table import CATEGORIES, read_tag_table
from captionkit.patterns import compile_patterns
from captionkit.policies import (
    DropTags,
    ImportantFirst,
    MatchLength,
    OrderByCategory,
    RenameTags,
    Schedule,
    ShuffleTags,
)
from captionkit.policies.schedule import Phase
from captionkit.schema import recipe_schema
from captionkit.steps import take_step
from tests.captionkit.test_laws import ALL_POLICIES

PAIRS = "antecedent_name,consequent_name,status\nred_fox,fox,active\n"


def test_a_space_beside_two_stars_is_a_space() -> None:
    match = compile_patterns(("a** b", "c **d")).match
    assert [match(name) for name in ("ax b", "axb", "c xd", "cxd")] == [True, False, True, False]


@pytest.mark.parametrize("pattern", [3, True, ["solo"]])
def test_a_pattern_that_is_no_text_is_named(pattern: object) -> None:
    with pytest.raises(RecipeError) as raised:
        load_pipeline({"steps": [{"kind": "drop_tags", "protected": [pattern]}]})
    assert str(raised.value).startswith("steps[0].protected[0] (drop_tags): input should be ")
    assert str(raised.value).endswith(f", got {pattern!r}")


def test_an_empty_table_has_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\n", encoding="utf-8")
    with pytest.raises(ImplicationsError, match="is missing; the file has: nothing"):
        list(export_rows(path, ("a", "b")))


@pytest.mark.parametrize("number", ["true", "1.5", "x"])
def test_counts_and_categories_are_whole_numbers(tmp_path: Path, number: str) -> None:
    path = tmp_path / "tags.json"
    path.write_text(f'[{{"name": "fox", "category": 5, "post_count": {number.replace("x", "{}")}}}]')
    with pytest.raises(ImplicationsError, match=r"a tag has a name and two whole numbers .* got 'fox', 5, "):
        read_tag_table(path, {"fox"})


def test_the_category_numbers_of_both_sites() -> None:
    """As the sites' own lists have them: e621 0-8, Danbooru without 2."""
    names = [
        "general",
        "artist",
        "contributor",
        "copyright",
        "character",
        "species",
        "invalid",
        "meta",
        "lore",
    ]
    assert CATEGORIES["e621"] == dict(enumerate(names))
    assert CATEGORIES["danbooru"] == {0: "general", 1: "artist", 3: "copyright", 4: "character", 5: "meta"}


def test_a_source_that_changes_nothing_is_its_file(tmp_path: Path) -> None:
    path = tmp_path / "i.csv"
    path.write_text(PAIRS, encoding="utf-8")
    assert ImplicationSource(file=path).is_plain() is True
    assert ImplicationSource(file=path, remove={"red fox": ("fox",)}).is_plain() is False
    assert read_implications(ImplicationSource(file=path)).origin == path


def test_the_schema_knows_what_implications_and_curves_may_be() -> None:
    text = str(recipe_schema())
    assert "path of a CSV with e621's columns or of JSON lines" in text
    points = recipe_schema()["$defs"]["Curve"]["properties"]["points"]
    assert points["minItems"] == 1


# What the policies promise, each in its first configuration of test_laws.py: a claim that is given up is a
# change for users, and no law notices it.
PROMISES = {
    "add_tags": "idempotent, off at zero, spares important",
    "by_category": "spares important, subset",
    "capitals": "off at zero",
    "choose_source": "subset",
    "clean_captions": "idempotent, spares important",
    "cut_prose": "off at zero, spares important",
    "drop_all": "all at one, off at zero, spares important, subset",
    "drop_by_position": "off at zero, spares important, subset",
    "drop_by_score": "off at zero, spares important, subset",
    "drop_correlated": "subset",
    "drop_implied": "off at zero, spares important, subset",
    "drop_tags": "all at one, off at zero, spares important, subset",
    "empty_caption": "all at one, off at zero, subset",
    "important_first": "permutation, spares important, subset",
    "keep_fixed": "",
    "keep_tags": "spares important, subset",
    "mark_important": "idempotent, permutation, spares important, subset",
    "match_length": "spares important, subset",
    "maybe": "spares important, subset",
    "one_of": "subset",
    "order_by_category": "permutation, spares important, subset",
    "prefix_tags": "off at zero",
    "rename_tags": "idempotent",
    "schedule": "spares important, subset",
    "sequence": "permutation, spares important, subset",
    "shuffle_tags": "permutation, spares important, subset",
    "spell_tags": "",
    "split_tags": "idempotent",
    "tag_from_fact": "idempotent, off at zero, spares important",
    "tag_from_number": "idempotent, off at zero, spares important",
    "tag_from_year": "idempotent, off at zero, spares important",
    "template": "off at zero, spares important",
    "vary_names": "off at zero",
    "when": "spares important, subset",
    "wildcards": "",
}


def test_promises_are_not_given_up() -> None:
    first = {policy.kind: policy for policy in reversed(ALL_POLICIES)}
    assert {kind: ", ".join(sorted(policy.claims())) for kind, policy in sorted(first.items())} == PROMISES


@pytest.mark.parametrize(
    "policy",
    [
        OrderByCategory(order=("species",)),
        ImportantFirst(),
        ShuffleTags(),
        ShuffleTags(keep_first=1),
    ],
    ids=lambda policy: policy.kind,
)
def test_two_tags_change_places_half_of_the_time(policy: Policy) -> None:
    """Within 4.5 standard deviations over 1,000 draws: 7 in a million such tests would fail by chance."""
    fixed = 1 if policy == ShuffleTags(keep_first=1) else 0
    caption = Caption((Tag("z", "meta"),) * fixed + (Tag("a", "species"), Tag("b", "species")))
    after = [policy.apply(caption, Draws(0, 0, draw, "r")).tags[fixed].name for draw in range(1000)]
    assert abs(after.count("b") - 500) < 4.5 * sqrt(250)


def test_each_phase_of_a_schedule_draws_at_its_own_address() -> None:
    phases = (
        Phase(start=0, then=ShuffleTags()),
        Phase(start=2, then=DropTags(rate=0.5)),
        Phase(start=4, then=ShuffleTags(name="late")),
    )
    caption = Caption(tuple(Tag(f"t{number}") for number in range(20)))
    for epoch, address in ((0, "shuffle_tags#0"), (3, "drop_tags#0"), (9, "late")):
        draws = Draws(0, epoch, 0, "r")
        alone = phases[min(epoch // 2, 2)].then.apply(caption, draws.child(address))
        assert Schedule(phases=phases).apply(caption, draws) == alone
        traced = draws.traced().child("here")
        Schedule(phases=phases).apply(caption, traced)
        assert traced.notes == [f"epoch {epoch}: phase {min(epoch // 2, 2) + 1} of 3"]
    plain = Draws(0, 0, 0, "r")
    Schedule(phases=phases).apply(caption, plain)
    assert not plain.notes
    with pytest.raises(RecipeError, match="two steps are named 'late'"):
        Schedule(phases=(phases[2], Phase(start=9, then=DropTags(name="late"))))


def test_renamed_tags_have_their_new_names() -> None:
    """Only the documentation noticed when nothing was renamed."""
    policy = RenameTags(aliases={"Red Fox": "vulpes", "vulpes": "fox"})
    tags = (Tag("tree"), Tag("red_fox", "species", "human", 0.5), Tag("fox"))
    after = policy.rewrite(Caption(tags, important=frozenset({"red_fox", "tree"})))
    assert after.tags == (Tag("tree"), Tag("fox", "species", "human", 0.5))
    assert after.important == {"fox", "tree"}
    untouched = Caption((Tag("tree"),))
    assert policy.rewrite(untouched) is untouched


def test_as_many_tags_stay_as_go_with_the_words() -> None:
    """Exempt tags are counted, so that ten important ones leave room for two more."""
    tags = tuple(Tag(f"t{number}") for number in range(20))
    caption = Caption(tags, (Prose("word " * 24),), important=frozenset(tag.name for tag in tags[:10]))
    policy, draws = MatchLength(ratio=(0.5, 0.5), min_tags=1), Draws(0, 0, 0, "r")
    assert len(policy.apply(caption, draws).tags) == 12
    assert MatchLength(ratio=(1.0, 1.0)).apply(caption, draws) is caption
    traced = draws.traced()
    take_step(policy, "here", caption, traced)
    assert traced.trace is not None
    assert traced.trace[0].reason == "12 tags go with 24 words"
    assert MatchLength().ratio == (0.3, 0.6)
