"""The laws of captionkit.testing over every built-in policy, and over whole pipelines."""

from __future__ import annotations

import json
import os
import pickle
import random
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count, pairwise
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from captionkit import (
    Caption,
    CaptionPipeline,
    Claim,
    Curve,
    Draws,
    ImplicationGraph,
    Policy,
    Prose,
    Record,
    Source,
    Tag,
    dump_pipeline,
    dump_toml,
    load_pipeline,
    preset,
)
from captionkit.conditions import Between
from captionkit.correlations import Correlations
from captionkit.policies import (
    BUILT_IN,
    AddTags,
    ByCategory,
    Capitals,
    ChooseSource,
    CleanCaptions,
    CutProse,
    DropAll,
    DropByPosition,
    DropByScore,
    DropCorrelated,
    DropImplied,
    DropTags,
    EmptyCaption,
    ImportantFirst,
    KeepFixed,
    KeepTags,
    MarkImportant,
    MatchLength,
    Maybe,
    OneOf,
    OrderByCategory,
    PrefixTags,
    RenameTags,
    Schedule,
    Sequence,
    ShuffleTags,
    SpellTags,
    SplitTags,
    TagFromFact,
    TagFromNumber,
    TagFromYear,
    Template,
    VaryNames,
    When,
    Wildcards,
)
from captionkit.policies.fact_tags import Level
from captionkit.policies.schedule import Phase
from captionkit.testing import (
    captions,
    check_closures,
    check_laws,
    check_policy,
    check_processes,
    check_records,
    check_repeats,
    combinators,
    implication_graphs,
    leaves,
    pipelines,
    policies,
    records,
    sample_records,
)

TOGETHER = Correlations({"red_fox": ["fox", "solo"], "fox": ["canine"]})
FOXES = ImplicationGraph({"red_fox": ["fox"], "fox": ["canine"], "canine": ["mammal"]})
WARM_UP = Curve(points=((0, 1.0), (4, 0.15)))
BY_SAMPLES = Curve(points=((0, 0.0), (500_000, 1.0)), over="samples", shape="steps")
LEVELS = (Level(at_least=100, tag="masterpiece"), Level(at_least=0.5, tag="good quality"), Level(tag="bad"))

