"""`captionkit diff`: what differs, by exactly the change, and nothing that only chance makes."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionkit import CaptionPipeline, DataError, FlipRule, Record, Renderer, Tag, load_pipeline, preset
from captionkit.commands.diff import add_diff
from captionkit.compare import Change, Comparison, compare
from captionkit.compare.paired import Sums
from captionkit.compare.settings import ORDER, changed_settings
from captionkit.compare.shown import comparison_text
from captionkit.policies import AddTags, DropTags, EmptyCaption, Maybe, ShuffleTags
from captionkit.screen import Screen
from captionkit.stats.gather import InMemory
from captionkit.testing import pipelines, records, sample_records

NAMES = ("fox", "tree", "snow", "sky", "cat", "dog", "red", "blue", "day", "night", "sea", "sand")


def foxes(count: int) -> list[Record]:
    """Records of eight tags each."""
    tags = tuple(map(Tag, NAMES))
    return [
        Record(f"fox {number}", (*tags[number % 5 :][:6], Tag("solo"), Tag(f"only {number}")))
        for number in range(count)
    ]


def between(a: CaptionPipeline, b: CaptionPipeline, some: Iterable[Record], **options: Any) -> Comparison:
    """What differs over some records."""
    return compare(a, b, InMemory(list(some)), **options)


# ------------------------------------------------------------------------------------------------------- laws


@given(pipelines(), st.lists(records(), min_size=1, max_size=3))
def test_a_recipe_does_not_differ_from_itself(pipeline: CaptionPipeline, some: list[Record]) -> None:
    same = between(
        pipeline, load_pipeline(pipeline.model_dump(mode="json", exclude_none=True)), some, samples=3
    )
    assert same.settings == ()
    assert (same.texts_changed, same.flips_changed, same.tags, same.examples) == (0, 0, (), ())
    assert not any(figure.clear or figure.by for figure in same.figures)


@given(pipelines(), pipelines(), st.lists(records(), min_size=1, max_size=3, unique_by=lambda one: one.id))
def test_every_changed_text_is_counted(a: CaptionPipeline, b: CaptionPipeline, some: list[Record]) -> None:
    found = between(a, b, some, draws=2, samples=3)
    pairs = [
        (a.render(one, draw=draw, samples=3), b.render(one, draw=draw, samples=3))
        for one in some
        for draw in range(2)
    ]
    assert found.num_texts == len(pairs)
    assert found.texts_changed == sum(old.text != new.text for old, new in pairs)
    assert found.flips_changed == sum(old.flip != new.flip for old, new in pairs)
    for example in found.examples:
        record = next(one for one in some if one.id == example.id)
        assert example.text_a == a.render(record, draw=example.draw, samples=3).text
        assert example.text_b == b.render(record, draw=example.draw, samples=3).text
    if a == b:
        assert found.settings == ()
    elif found.texts_changed or found.flips_changed:
        assert found.settings
    # Whatever the values are, they can be shown.
    json.dumps([[change.a, change.b] for change in found.settings])
    assert comparison_text(found, Screen(80), top=5)


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=20),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=20),
)
def test_sums_can_be_counted_in_parts(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    def sums(pairs: list[tuple[int, int]]) -> Sums:
        total = Sums()
        for a, b in pairs:
            total.add(Counter(x=a), Counter(x=b))
        return total

    merged = sums(one)
    merged.merge(sums(other))
    num = len(one) + len(other)
    difference = merged.difference("x", num, 4, 1.96)
    assert difference == sums(one + other).difference("x", num, 4, 1.96)
    assert difference.by == pytest.approx(sum(b - a for a, b in one + other) / (4 * num))
    assert difference.low <= difference.high


# --------------------------------------------------------------------------------------------------- settings


def test_settings_are_told_by_the_address_that_with_settings_takes() -> None:
    a = preset("hyperfusion")
    settings = {"short prompt/otherwise.rate": 0.3, "flip.no_flip": ["hand*"], "text.max_tokens": 75}
    changes = changed_settings(a, a.with_settings(settings))
    assert {change.address: change.b for change in changes} == settings
    again = a.with_settings({change.address: change.b for change in changes})
    assert again == a.with_settings(settings)


def test_a_step_that_only_one_recipe_has_is_one_change() -> None:
    a = CaptionPipeline(steps=(ShuffleTags(),))
    added = Maybe(p=0.5, then=DropTags(rate=0.1), name="some")
    b = CaptionPipeline(steps=(added, ShuffleTags()))
    assert changed_settings(a, b) == (
        Change(
            "some", None, {"kind": "maybe", "p": 0.5, "then.kind": "drop_tags", "then.rate": 0.1} | _rest(b)
        ),
    )
    (gone,) = changed_settings(b, a)
    assert (gone.address, gone.b) == ("some", None)


def _rest(pipeline: CaptionPipeline) -> dict[str, Any]:
    """The settings of the inner step that were not named, as they are written."""
    inner = pipeline.model_dump(mode="json", exclude_none=True)["steps"][0]["then"]
    return {f"then.{key}": value for key, value in inner.items()}


def test_another_order_is_a_change() -> None:
    a = CaptionPipeline(steps=(ShuffleTags(), DropTags(rate=0.1)))
    b = CaptionPipeline(steps=(DropTags(rate=0.1), ShuffleTags()))
    (change,) = changed_settings(a, b)
    assert change == Change(ORDER, ["shuffle_tags#0", "drop_tags#0"], ["drop_tags#0", "shuffle_tags#0"])


# ---------------------------------------------------------------------------------------------------- figures


def test_what_the_change_does_not_touch_stays_the_same() -> None:
    a = CaptionPipeline(steps=(EmptyCaption(p=0.2), DropTags(rate=0.2)))
    b = a.with_settings({"drop_tags.rate": 0.5})
    found = between(a, b, foxes(60))
    figures = {figure.name: figure for figure in found.figures}
    assert figures["mean tokens"].clear
    assert figures["mean tokens"].by < 0
    assert figures["mirrored"].by == 0  # Not by luck: the draws of the flip are the same ones.
    assert found.flips_changed == 0
    assert {tag.name for tag in found.tags} <= {*NAMES, "solo"}
    assert found.tags[0].by == pytest.approx(-0.3, abs=0.15)


def test_mirroring_and_the_budget_are_compared() -> None:
    a = CaptionPipeline(flip=FlipRule(p=0.5))
    b = CaptionPipeline(flip=FlipRule(p=0.5, no_flip=("fox",)), text=Renderer(max_tokens=8))
    found = between(a, b, foxes(60))
    figures = {figure.name: figure for figure in found.figures}
    assert (found.may_flip_a, found.may_flip_b) == (60, 48)
    assert figures["mirrored"].clear
    assert (figures["cut by the budget"].a, figures["cut by the budget"].b) == (0.0, 1.0)
    assert found.flips_changed > 0
    assert found.texts_changed == found.num_texts


def test_a_tag_that_no_record_has_is_compared_over_all() -> None:
    found = between(CaptionPipeline(), CaptionPipeline(steps=(AddTags(tags=("sks",)),)), foxes(40))
    (sks,) = found.tags
    assert (sks.name, sks.a, sks.b, sks.num_records, sks.clear) == ("sks", 0.0, 1.0, 40, True)


def test_one_record_proves_nothing() -> None:
    a, b = CaptionPipeline(), CaptionPipeline(steps=(DropTags(rate=0.9),))
    assert between(a, b, foxes(1)).tags == ()
    assert between(a, b, foxes(80)).tags


@pytest.mark.statistics
def test_another_seed_alone_makes_no_difference_clear() -> None:
    # All tags together are a false alarm in 5 % of cases: more than 3 of 12 seeds in 1 of 450. Each of 9
    # figures is one in 5 %: more than 10 of 108 in 1 of 45. Seeded, so that it happens always or never.
    recipe = preset("hyperfusion")
    some = foxes(150)
    found = [between(recipe, recipe.with_seed(seed), some) for seed in range(1, 13)]
    assert all(one.texts_changed > one.num_texts / 2 for one in found)
    assert sum(bool(one.tags) for one in found) <= 3
    assert sum(figure.clear for one in found for figure in one.figures) <= 10


def test_the_same_records_are_looked_at_whoever_reads_them() -> None:
    a, b = preset("hyperfusion"), preset("hyperfusion", flip=0.2)
    some = foxes(900)
    alone = between(a, b, some, sample=200, draws=2)
    assert alone.num_sampled == 200
    assert alone == between(a, b, some, sample=200, draws=2, processes=2)


# ---------------------------------------------------------------------------------------------------- command


def run(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """What the command prints."""
    parser = argparse.ArgumentParser()
    add_diff(parser.add_subparsers())
    arguments = parser.parse_args(["diff", *map(str, words)])
    arguments.run(arguments)
    return capsys.readouterr().out


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A file of records, two recipes beside it."""
    lines = [
        {"id": one.id, "tags": [tag.name for tag in one.tags], "caption": [prose.text for prose in one.prose]}
        for one in (*foxes(40), *sample_records(30))
        if one.tags or one.prose
    ]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "a.toml").write_text('preset = "hyperfusion"\nno_flip = ["text on*", "clock"]\n')
    (tmp_path / "b.toml").write_text('preset = "hyperfusion"\nno_flip = ["text on*", "hand"]\nflip = 0.1\n')
    return tmp_path / "data.jsonl"


