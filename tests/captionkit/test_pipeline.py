"""Rendering: order of the parts, spelling, token budget, control literals, mirroring, explanations."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionkit import (
    Caption,
    CaptionPipeline,
    DataError,
    FlipRule,
    Prose,
    Record,
    Renderer,
    Source,
    Tag,
    estimate_tokens,
    parse_tags,
    preset,
)
from captionkit.policies import ChooseSource, DropTags, EmptyCaption, ImportantFirst, MarkImportant, Maybe
from captionkit.testing import captions, pipelines, records

TAGS = parse_tags("red_fox, ^_^, tree")


def words(text: str) -> int:
    """A counter at module level, so that it can be pickled."""
    return len(text.split())


@pytest.mark.parametrize(
    ("caption", "text"),
    [
        (Caption(TAGS), "red fox, ^_^, tree"),
        (Caption(TAGS, (Prose("A fox\n sleeps."),)), "red fox, ^_^, tree, A fox sleeps."),
        (
            Caption(TAGS, (Prose("A fox sleeps."),), Source.BOTH_CAPTION_FIRST),
            "A fox sleeps. red fox, ^_^, tree",
        ),
        (
            Caption(TAGS, (Prose("A fox sleeps"),), Source.BOTH_CAPTION_FIRST),
            "A fox sleeps, red fox, ^_^, tree",
        ),
        (Caption((), (Prose("One."), Prose("Two."))), "One. Two."),
        (Caption(), ""),
    ],
)
def test_text(caption: Caption, text: str) -> None:
    assert Renderer().text(caption) == text


def test_underscores_can_stay() -> None:
    assert Renderer(underscores="keep").text(Caption(TAGS)) == "red_fox, ^_^, tree"


@pytest.mark.parametrize(
    "literal", ["<|endoftext|>", "<|startoftext|>", "<|EndOfText|>", "<|endof<|endoftext|>text|>"]
)
def test_control_literals_never_reach_the_tokenizer(literal: str) -> None:
    caption = Caption((Tag(f"fox{literal}"), Tag(literal), Tag("tree")), (Prose(f"A {literal} fox."),))
    assert Renderer().text(caption) == "fox, tree, A fox."


@given(captions(), st.integers(1, 20))
def test_budget_is_kept_by_whole_tags_and_sentences(caption: Caption, limit: int) -> None:
    fitted = Renderer(max_tokens=limit).fit(caption, words)
    around = Renderer().text(caption.with_tags(()).with_prose(()))  # Which is never cut.
    assert words(Renderer().text(fitted)) <= max(limit, words(around))
    assert set(fitted.tags) <= set(caption.tags)
    left = {tag.name for tag in fitted.tags}
    important_left = {tag.name for tag in caption.tags if tag.name in caption.important} - left
    assert not important_left or left <= caption.important  # Important ones leave last.
    for piece in fitted.prose:
        assert any(
            words(piece.text) <= words(whole.text) and piece.text[:3] in whole.text for whole in caption.prose
        )


@given(captions())
def test_budget_that_is_met_changes_nothing(caption: Caption) -> None:
    assert Renderer(max_tokens=10_000).fit(caption, words) is caption
    assert Renderer().fit(caption, words) is caption


def test_budget_takes_from_the_end_and_spares_the_important() -> None:
    caption = Caption(parse_tags("a, b, c, d"), (Prose("One two. Three."),), important=frozenset({"d"}))
    texts = [Renderer().text(Renderer(max_tokens=limit).fit(caption, words)) for limit in range(7, 0, -1)]
    assert texts == [
        "a, b, c, d, One two. Three.",
        "a, b, c, d, One two.",
        "a, b, c, d",
        "a, b, c, d",
        "a, b, d",
        "a, d",
        "d",
    ]


def test_budget_uses_the_counter_of_the_caller() -> None:
    record = Record("1", parse_tags("a, b, c, d"))
    pipeline = CaptionPipeline(text=Renderer(max_tokens=2))
    assert pipeline.render(record).text == "a"  # By the estimate a comma counts.
    counted = pipeline.with_counter(words)
    assert counted.render(record).text == "a, b"
    assert pickle.loads(pickle.dumps(counted)).render(record).text == "a, b"
    assert counted.with_seed(3).render(record).text == "a, b"
    trace = counted.explain(record).trace
    assert trace[-1].reason == "over 2 tokens; left out: c, d"


@pytest.mark.parametrize(
    ("text", "tokens"), [("", 0), ("a red fox", 3), ("1girl, 2boys", 5), ("é", 2), ("solo", 1)]
)
def test_estimate(text: str, tokens: int) -> None:
    assert estimate_tokens(text) == tokens


def test_veto_looks_at_the_whole_record() -> None:
    pipeline = CaptionPipeline(
        steps=(EmptyCaption(p=1.0),), flip=FlipRule(p=1.0, no_flip=("text on*",), prose_patterns=("left",))
    )
    for record, may in [
        (Record("1", parse_tags("text_on_shirt, fox")), False),
        (Record("1", parse_tags("fox"), (Prose("On the left."),)), False),
        (Record("1", parse_tags("fox")), True),
    ]:
        rendered = pipeline.render(record)
        assert (rendered.text, rendered.may_flip, rendered.flip) == ("", may, may)
        assert pipeline.may_flip(record) is may


def test_never_mirrored_with_p_zero() -> None:
    assert not CaptionPipeline(flip=FlipRule(p=0.0)).may_flip(Record("1", TAGS))


def test_empty_caption_is_empty_for_important_tags_too() -> None:
    pipeline = CaptionPipeline(steps=(MarkImportant(patterns=("*",)), EmptyCaption(p=1.0), ChooseSource()))
    rendered = pipeline.render(Record("1", TAGS, (Prose("A fox."),)))
    assert (rendered.text, rendered.source) == ("", "empty")


@pytest.mark.parametrize(
    ("record", "source"),
    [
        (Record("1"), "empty"),
        (Record("1", (), (Prose(" "),)), "empty"),
        (Record("1", TAGS), "tags"),
        (Record("1", (), (Prose("A fox."),)), "caption"),
    ],
)
def test_source_is_shared_out_over_what_there_is(record: Record, source: str) -> None:
    for pipeline in (CaptionPipeline(steps=(ChooseSource(),)), CaptionPipeline()):
        assert {r.source for r in pipeline.render_many(record, 20)} == {source}


def test_important_come_first_and_survive() -> None:
    steps = (MarkImportant(patterns=("tree",)), DropTags(rate=1.0), ImportantFirst())
    assert CaptionPipeline(steps=steps).render(Record("1", TAGS)).text == "tree"
    first = CaptionPipeline(steps=(MarkImportant(patterns=("tree", "^_^")), ImportantFirst()))
    texts = {r.text for r in first.render_many(Record("1", TAGS), 30)}
    assert texts == {"tree, ^_^, red fox", "^_^, tree, red fox"}


def test_a_tag_named_twice_counts_once() -> None:
    assert CaptionPipeline().render(Record("1", parse_tags("a, b, a"))).text == "a, b"


def test_explanation_names_the_event_before_its_step() -> None:
    event = Maybe(p=1.0, then=DropTags(rate=1.0), name="short prompt")
    trace = CaptionPipeline(steps=(event,), flip=FlipRule(p=0.0)).explain(Record("1", TAGS)).trace
    assert [(step.address, step.reason.split(",")[0]) for step in trace] == [
        ("#flip", "never mirrored: p is 0"),
        ("short prompt", f"drew {_drawn():.3f}"),
        ("short prompt/then", "left out: red_fox"),
    ]


def _drawn() -> float:
    from captionkit import Draws

    return Draws(0, 0, 0, "1").child("short prompt").random()


def test_explanation_of_an_implied_tag_names_its_witness() -> None:
    pipeline = preset("hyperfusion", implications={"red fox": ["fox"]})
    record = Record("1", parse_tags("red_fox, fox"))
    reasons = [
        s.reason
        for draw in range(30)
        for s in pipeline.explain(record, draw=draw).trace
        if s.kind == "drop_implied"
    ]
    assert any(re.search(r"fox left out \(rate 0\.\d+\), implied by red_fox", reason) for reason in reasons)


REFUSED: list[tuple[Callable[..., object], tuple[object, ...], str]] = [
    (Tag, ("  ",), "a tag's name is empty: '  ' (leave the tag out instead)"),
    (Tag, (3,), "a tag's name must be text, got 3"),
    (Prose, (None,), "a caption must be text, got None"),
    (Record, ("",), "a record's id must be text with at least one character, got ''"),
    (Record, ("1", ("fox",)), "record '1': tags[0]: must be a Tag, got 'fox' (write Tag('fox'))"),
    (Record, ("1", "fox"), "record '1': tags: must be a list of Tag, got 'fox'"),
]


@pytest.mark.parametrize(("make", "given_to_it", "message"), REFUSED)
def test_values_refuse_what_they_are_not(
    make: Callable[..., object], given_to_it: tuple[object, ...], message: str
) -> None:
    with pytest.raises(DataError) as caught:
        make(*given_to_it)
    assert str(caught.value) == message
    assert str(pickle.loads(pickle.dumps(caught.value))) == message  # Workers hand errors on by pickle.


def test_text_around_the_body_stays_when_there_is_none() -> None:
    photo = Caption(parse_tags("fox, tree"), before="a photo of ", after=", sharp")
    assert Renderer().text(photo) == "a photo of fox, tree, sharp"
    assert Renderer().text(photo.with_tags(())) == "a photo of, sharp"
    assert Renderer().text(Caption(after=", sharp")) == "sharp"


def test_the_budget_counts_the_text_around_the_body_and_never_cuts_it() -> None:
    photo = Caption(parse_tags("fox, tree"), before="a photo of ")
    renderer = Renderer(max_tokens=4)
    assert renderer.text(renderer.fit(photo, words)) == "a photo of fox"
    assert renderer.text(Renderer(max_tokens=1).fit(photo, words)) == "a photo of"


@pytest.mark.parametrize(
    ("parentheses", "written"),
    [
        ("keep", r"saber (fate), a \(b\)"),
        ("escape", r"saber \(fate\), a \(b\)"),
        ("unescape", "saber (fate), a (b)"),
    ],
)
def test_parentheses_are_escaped_once_and_back(parentheses: Any, written: str) -> None:
    caption = Caption(parse_tags(r"saber_(fate), a \(b\)"))
    assert Renderer(parentheses=parentheses).text(caption) == written


def test_a_mirrored_picture_says_the_other_side_and_explains_it() -> None:
    record = Record("1", parse_tags("left_arm_up"), (Prose("A cat on the left."),))
    always = CaptionPipeline(flip=FlipRule(p=1.0, mirror="swap"))
    assert always.render(record).text == "right arm up, A cat on the right."
    assert "left_arm_up; new: right_arm_up" in always.explain(record).trace[0].reason
    never = CaptionPipeline(flip=FlipRule(p=0.0, mirror="swap"))
    assert never.render(record).text == "left arm up, A cat on the left."


@given(pipelines(), records())
def test_a_picture_that_is_not_mirrored_is_never_swapped(pipeline: CaptionPipeline, record: Record) -> None:
    kept = pipeline.model_copy(update={"flip": pipeline.flip.model_copy(update={"mirror": "keep"})})
    swapped = pipeline.model_copy(update={"flip": pipeline.flip.model_copy(update={"mirror": "swap"})})
    rendered = swapped.render(record, samples=0)
    if not rendered.flip:
        assert rendered.text == kept.render(record, samples=0).text