# One line and more of each kind: a new policy is tested by standing here.
ALL_POLICIES: list[Policy] = [
    AddTags(tags=("sks", "Red Fox")),
    AddTags(tags=("sks", "fox", "tree"), p=0.5, count=1, where="random", important=False, to_empty=True),
    ByCategory(policies={"species": DropTags(rate=0.5), "artist": ShuffleTags()}),
    ByCategory(policies={"artist": EmptyCaption(p=1.0)}, otherwise=ShuffleTags(keep_first=1)),
    Capitals(p=0.5),
    Capitals(p=1.0, styles=("title",), prose=True),
    ChooseSource(),
    ChooseSource(tags=0.0, caption=1.0, both=0.0),
    ChooseSource(tags=WARM_UP, both=BY_SAMPLES, tags_first=WARM_UP),
    CleanCaptions(),
    CleanCaptions(sources=("cogvlm",), hedges=False),
    CutProse(share=(0.0, 1.0)),
    CutProse(count=(1, 1), p=0.5, sources=("cogvlm",)),
    DropAll(p=0.5),
    DropAll(p=1.0, only=("*fox*",), categories=("species",), spare_important=False),
    DropByPosition(rate=1.0),
    DropByScore(),
    DropByScore(sure=0.5, gone=0.5, rate=0.5, sources=("classifier",)),
    DropCorrelated(correlations=TOGETHER, p_tags=0.5, p_trigger=0.25),
    DropImplied(implications=FOXES),
    DropImplied(implications=FOXES, rate_range="by depth"),
    DropImplied(implications=FOXES, rate_range=(1.0, 1.0), spare_important=False, protected=("mammal",)),
    DropTags(),
    DropTags(rate=1.0, protected=("fox", "*right*")),
    DropTags(rate=0.75, spare_important=False),
    DropTags(rate=WARM_UP),
    EmptyCaption(p=0.5),
    EmptyCaption(p=BY_SAMPLES),
    ImportantFirst(),
    ImportantFirst(patterns=("solo",), shuffle=False),
    ImportantFirst(ranks=(("solo",), ("*fox*",))),
    KeepFixed(first=2, then=ShuffleTags()),
    KeepFixed(separator="", first=1, then=DropTags(rate=1.0)),
    KeepTags(count=(3, 3)),
    KeepTags(share=(0.0, 0.5), which="first", protected=("fox",)),
    MarkImportant(patterns=("solo", "*(artist)"), categories=("species",)),
    MatchLength(),
    MatchLength(ratio=(0.1, 0.1), min_tags=0),
    Maybe(p=0.5, then=DropTags(rate=0.75), otherwise=DropTags()),
    Maybe(p=WARM_UP, then=ShuffleTags()),
    OneOf(choices=(DropTags(), ShuffleTags(), EmptyCaption()), weights=(1.0, 0.0, 3.0)),
    OneOf(choices=(DropTags(), ShuffleTags()), weights=(BY_SAMPLES, 1.0)),
    OrderByCategory(
        order=("special", ("artist", "character"), "...", "meta"), members={"special": ("solo",)}
    ),
    OrderByCategory(order=("species",), shuffle=False),
    PrefixTags(prefixes={"artist": "by ", "species": "species:"}),
    RenameTags(aliases={"Red Fox": "vulpes", "Blue_Eyes": "blue eyes"}),
    Schedule(phases=(Phase(start=2, then=ShuffleTags()), Phase(start=5, then=DropTags(rate=0.75)))),
    Schedule(phases=(Phase(start=300_000, then=ShuffleTags()),), over="samples"),
    Sequence(),
    Sequence(steps=(ShuffleTags(), DropTags(), DropTags(name="again"))),
    ShuffleTags(),
    ShuffleTags(keep_first=2),
    SpellTags(),
    SplitTags(),
    SplitTags(separator="|||"),
    TagFromFact(fact="rating", tags={"s": ("safe",), "e": ("explicit", "nsfw")}),
    TagFromFact(fact="mirrored", tags={"true": ("fox",)}, p=0.5, where="first", category="meta"),
    TagFromNumber(fact="score", levels=LEVELS),
    TagFromNumber(fact="fav_count", levels=LEVELS, by="rating", groups={"e": LEVELS[:1]}),
    TagFromYear(levels=(Level(at_least=2020, tag="newest"),)),
    Template(templates=("a photo of {}",)),
    Template(templates=("{{x}} {}", "{}, best quality"), weights=(1.0, WARM_UP), p=0.5),
    VaryNames(names={"red fox": ("vulpes", "Fox"), "solo": ("alone",)}, rate=0.5),
    When(tags=("solo",), then=ShuffleTags(), otherwise=DropTags()),
    When(sources=(Source.CAPTION,), then=EmptyCaption(p=1.0)),
    When(facts={"rating": ("s", "q"), "score": Between(min=10)}, then=DropTags(rate=1.0)),
    Wildcards(),
]


@pytest.mark.parametrize("policy", ALL_POLICIES, ids=lambda policy: str(policy)[:60])
def test_policy_keeps_its_laws(policy: Policy) -> None:
    check_policy(policy)


def test_every_built_in_kind_is_among_them() -> None:
    assert {type(policy) for policy in ALL_POLICIES} == set(BUILT_IN)
    assert {*leaves(), *combinators(st.just(Sequence()))} == set(BUILT_IN), (
        "list it in captionkit/testing/strategies.py"
    )


@pytest.mark.parametrize("policy", [policy for policy in ALL_POLICIES if policy.claims()], ids=str)
def test_what_is_claimed_holds_on_the_samples(policy: Policy) -> None:
    """Beside what hypothesis draws: long captions that hold every word, fact and category."""
    for record in sample_records(12):
        check_laws(policy, Caption.of(record), Draws(1, 3, 0, record.id, 7))


def test_one_process_and_four_write_the_same_with_every_policy() -> None:
    everything = CaptionPipeline(seed=1, steps=(OneOf(choices=tuple(ALL_POLICIES)), ShuffleTags(name="last")))
    samples = sample_records()
    chosen = {
        everything.explain(record, epoch=draw, draw=draw, samples=draw).trace[1].reason
        for record in samples
        for draw in range(6)
    }
    assert len(chosen) > 0.9 * len(ALL_POLICIES)
    check_processes(everything, samples, draws=6)


@given(policies(), captions(), st.integers())
def test_any_policy_keeps_its_laws(policy: Policy, caption: Caption, seed: int) -> None:
    check_laws(policy, caption, Draws(seed, 0, 0, "r", 0))


@given(pipelines())
def test_pipeline_round_trips(pipeline: CaptionPipeline) -> None:
    data = json.loads(json.dumps(dump_pipeline(pipeline)))
    assert load_pipeline(data) == pipeline
    assert load_pipeline(tomllib.loads(dump_toml(pipeline))) == pipeline
    assert pickle.loads(pickle.dumps(pipeline)) == pipeline


