"""The laws of captionkit.testing over every built-in policy, and over whole pipelines."""

from __future__ import annotations

import json
import pickle
import tomllib
from collections.abc import Iterator
from itertools import count, pairwise
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from captionkit import (
    Caption,
    CaptionPipeline,
    ChooseSource,
    CleanCaptions,
    Draws,
    DropImplied,
    DropTags,
    EmptyCaption,
    ImplicationGraph,
    ImportantFirst,
    MarkImportant,
    Maybe,
    OneOf,
    Policy,
    Prose,
    Record,
    RenameTags,
    Sequence,
    ShuffleTags,
    Source,
    Tag,
    When,
    dump_pipeline,
    dump_toml,
    load_pipeline,
    preset,
)
from captionkit.policies import BUILT_IN
from captionkit.testing import captions, check_laws, check_policy, pipelines, policies, records

FOXES = ImplicationGraph({"red_fox": ["fox"], "fox": ["canine"], "canine": ["mammal"]})

# One line and more of each kind: a new policy is tested by standing here.
ALL_POLICIES: list[Policy] = [
    ChooseSource(),
    ChooseSource(tags=0.0, caption=1.0, both=0.0),
    CleanCaptions(),
    CleanCaptions(sources=("cogvlm",), hedges=False),
    DropImplied(implications=FOXES),
    DropImplied(implications=FOXES, rate_range=(1.0, 1.0), spare_important=False, protected=("mammal",)),
    DropTags(),
    DropTags(rate=1.0, protected=("fox", "*right*")),
    DropTags(rate=0.75, spare_important=False),
    EmptyCaption(p=0.5),
    ImportantFirst(),
    ImportantFirst(patterns=("solo",), shuffle=False),
    MarkImportant(patterns=("solo", "*(artist)"), categories=("species",)),
    Maybe(p=0.5, then=DropTags(rate=0.75), otherwise=DropTags()),
    Maybe(p=0.5, then=ShuffleTags()),
    OneOf(choices=(DropTags(), ShuffleTags(), EmptyCaption()), weights=(1.0, 0.0, 3.0)),
    RenameTags(aliases={"Red Fox": "vulpes", "Blue_Eyes": "blue eyes"}),
    Sequence(),
    Sequence(steps=(ShuffleTags(), DropTags(), DropTags(name="again"))),
    ShuffleTags(),
    ShuffleTags(keep_first=2),
    When(tags=("solo",), then=ShuffleTags(), otherwise=DropTags()),
    When(sources=(Source.CAPTION,), then=EmptyCaption(p=1.0)),
]


@pytest.mark.parametrize("policy", ALL_POLICIES, ids=lambda policy: str(policy)[:60])
def test_policy_keeps_its_laws(policy: Policy) -> None:
    check_policy(policy)


def test_every_built_in_kind_is_among_them() -> None:
    assert {type(policy) for policy in ALL_POLICIES} == set(BUILT_IN)


@given(policies(), captions(), st.integers())
def test_any_policy_keeps_its_laws(policy: Policy, caption: Caption, seed: int) -> None:
    check_laws(policy, caption, Draws(seed, 0, 0, "r"))


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


_TIMES: Iterator[int] = count()


class _Greedy(Policy):
    """Breaks every law it claims."""

    kind: Literal["greedy"] = "greedy"
    rate: float = 0.5

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        return Caption((Tag(f"tag {draws.random()}"),), caption.prose, caption.source, caption.important)

    def claims(
        self,
    ) -> frozenset[Literal["subset", "permutation", "idempotent", "spares important", "off at zero"]]:
        return frozenset({self.claimed})

    claimed: Literal["subset", "permutation", "idempotent", "spares important", "off at zero"] = "subset"


class _Mute(_Greedy):
    """Does not write down what it is set to."""

    kind: Literal["mute"] = "mute"  # type: ignore[assignment]
    rate: float = Field(default_factory=lambda: next(_TIMES), exclude=True)


class _Forgetful(Policy):
    """Gives another caption every time."""

    kind: Literal["forgetful"] = "forgetful"

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        return Caption(caption.tags, (Prose(f"time {next(_TIMES)}"),))


@pytest.mark.parametrize("claim", ["subset", "permutation", "idempotent", "spares important", "off at zero"])
def test_check_policy_finds_a_broken_claim(claim: str) -> None:
    fox = Caption((Tag("fox"), Tag("tree")), important=frozenset({"fox"}))
    with pytest.raises(AssertionError):
        check_laws(_Greedy.model_validate({"claimed": claim}), fox, Draws(0, 0, 0, "r"))


def test_check_policy_finds_a_policy_that_forgets_its_address() -> None:
    with pytest.raises(AssertionError, match="same address"):
        check_laws(_Forgetful(), Caption((Tag("fox"),)), Draws(0, 0, 0, "r"))


def test_check_policy_finds_a_policy_that_does_not_come_back() -> None:
    policy = _Mute()
    with pytest.raises(AssertionError, match="as JSON"):
        check_policy(policy)


def test_the_preset_keeps_the_laws_as_a_whole() -> None:
    check_policy(Sequence(steps=preset("hyperfusion", important=["solo"]).steps))
