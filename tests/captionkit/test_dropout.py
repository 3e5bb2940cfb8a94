"""Dropout: what may leave, how many stay, and how often.

Every frequency is judged by `plausible`, at a false-alarm rate of 1e-6 for each comparison; there are about
60, so that all of them together would fail by chance less than once in 10,000 seeds. The seeds are fixed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import fsum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionkit import Caption, CaptionPipeline, Draws, Policy, Prose, RecipeError, Record, Tag, load_pipeline
from captionkit.curves import Curve
from captionkit.patterns import compile_patterns
from captionkit.policies import EmptyCaption, Maybe, OneOf
from captionkit.policies.dropout import DropAll, DropTags
from captionkit.policies.keep import KeepTags
from captionkit.policies.match_length import MatchLength
from captionkit.policies.tag_dropout import TagDropout
from captionkit.policies.uneven_dropout import DropByPosition, DropByScore
from captionkit.ranges import count_within, share_of
from captionkit.testing import captions, check_policy, pattern_lists
from tests.captionkit.chances import ALARM, plausible

KINDS: list[type[Policy]] = [DropAll, DropByPosition, DropByScore, KeepTags, MatchLength]

# As strong as each can be: whatever may leave leaves, but where the kind itself keeps it.
FULL: list[TagDropout] = [
    DropTags(rate=1.0),
    DropAll(p=1.0),
    DropByScore(sure=2.0, gone=1.5),
    DropByPosition(rate=1.0),
    KeepTags(count=0),
    MatchLength(ratio=0.0, min_tags=0),
]


@st.composite
def scopes(draw: st.DrawFn) -> dict[str, object]:
    """Which tags a dropout may touch."""
    sources = st.none() | st.sampled_from([("human",), ("classifier", "human")])
    return {
        "only": draw(st.none() | pattern_lists().filter(bool)),
        "categories": draw(st.none() | st.sampled_from([("artist",), ("species", "general")])),
        "sources": draw(sources),
        "protected": draw(pattern_lists()),
        "spare_important": draw(st.booleans()),
    }


def may_leave(tag: Tag, caption: Caption, scope: TagDropout) -> bool:
    """The meaning of the fields, said once more in the plainest way."""
    return (
        (scope.only is None or any(compile_patterns((one,)).match(tag.name) for one in scope.only))
        and (scope.categories is None or tag.category in scope.categories)
        and (scope.sources is None or tag.source in scope.sources)
        and not any(compile_patterns((one,)).match(tag.name) for one in scope.protected)
        and not (scope.spare_important and tag.name in caption.important)
    )


def names(caption: Caption) -> list[str]:
    return [tag.name for tag in caption.tags]


def draws(number: int) -> Draws:
    return Draws(0, 0, number, "a").child("here")


# ------------------------------------------------------------------------------------------------- laws


@given(st.sampled_from(FULL), scopes(), captions(), st.integers(0, 99))
def test_only_what_may_leave_leaves(
    policy: TagDropout, scope: dict[str, object], caption: Caption, number: int
) -> None:
    scoped = policy.model_copy(update=scope)
    stay = scoped.apply(caption, draws(number)).tags
    assert [tag for tag in caption.tags if tag in stay] == list(stay)  # In the order that they had.
    left = [tag for tag in caption.tags if tag not in stay]
    assert all(may_leave(tag, caption, scoped) for tag in left)


@given(st.sampled_from(FULL[:2] + FULL[4:5]), scopes(), captions())
def test_all_that_may_leave_leaves(policy: TagDropout, scope: dict[str, object], caption: Caption) -> None:
    scoped = policy.model_copy(update=scope)
    after = scoped.apply(caption, draws(0))
    assert list(after.tags) == [tag for tag in caption.tags if not may_leave(tag, caption, scoped)]


@given(
    st.sampled_from([DropTags(rate=0.5), DropByPosition(rate=0.9), DropByScore()]),
    scopes(),
    captions(),
    st.integers(0, 99),
)
def test_sparing_some_tags_does_not_move_the_coins_of_others(
    policy: TagDropout, scope: dict[str, object], caption: Caption, number: int
) -> None:
    scoped = policy.model_copy(update=scope)
    free = policy.model_copy(update={"spare_important": False}).apply(caption, draws(number)).tags
    expected = [tag for tag in caption.tags if tag in free or not may_leave(tag, caption, scoped)]
    assert list(scoped.apply(caption, draws(number)).tags) == expected


@given(st.integers(0, 12), scopes(), captions(), st.integers(0, 99), st.sampled_from(["random", "first"]))
def test_so_many_stay(
    count: int, scope: dict[str, object], caption: Caption, number: int, which: str
) -> None:
    policy = KeepTags.model_validate({"count": count, "which": which}).model_copy(update=scope)
    loose = [tag for tag in caption.tags if may_leave(tag, caption, policy)]
    after = policy.apply(caption, draws(number))
    stayed = [tag for tag in after.tags if tag in loose]
    assert len(stayed) == min(count, len(loose))
    assert len(after.tags) == len(caption.tags) - len(loose) + len(stayed)
    if which == "first":
        assert stayed == loose[:count]


@given(captions(), st.integers(0, 99), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_a_larger_share_keeps_the_same_tags_and_more(
    caption: Caption, number: int, one: float, other: float
) -> None:
    few = KeepTags(share=min(one, other), spare_important=False).apply(caption, draws(number))
    more = KeepTags(share=max(one, other), spare_important=False).apply(caption, draws(number))
    assert set(few.tags) <= set(more.tags)
    assert len(few.tags) == share_of(len(caption.tags), min(one, other))


@given(st.integers(0, 500), st.floats(0.0, 1.0))
def test_a_share_is_rounded_up(total: int, share: float) -> None:
    number = share_of(total, share)
    assert 0 <= number <= total
    assert number - 1 < share * total < number + 1e-6
    assert number > 0 or share * total == 0.0


@given(st.integers(0, 300), st.integers(1, 300))
def test_a_whole_share_is_not_rounded(part: int, total: int) -> None:
    assert share_of(max(part, total), part / max(part, total)) == part
    assert share_of(100, 0.07) == 7  # 0.07 * 100 is 7.000000000000001.


@given(st.integers(0, 9), st.integers(0, 9), st.floats(0.0, 1.0, exclude_max=True))
def test_a_count_lies_within_its_range(one: int, other: int, place: float) -> None:
    assert min(one, other) <= count_within((min(one, other), max(one, other)), place) <= max(one, other)


@given(captions(), st.integers(0, 99), st.floats(0.0, 0.5))
def test_a_higher_score_keeps_a_tag_at_least_as_often(caption: Caption, number: int, more: float) -> None:
    surer = tuple(tag if tag.score is None else replace(tag, score=tag.score + more) for tag in caption.tags)
    policy = DropByScore(sure=1.0, gone=0.2)
    before = names(policy.apply(caption, draws(number)))
    assert set(before) <= set(names(policy.apply(caption.with_tags(surer), draws(number))))


@given(captions(), st.integers(0, 99))
def test_one_score_for_sure_and_gone_is_a_threshold(caption: Caption, number: int) -> None:
    caption = caption.with_tags((*caption.tags, Tag("on the line", score=0.5)))
    policy = DropByScore(sure=0.5, gone=0.5, spare_important=False)
    stay = [tag for tag in caption.tags if tag.score is None or tag.score >= 0.5]
    assert list(policy.apply(caption, draws(number)).tags) == stay


@given(captions(), st.integers(0, 99), st.floats(0.0, 2.0), st.integers(0, 6))
def test_tags_as_long_as_the_prose(caption: Caption, number: int, ratio: float, least: int) -> None:
    after = MatchLength(ratio=ratio, min_tags=least).apply(caption, draws(number))
    num_important = sum(tag.name in caption.important for tag in caption.tags)
    if not caption.prose:
        assert after is caption
        return
    wanted = {max(least, round(ratio * len(piece.text.split()))) for piece in caption.prose}
    assert len(after.tags) in {min(len(caption.tags), max(one, num_important)) for one in wanted}
    assert after.prose == caption.prose


@pytest.mark.parametrize(
    "scope",
    [{"only": ("fox",)}, {"categories": ("artist",)}, {"sources": ("human",)}, {"protected": ("fox",)}],
    ids=lambda scope: next(iter(scope)),
)
@pytest.mark.parametrize("kind", [DropTags(rate=0.5), DropAll(p=0.5)], ids=lambda policy: policy.kind)
def test_what_spares_some_tags_does_not_claim_that_all_leave(
    kind: TagDropout, scope: dict[str, object]
) -> None:
    assert "all at one" in kind.claims()
    assert "all at one" not in kind.model_copy(update=scope).claims()


# All kinds keep their laws by being listed in test_laws.py; here with the fields that are not set there.
@pytest.mark.parametrize(
    "policy",
    [
        DropAll(p=1.0),
        DropAll(p=0.5),
        DropAll(p=0.5, categories=("artist",), protected=("regex:.*fox",)),
        DropByPosition(rate=0.4, only=("*fox", "solo")),
        DropByScore(),
        DropByScore(sure=0.8, gone=0.3, rate=Curve(points=((0.0, 0.2), (4.0, 1.0))), sources=("classifier",)),
        DropTags(rate=0.7, only=("regex:f.x", "s**"), spare_important=False),
        KeepTags(count=3),
        KeepTags(count=(0, 4), which="first"),
        KeepTags(share=(0.1, Curve(points=((0.0, 0.2), (4.0, 1.0))))),
        MatchLength(),
        MatchLength(ratio=0.5, min_tags=0, protected=("solo",)),
    ],
    ids=lambda policy: str(policy)[:60],
)
def test_laws(policy: Policy) -> None:
    check_policy(policy)


# --------------------------------------------------------------------------------------------- examples

ALPHABET = Caption.of(Record("a", tuple(map(Tag, "abcdefgh"))))


def test_the_warm_up_shows_the_first_tags_first() -> None:
    policy = KeepTags(share=Curve(points=((0.0, 0.25), (6.0, 1.0))), which="first")
    by_epoch = ["".join(names(policy.apply(ALPHABET, Draws(0, epoch, 0, "a")))) for epoch in range(8)]
    assert by_epoch == ["ab", "abc", "abcd", "abcde", "abcdef", "abcdefg", "abcdefgh", "abcdefgh"]


def test_all_tags_of_a_category_leave_together() -> None:
    tags = (Tag("fox"), Tag("by a", "artist"), Tag("tree"), Tag("by b", "artist"))
    after = DropAll(p=1.0, categories=("artist",)).apply(Caption(tags), draws(0))
    assert names(after) == ["fox", "tree"]


def test_an_important_tag_counts_towards_the_length_and_stays() -> None:
    caption = replace(ALPHABET, prose=(Prose("Six words are in this one."),), important=frozenset("gh"))
    policy = MatchLength(ratio=0.5, min_tags=0)
    for number in range(20):
        after = names(policy.apply(caption, draws(number)))
        assert len(after) == 3 and {"g", "h"} <= set(after)  # noqa: PT018
    assert names(MatchLength(ratio=0.0, min_tags=0).apply(caption, draws(0))) == ["g", "h"]
    assert len(MatchLength(ratio=0.0).apply(caption, draws(0)).tags) == 5
    assert len(MatchLength(ratio=0.6, min_tags=0).apply(caption, draws(0)).tags) == 4  # 3.6, rounded.


def test_the_explanation_says_how_many_stay() -> None:
    record = Record("a", ALPHABET.tags)
    trace = CaptionPipeline(steps=(KeepTags(share=0.25),)).explain(record).trace
    assert trace[-1].reason == "2 of 8 stay"


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"kind": "keep_tags"}, "steps[0] (keep_tags): neither is given: give either `count` or `share`"),
        (
            {"kind": "keep_tags", "count": 2, "share": 0.5},
            "steps[0] (keep_tags): both are given: give either `count` or `share`",
        ),
        (
            {"kind": "keep_tags", "share": [0.5, 1.5]},
            "steps[0].share[1] (keep_tags): input should be less than or equal to 1, got 1.5",
        ),
        (
            {"kind": "keep_tags", "share": [0.5, 0.2]},
            "steps[0].share (keep_tags): the range runs backwards: 0.5 is above 0.2",
        ),
        (
            {"kind": "keep_tags", "count": [1, 2, 3]},
            "steps[0].count (keep_tags): a range is [low, high], got [1, 2, 3]",
        ),
        (
            {"kind": "keep_tags", "count": 1.5},
            "steps[0].count (keep_tags): input should be a valid integer, got 1.5",
        ),
        (
            {"kind": "drop_tags", "only": []},
            "steps[0] (drop_tags): `only` is empty, so no tag could ever leave; leave it out to mean any",
        ),
        (
            {"kind": "drop_by_score", "gone": 0.5, "sure": 0.2},
            "steps[0] (drop_by_score): `gone` (0.5) is above `sure` (0.2); it must not be",
        ),
        ({"kind": "drop_all"}, "steps[0].p (drop_all): is missing"),
        (
            {"kind": "match_length", "ratio": [0.5, "x"]},
            "steps[0].ratio[1] (match_length): input should be a valid number, got 'x'",
        ),
    ],
)
def test_error(step: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_pipeline({"steps": [step]}, kinds=KINDS)
    assert str(caught.value) == message


# ------------------------------------------------------------------------------------------ frequencies


def stays(policy: Policy, caption: Caption, num: int) -> Counter[str]:
    """How often each tag stays over so many draws."""
    return Counter(name for number in range(num) for name in names(policy.apply(caption, draws(number))))


def test_the_bounds_are_exact_enough() -> None:
    # All outcomes that are not plausible, added up by hand, are at most what they may be, and not far below.
    from math import comb

    refused = fsum(
        comb(1000, k) * 0.15**k * 0.85 ** (1000 - k)
        for k in range(1001)
        if not plausible(k, 1000, 0.15, alarm=1e-3)
    )
    assert 5e-4 < refused <= 1e-3
    assert plausible(0, 100, 0.0) and not plausible(1, 100, 0.0)  # noqa: PT018
    assert plausible(100, 100, 1.0) and not plausible(99, 100, 1.0)  # noqa: PT018
    assert ALARM == 1e-6


@pytest.mark.statistics
@pytest.mark.parametrize("score", [0.1, 0.3, 0.4, 0.55, 0.7, 0.8, 0.95])
def test_how_often_a_score_stays(score: float) -> None:
    caption = Caption((Tag("sure"), Tag("a", score=score)))
    counts = stays(DropByScore(sure=0.8, gone=0.3, rate=0.9), caption, 4000)
    left = 0.9 * min(1.0, max(0.0, (0.8 - score) / 0.5))
    assert plausible(counts["a"], 4000, 1.0 - left)
    assert counts["sure"] == 4000


@pytest.mark.statistics
@pytest.mark.parametrize("score", [0.0, 0.25, 0.8, 1.0])
def test_by_default_a_tag_stays_as_often_as_its_score_says(score: float) -> None:
    counts = stays(DropByScore(), Caption((Tag("a", score=score),)), 4000)
    assert plausible(counts["a"], 4000, score)


@pytest.mark.statistics
def test_the_further_back_the_more_often() -> None:
    counts = stays(DropByPosition(rate=0.6), ALPHABET, 4000)
    assert all(plausible(counts[name], 4000, 1 - 0.6 * (i + 1) / 8) for i, name in enumerate("abcdefgh"))


@pytest.mark.statistics
def test_a_rate_for_some_tags_alone() -> None:
    tags = (Tag("a", "artist", "human"), Tag("b", "artist", "classifier"), Tag("c", None, "classifier"))
    policy = DropTags(rate=0.3, categories=("artist",), sources=("classifier",))
    counts = stays(policy, Caption(tags), 4000)
    assert counts["a"] == counts["c"] == 4000
    assert plausible(counts["b"], 4000, 0.7)


@pytest.mark.statistics
def test_all_or_nothing() -> None:
    kept = Counter(
        "".join(names(DropAll(p=0.2, protected=("c",)).apply(ALPHABET, draws(number))))
        for number in range(4000)
    )
    assert set(kept) == {"abcdefgh", "c"}
    assert plausible(kept["c"], 4000, 0.2)


@pytest.mark.statistics
def test_every_choice_of_tags_is_as_likely() -> None:
    four = ALPHABET.with_tags(ALPHABET.tags[:4])
    pairs = Counter("".join(names(KeepTags(count=2).apply(four, draws(number)))) for number in range(6000))
    assert set(pairs) == {"ab", "ac", "ad", "bc", "bd", "cd"}
    assert all(plausible(number, 6000, 1 / 6) for number in pairs.values())


@pytest.mark.statistics
@pytest.mark.parametrize(
    ("policy", "numbers"),
    [(KeepTags(count=(2, 5)), range(2, 6)), (KeepTags(share=(0.0, 0.5)), range(1, 5))],
)
def test_every_number_of_a_range_is_as_likely(policy: KeepTags, numbers: range) -> None:
    counts = Counter(len(policy.apply(ALPHABET, draws(number)).tags) for number in range(4000))
    assert set(counts) == set(numbers)
    assert all(plausible(count, 4000, 1 / len(numbers)) for count in counts.values())


@pytest.mark.statistics
def test_the_number_and_the_choice_are_independent() -> None:
    # One number for both would keep certain tags only where few stay.
    policy = KeepTags(count=(1, 7))
    few = [after for number in range(7000) if len(after := names(policy.apply(ALPHABET, draws(number)))) == 1]
    first = Counter(name for (name,) in few)
    assert all(plausible(first[name], len(few), 1 / 8) for name in "abcdefgh")


@pytest.mark.statistics
def test_a_short_prompt_with_a_range() -> None:
    policy = Maybe(p=0.05, then=KeepTags(share=(0.1, 0.5)))
    counts = Counter(len(policy.apply(ALPHABET, draws(number)).tags) for number in range(20_000))
    assert set(counts) == {1, 2, 3, 4, 8}
    assert plausible(counts[8], 20_000, 0.95)
    # Of 8 tags one stays for shares up to 1/8, a sixteenth of the range; each further one has 5/16 of it.
    assert plausible(counts[1], 20_000, 0.05 / 16)
    assert all(plausible(counts[number], 20_000, 0.05 * 5 / 16) for number in (2, 3, 4))


@pytest.mark.statistics
def test_one_exclusive_roll() -> None:
    roll = OneOf(
        choices=(
            EmptyCaption(p=1.0),
            DropAll(p=1.0, protected=("a",)),
            DropTags(rate=0.15, protected=("a",)),
        ),
        weights=(0.1, 0.05, 0.85),
    )
    wide = ALPHABET.with_tags((*ALPHABET.tags, *(Tag(f"tag {number}") for number in range(40))))
    kept = [names(roll.apply(wide, draws(number))) for number in range(20_000)]
    assert plausible(sum(not tags for tags in kept), 20_000, 0.10)
    assert plausible(sum(tags == ["a"] for tags in kept), 20_000, 0.05)
    # The normal captions are dropped from by the plain rate alone: neither event adds to another.
    normal = [len(tags) - 1 for tags in kept if len(tags) > 1]
    assert plausible(sum(normal), 47 * len(normal), 0.85)


@pytest.mark.statistics
def test_of_several_captions_one_is_the_measure() -> None:
    caption = replace(ALPHABET, prose=(Prose("One two."), Prose("One two three four five.")))
    counts = Counter(
        len(MatchLength(ratio=1.0, min_tags=0).apply(caption, draws(number)).tags) for number in range(4000)
    )
    assert set(counts) == {2, 5}
    assert plausible(counts[2], 4000, 0.5)
