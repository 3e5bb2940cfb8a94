"""Correlations: counted exactly in bounded memory, kept as a CSV, and the dropout that goes by them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from captionkit import (
    Caption,
    CaptionkitError,
    DataError,
    Draws,
    ImplicationGraph,
    RecipeError,
    Record,
    Tag,
    dump_pipeline,
    load_pipeline,
    parse_tags,
)
from captionkit.cooccurrence import _Tally, count_correlations
from captionkit.correlations import (
    COLUMNS,
    Companion,
    Correlations,
    CountedCorrelations,
    Counting,
    read_correlations,
)
from captionkit.curves import Curve
from captionkit.policies.correlated import DropCorrelated
from captionkit.record import fold
from captionkit.testing import WORDS, captions, check_policy

HOOD = Correlations({"red_riding_hood": ["red_hood", "basket"], "wolf": ["red riding hood", "grey_fur"]})
in_a_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def correlations() -> st.SearchStrategy[Correlations]:
    words = st.sampled_from(WORDS)
    table = st.dictionaries(words, st.lists(words, max_size=5), max_size=6)
    return table.map(
        lambda table: Correlations(
            {one: [other for other in others if fold(other) != fold(one)] for one, others in table.items()}
        )
    )


@st.composite
def tagged(draw: st.DrawFn) -> list[Record]:
    """Few tags in many records, so that shares near the threshold come up."""
    sets = draw(st.lists(st.sets(st.sampled_from("abcdef"), min_size=1), min_size=1, max_size=60))
    return [
        Record(str(n), tuple(Tag(name, "character" if name in "ab" else "general") for name in sorted(names)))
        for n, names in enumerate(sets)
    ]


# --------------------------------------------------------------------------------------------------- counting


@given(tagged(), st.sampled_from([0.3, 0.5, 0.7, 0.9, 1.0]), st.integers(1, 20))
def test_the_count_is_exact(given: list[Record], threshold: float, support: int) -> None:
    found = count_correlations(given, threshold=threshold, support=support)
    expected = set()
    for trigger in "ab":
        having = [
            {tag.name for tag in record.tags} for record in given if Tag(trigger, "character") in record.tags
        ]
        for tag in "abcdef":
            both = sum(tag in names for names in having)
            if tag != trigger and len(having) >= support and both / len(having) >= threshold:
                expected.add(Companion(trigger, tag, both, len(having)))
    assert set(found.companions) == expected
    assert found.counting.num_records == len(given)


@given(tagged(), st.randoms(use_true_random=False))
def test_the_order_of_the_records_does_not_matter(given: list[Record], mix: random.Random) -> None:
    mixed = mix.sample(given, len(given))
    assert count_correlations(mixed, support=2) == count_correlations(given, support=2)


def test_a_tally_forgets_what_can_no_longer_reach_the_threshold() -> None:
    """Every record brings 40 new tags: at 0.9, only those of the first tenth of the records can count."""
    tally, most = _Tally(total=1000, threshold=0.9), 0
    for record in range(1000):
        tally.add({"always", *(f"{record} {n}" for n in range(40))})
        most = max(most, len(tally._counts))
        assert record < 120 or len(tally._counts) == 1
    assert tally.found() == [("always", 1000)]
    assert most <= 101 * 40 + 1


@pytest.mark.parametrize("missing", range(10))
def test_a_tag_may_be_missing_anywhere(missing: int) -> None:
    """Nine of ten are 0.9, also where the one record without the tag is the first."""
    given = [
        Record(str(n), (Tag("ann", "character"), *((Tag("hat"),) if n != missing else ()))) for n in range(10)
    ]
    found = count_correlations(given, threshold=0.9, support=10)
    assert found.companions == (Companion("ann", "hat", 9, 10),)


def test_what_implications_explain_can_be_left_out_and_patterns_can_choose() -> None:
    given = [Record(str(n), parse_tags("Red_Fox, fox, orange, tree")) for n in range(5)]
    found = count_correlations(
        given,
        categories=(),
        patterns=("red*",),
        support=5,
        implications=ImplicationGraph({"red fox": ["fox"]}),
    )
    assert [(each.trigger, each.tag) for each in found.companions] == [
        ("red fox", "orange"),
        ("red fox", "tree"),
    ]
    assert found.correlations().tags_with("red_fox") == {"orange", "tree"}


def test_records_that_can_be_read_once_only_are_refused() -> None:
    with pytest.raises(DataError, match=r"only once, and are needed twice \(give a list"):
        count_correlations(record for record in [Record("a")])


def test_records_that_change_while_they_are_read_are_found_out() -> None:
    class Shrinking:
        num = 4

        def __iter__(self) -> Iterator[Record]:
            Shrinking.num -= 1
            return iter([Record(str(n), (Tag("ann", "character"),)) for n in range(Shrinking.num)])

    with pytest.raises(DataError, match="changed while they were read: a trigger was in 3, then in 2"):
        count_correlations(Shrinking(), support=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"categories": ()}, "no triggers: give `categories`, `patterns` or both"),
        ({"threshold": 0.0}, "threshold is 0.0, must be above 0 and at most 1"),
        ({"threshold": 90}, "threshold is 90, must be above 0"),
        ({"threshold": float("nan")}, "threshold is nan, must be above 0"),
        ({"support": 0}, "support is 0, must be 1 or more"),
    ],
)
def test_what_cannot_be_counted(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(CaptionkitError, match=message):
        count_correlations([], **settings)


# ------------------------------------------------------------------------------------------------------- file

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).map(fold).filter(bool)


@st.composite
def counted(draw: st.DrawFn) -> CountedCorrelations:
    companions = []
    for trigger in draw(st.lists(NAMES, max_size=3, unique=True)):
        total = draw(st.integers(1, 99))
        tags = [tag for tag in draw(st.lists(NAMES, max_size=3, unique=True)) if tag != trigger]
        companions += [Companion(trigger, tag, draw(st.integers(1, total)), total) for tag in tags]
    counting = Counting(
        threshold=draw(st.floats(0.01, 1.0)),
        support=draw(st.integers(1, 99)),
        categories=tuple(draw(st.lists(NAMES, max_size=2))),
        patterns=tuple(draw(st.lists(NAMES, max_size=2))),
        num_records=draw(st.integers(0, 9)),
    )
    return CountedCorrelations(counting, tuple(companions))


@in_a_folder
@given(counted())
def test_what_is_written_reads_as_it_was(tmp_path: Path, counted: CountedCorrelations) -> None:
    counted.write(tmp_path / "c.csv")
    assert read_correlations(tmp_path / "c.csv") == counted


@in_a_folder
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "c.csv").write_bytes(data)
    with pytest.raises(DataError):
        read_correlations(tmp_path / "c.csv")


SAID = "# threshold = 0.9\n# support = 20\n# num_records = 99\n"
HEAD = SAID + ",".join(COLUMNS) + "\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("trigger,tag,num_both,num_trigger\n", "the lines above the table do not say how it was counted"),
        ("# threshold = 2\n", "the lines above the table do not say how it was counted"),
        (SAID, "the columns must be trigger,tag,num_both,num_trigger; the file has: nothing"),
        (SAID + "a,b\n", "the columns must be trigger,tag,num_both,num_trigger; the file has: a,b"),
        (HEAD + "a,b,1\n", r"c\.csv:5: a row is two names and two counts, got \['a', 'b', '1'\]"),
        (HEAD + "\na,,1,1\n", r"c\.csv:6: a row is two names and two counts, got \['a', '', '1', '1'\]"),
        (HEAD + "a,b,2,1\n", r"c\.csv:5: 2 of 1 records cannot be"),
        (HEAD + 'a,"b', r"c\.csv:5: a row is two names and two counts"),
        (HEAD + 'a,"' + "b" * 200_000, r"c\.csv:5: cannot be read as CSV: field larger than field limit"),
    ],
)
def test_what_is_no_file_of_correlations(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "c.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        read_correlations(tmp_path / "c.csv")


def test_a_recipe_takes_a_file_or_a_table_and_comes_back(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text(HEAD + "Red_Hood,basket,20,20\n")
    for table, dumped in (
        (str(tmp_path / "c.csv"), str(tmp_path / "c.csv")),
        ({"Red_Hood": ["basket"]}, {"red hood": ["basket"]}),
    ):
        pipeline = load_pipeline(
            {"steps": [{"kind": "drop_correlated", "correlations": table}]}, kinds=[DropCorrelated]
        )
        assert pipeline.steps[0].correlations.tags_with("red hood") == {"basket"}  # type: ignore[attr-defined]
        assert dump_pipeline(pipeline)["steps"][0]["correlations"] == dumped


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"correlations": 3}, "must be the path of a CSV or a table of triggers and their tags, got 3"),
        ({"correlations": {"a": "b"}}, "'a' must have a list of tags, got 'b'"),
        ({"correlations": {"a": ["A"]}}, "'a' comes with itself"),
        ({"correlations": {"a": [""]}}, "a tag's name must be text and not empty, got ''"),
        ({"correlations": "no.csv"}, "no.csv: cannot read the correlations: No such file or directory"),
        (
            {"p_tags": 0.7, "p_trigger": 0.4},
            "share one roll and are at most 1 together; these can come to 1.1",
        ),
        ({"p_tags": 1.5}, "p_tags (drop_correlated): input should be less than or equal to 1, got 1.5"),
    ],
)
def test_what_is_no_step(step: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_pipeline({"steps": [{"kind": "drop_correlated", **step}]}, kinds=[DropCorrelated])
    assert message in str(caught.value)


# ----------------------------------------------------------------------------------------------------- policy


@pytest.mark.parametrize(
    "policy",
    [
        DropCorrelated(),
        DropCorrelated(correlations=HOOD, p_tags=0.5, p_trigger=0.5, protected=("basket",)),
        DropCorrelated(correlations=HOOD, p_tags=1.0),
        DropCorrelated(correlations=HOOD, p_tags=Curve(points=((0, 0.5), (3, 0.0))), spare_important=False),
    ],
    ids=str,
)
def test_it_keeps_its_laws(policy: DropCorrelated) -> None:
    check_policy(policy, kinds=[DropCorrelated])


@given(
    captions(), correlations(), st.sampled_from([(0.5, 0.5), (1.0, 0.0), (0.0, 1.0), (0.3, 0.3)]), st.data()
)
def test_nothing_leaves_unless_another_stands_for_it(
    caption: Caption, table: Correlations, p: tuple[float, float], data: st.DataObject
) -> None:
    """Whatever leaves, a trigger with which it comes stays, or, for a trigger, one of its tags."""
    policy = DropCorrelated(
        correlations=table, p_tags=p[0], p_trigger=p[1], protected=("solo",), spare_important=False
    )
    after = policy.apply(caption, Draws(data.draw(st.integers(0, 99)), 0, 0, "r"))
    stay = {fold(tag.name) for tag in after.tags}
    for name in {fold(tag.name) for tag in caption.tags} - stay:
        assert name != "solo"
        beside_trigger = any(name in table.tags_with(trigger) for trigger in stay)
        assert beside_trigger or table.tags_with(name) & stay, name


@given(captions(), correlations(), st.integers(0, 99))
def test_at_zero_nothing_leaves(caption: Caption, table: Correlations, seed: int) -> None:
    policy = DropCorrelated(correlations=table, p_tags=0.0)
    assert policy.apply(caption, Draws(seed, 0, 0, "r")) == caption


def without(tags: str, **settings: Any) -> set[str]:
    """What leaves."""
    caption = Caption(parse_tags(tags), important=frozenset({"red_hood", "red_riding_hood"}))
    after = DropCorrelated(correlations=HOOD, **settings).apply(caption, Draws(0, 0, 0, "r"))
    return {tag.name for tag in caption.tags} - {tag.name for tag in after.tags}


def test_by_hand() -> None:
    both = "Red Riding Hood, red_hood, basket, tree"
    assert without(both, p_tags=1.0) == {"basket"}
    assert without(both, p_tags=1.0, spare_important=False) == {"basket", "red_hood"}
    assert without(both, p_tags=1.0, spare_important=False, protected=("bas**",)) == {"red_hood"}
    assert without(both, p_tags=0.0, p_trigger=1.0) == {"Red Riding Hood"}
    assert without(both, p_tags=0.0, p_trigger=1.0, protected=("red riding hood",)) == set()
    assert without("red_riding_hood, tree", p_tags=0.0, p_trigger=1.0) == set()  # Nothing would stand for it.
    assert without("red_hood, basket", p_tags=1.0) == set()


def test_importance_spares_tags_and_not_triggers() -> None:
    both = "red_riding_hood, red_hood, basket"
    assert without(both, p_tags=1.0) == {"basket"}
    assert without(both, p_tags=1.0, spare_important=False) == {"red_hood", "basket"}
    assert without(both, p_tags=0.0, p_trigger=1.0) == {"red_riding_hood"}


def test_two_triggers_do_not_take_what_stands_for_the_other() -> None:
    # The wolf's trigger leaves and the hood stands for it: so the hood, a trigger as well, may not.
    assert without("wolf, red_riding_hood, basket", p_tags=0.0, p_trigger=1.0) == {"wolf"}
    # The hood's tags leave beside it; then the wolf may not take the hood.
    assert without("red_riding_hood, basket, wolf", p_tags=1.0, spare_important=False) == {"basket"}


def test_a_trigger_that_left_takes_nothing_with_it() -> None:
    assert without("wolf, red_riding_hood, basket", p_tags=1.0, spare_important=False) == {"red_riding_hood"}


def test_a_tag_that_left_stands_for_nobody() -> None:
    policy = DropCorrelated(
        correlations=Correlations({"ann": ["hat"], "bob": ["hat"]}), p_tags=0.5, p_trigger=0.5
    )
    caption = Caption(parse_tags("ann, bob, hat"))
    for draw in range(50):
        left = {tag.name for tag in policy.apply(caption, Draws(0, 0, draw, "r")).tags}
        assert left >= {"ann", "bob"} or "hat" in left


@pytest.mark.statistics
def test_one_roll_decides_for_the_tags_or_the_trigger() -> None:
    table = Correlations({"ann": ["hat"], "bob": ["cap", "tie"]})
    policy = DropCorrelated(correlations=table, p_tags=0.3, p_trigger=0.2)
    caption = Caption(parse_tags("ann, hat, bob, cap, tie"))
    num = 4000
    gone = [
        {tag.name for tag in caption.tags} - {t.name for t in policy.apply(caption, Draws(5, 0, n, "r")).tags}
        for n in range(num)
    ]
    assert all(("cap" in left) == ("tie" in left) and len(left & {"bob", "cap"}) < 2 for left in gone)
    # Seeded, so that it passes or fails for good. With fresh draws, five shares each within 4.5 standard
    # deviations: false alarm 4e-5.
    shares = {"hat": 0.3, "ann": 0.2, "cap": 0.3, "bob": 0.2}
    counts = {name: sum(name in left for left in gone) for name in shares}
    counts["hat and cap"], shares["hat and cap"] = sum({"hat", "cap"} <= left for left in gone), 0.3 * 0.3
    for name, p in shares.items():
        assert abs(counts[name] - p * num) < 4.5 * (num * p * (1 - p)) ** 0.5, name


def test_a_second_trigger_does_not_move_the_first_ones_roll() -> None:
    table = Correlations({"ann": ["hat"], "bob": ["cap"]})
    policy = DropCorrelated(correlations=table, p_tags=0.5)
    for draw in range(50):
        draws = Draws(0, 0, draw, "r")
        alone = policy.apply(Caption(parse_tags("ann, hat")), draws)
        beside = policy.apply(Caption(parse_tags("bob, cap, ann, hat")), draws)
        assert {"ann", "hat"} & {tag.name for tag in beside.tags} == {tag.name for tag in alone.tags}


def test_explaining_says_what_stands_for_it() -> None:
    draws = Draws(0, 0, 0, "r").traced().child("here")
    DropCorrelated(correlations=HOOD, p_tags=1.0).apply(
        Caption(parse_tags("red_hood, basket, Red riding hood")), draws
    )
    assert draws.notes == ["red_hood, basket left out, Red riding hood stays for it"]