@given(pipelines(), records(), st.integers(0, 3), st.integers(0, 3))
def test_rendering_is_a_function_of_its_address(
    pipeline: CaptionPipeline, record: Record, epoch: int, draw: int
) -> None:
    first = pipeline.render(record, epoch=epoch, draw=draw)
    copy = pickle.loads(pickle.dumps(pipeline))
    copy.render(record, epoch=epoch + 1)  # What was rendered before must not matter.
    assert copy.render(record, epoch=epoch, draw=draw) == first
    assert pipeline.render_many(record, draw + 1, epoch=epoch)[draw] == first


@given(pipelines(), records())
def test_explaining_tells_what_rendering_does(pipeline: CaptionPipeline, record: Record) -> None:
    rendered, explained = pipeline.render(record, epoch=2), pipeline.explain(record, epoch=2)
    assert (explained.text, explained.flip, explained.source) == (
        rendered.text,
        rendered.flip,
        rendered.source,
    )
    steps = explained.trace
    assert all(step.reason for step in steps)
    # The steps join on: each begins where the one before ended, from the whole record to the end.
    assert steps[0].before == Caption.of(record)
    # The members of these two see a part of the caption alone.
    if "'by_category'" not in repr(pipeline) and "'keep_fixed'" not in repr(pipeline):
        assert all(one.after == other.before for one, other in pairwise(steps))


@given(pipelines(), records())
def test_text_is_one_clean_line(pipeline: CaptionPipeline, record: Record) -> None:
    text = pipeline.render(record).text
    assert "<|" not in text or "|>" not in text or "endoftext" not in text
    assert text == text.strip()


@given(pipelines(), records())
def test_flip_only_where_the_record_allows_it(pipeline: CaptionPipeline, record: Record) -> None:
    rendered = pipeline.render(record)
    assert rendered.may_flip == pipeline.may_flip(record)
    assert rendered.may_flip or not rendered.flip


@given(captions(), st.integers(0, 99))
def test_implied_tag_never_leaves_with_its_last_witness(caption: Caption, seed: int) -> None:
    after = DropImplied(implications=FOXES, rate_range=(1.0, 1.0)).apply(caption, Draws(seed, 0, 0, "r"))
    kept = {tag.name for tag in after.tags}
    for tag in caption.tags:
        if tag.name not in kept:
            assert any(tag.name in FOXES.implied_by(name) for name in kept), tag.name


@given(captions(), st.integers(0, 99))
def test_rate_one_leaves_the_protected_and_the_important(caption: Caption, seed: int) -> None:
    after = DropTags(rate=1.0, protected=("fox",)).apply(caption, Draws(seed, 0, 0, "r"))
    assert [t for t in caption.tags if t.name == "fox" or t.name in caption.important] == list(after.tags)


@given(implication_graphs(), st.sampled_from(["red fox", "fox", "solo"]), captions(), st.integers(0, 99))
def test_closures_are_monotone(graph: ImplicationGraph, name: str, caption: Caption, seed: int) -> None:
    """One more implication: nothing is implied less, and with the same draws nothing that left stays."""
    more = ImplicationGraph({**graph.edges(), name: [*graph.edges().get(name, []), "living thing"]})
    reached = {tag: graph.implied_by(tag) for tag in (*graph.edges(), name)}
    assert all(reached[tag] <= more.implied_by(tag) for tag in reached)
    assert more.implied_by(name) == graph.implied_by(name) | {"living thing"}
    check_closures(DropImplied(implications=more))


# -------------------------------------------------------------------------- policies that break a law

_TIMES: Iterator[int] = count()
FOX = Caption((Tag("fox"), Tag("tree")), (Prose("A fox."),), important=frozenset({"fox"}))


class _Greedy(Policy):
    """Breaks every law it claims."""

    kind: Literal["greedy"] = "greedy"
    rate: float = 0.5
    claimed: Claim = "subset"

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        return caption.with_tags((Tag(f"tag {draws.random()}"),))

    def claims(self) -> frozenset[Claim]:
        return frozenset({self.claimed})


class _Aimless(Policy):
    """Claims what it has no field for."""

    kind: Literal["aimless"] = "aimless"
    claimed: Claim

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        return caption

    def claims(self) -> frozenset[Claim]:
        return frozenset({self.claimed})


class _Mute(_Greedy):
    """Does not write down what it is set to."""

    kind: Literal["mute"] = "mute"  # type: ignore[assignment]
    rate: float = Field(default_factory=lambda: next(_TIMES), exclude=True)