def test_diff_shows_what_changed_and_json_says_the_same(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("diff", data.parent / "a.toml", data.parent / "b.toml", data)[1:]
    out = run(capsys, *words)
    assert '  flip.no_flip: [-"clock"-] {+"hand"+}\n' in out
    assert "  flip.p: [-0.5-] {+0.1+}\n" in out
    assert "0 of 260 texts changed (0.0 %); " in out
    told = json.loads(run(capsys, *words, "--json"))
    assert told["texts_changed"] == 0
    assert told["flips_changed"] > 30
    (mirrored,) = (one for one in told["figures"] if one["clear"])
    assert mirrored["name"] == "mirrored"
    assert mirrored["by"] == pytest.approx(-0.35, abs=0.1)


def test_hostile_names_cannot_steer_the_terminal(tmp_path: Path) -> None:
    evil = [Record(f"\x1b[2Jid {number}", (Tag("\x1b]0;title\x07fox"), Tag("tree"))) for number in range(30)]
    found = between(CaptionPipeline(), CaptionPipeline(steps=(DropTags(rate=0.9),)), evil)
    assert found.tags
    assert "\x1b" not in comparison_text(found, Screen(80), top=5)


def test_no_record_is_an_error() -> None:
    with pytest.raises(DataError, match="no record could be read"):
        between(CaptionPipeline(), CaptionPipeline(), [])