class _Salted(Policy):
    """Puts the tags in an order that another process does not share."""

    kind: Literal["salted"] = "salted"

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        return caption.with_tags(tuple(sorted(caption.tags, key=lambda tag: hash(tag.name))))


class _Does(Policy):
    """Does to the caption what a test wants."""

    kind: Literal["does"] = "does"
    what: Any = None

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        result: Caption = self.what(caption, draws)
        return result


def _scribble(caption: Caption, draws: Draws) -> Caption:
    object.__setattr__(caption, "important", frozenset())
    return caption


def _forget(caption: Caption, draws: Draws) -> Caption:
    return caption.with_prose((Prose(f"time {next(_TIMES)}"),))


def _chat(caption: Caption, draws: Draws) -> Caption:
    return caption if draws.trace is None else caption.emptied()


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (lambda caption, draws: None, "must be a Caption"),
        (lambda caption, draws: replace(caption, tags=list(caption.tags)), "the tags must be a tuple"),
        (lambda caption, draws: replace(caption, prose=list(caption.prose)), "the captions must be a tuple"),
        (lambda caption, draws: caption.with_tags((Tag("a", "b"), Tag("a"))), "name is there twice"),
        (lambda caption, draws: caption.with_prose((Prose(" "),)), "a caption without text was left"),
        (lambda caption, draws: Caption(caption.tags, caption.prose), "was lost or changed"),
        (lambda caption, draws: replace(caption, before="a " * 99), "a budget of 24 tokens left"),
        (_scribble, "the input caption was changed"),
        (_forget, "the same address gave another caption"),
        (_chat, "explained, it does something else"),
    ],
)
def test_a_law_that_is_broken_is_named(what: Callable[[Caption, Draws], Caption], message: str) -> None:
    known = replace(FOX, info=(("rating", "s"),))
    with pytest.raises(AssertionError, match=message):
        check_laws(_Does(what=what), known, Draws(0, 0, 0, "r", 0))


@pytest.mark.parametrize(
    "claim", ["subset", "permutation", "idempotent", "spares important", "off at zero", "all at one"]
)
def test_check_policy_finds_a_broken_claim(claim: Claim) -> None:
    check_laws(_Aimless(claimed="subset"), FOX, Draws(0, 0, 0, "r", 0))
    with pytest.raises(AssertionError):
        check_laws(_Greedy(claimed=claim), FOX, Draws(0, 0, 0, "r", 0))


@pytest.mark.parametrize("claim", ["off at zero", "all at one"])
def test_a_claim_about_a_field_needs_the_field(claim: Claim) -> None:
    with pytest.raises(AssertionError, match=f"claims `{claim}` without a field p, rate or rate_range"):
        check_laws(_Aimless(claimed=claim), FOX, Draws(0, 0, 0, "r", 0))


@pytest.mark.parametrize(
    ("part", "only"),
    [
        ("seeds", lambda key: key.split(b"|")[1]),
        ("repeats", lambda key: key.split(b"|")[3]),
        ("records", lambda key: key.split(b"|")[5]),
    ],
)
def test_draws_that_leave_out_a_part_of_the_address_are_found(
    part: str, only: Callable[[bytes], bytes]
) -> None:
    """Each of these looks at one part of the address alone, so that another part changes nothing."""

    def shuffle(caption: Caption, draws: Draws) -> Caption:
        tags = list(caption.tags)
        random.Random(only(draws._key)).shuffle(tags)
        return caption.with_tags(tuple(tags))

    with pytest.raises(AssertionError, match="and always the same caption"):
        check_repeats(_Does(what=shuffle), Caption.of(sample_records(1)[0]))


def test_check_policy_finds_a_policy_that_does_not_come_back() -> None:
    with pytest.raises(AssertionError, match="as JSON"):
        check_policy(_Mute())


def test_check_records_finds_a_policy_that_counts() -> None:
    with pytest.raises(AssertionError, match="one more record changed"):
        check_records(_Does(what=_forget), [Record("a")], Record("b"), 0)


@pytest.mark.skipif(os.environ.get("PYTHONHASHSEED", "random") != "random", reason="hashes are not salted")
def test_check_processes_finds_a_salted_hash() -> None:
    with pytest.raises(
        AssertionError, match=r"record 'picture \d+' has other captions in one of 1 processes"
    ):
        check_processes(
            CaptionPipeline(steps=(_Salted(),)), sample_records(), workers=(1,), methods=("spawn",)
        )


def test_the_preset_keeps_the_laws_as_a_whole() -> None:
    pipeline = preset("hyperfusion", important=["solo"], implications=FOXES.edges())
    check_policy(Sequence(steps=pipeline.steps))
