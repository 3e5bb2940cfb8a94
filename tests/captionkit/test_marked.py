"""A draw in marked pieces: nothing is lost, nothing is made up, and the step that did it is named."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from captionkit import CaptionPipeline, FlipRule, Prose, Record, Renderer, Tag, load_pipeline, parse_tags
from captionkit.fate import Fate
from captionkit.marked import Marked, marked
from captionkit.policies import AddTags, DropTags, KeepFixed, RenameTags
from captionkit.record import Caption
from captionkit.testing import pipelines, records

FOX = Record(
    "fox",
    parse_tags("solo, red_fox, fox, canine, snow, text on sign"),
    (Prose("The image showcases a red fox, which appears to be running."),),
)
RECIPE = {
    "preset": "hyperfusion",
    "implications": {"red_fox": ["fox"], "fox": ["canine"]},
    "important": ["solo"],
    "no_flip": ["speech*", "text on*"],
}


def by_fate(one: Marked, fate: Fate) -> list[str]:
    """The names of the tags with this fate."""
    return [tag.name for tag in one.tags if tag.fate is fate]


# ------------------------------------------------------------------------------------------------------- laws


@given(pipelines(), records(), st.integers(0, 3))
def test_what_did_not_leave_is_the_text_and_all_that_was_there_is_told(
    pipeline: CaptionPipeline, record: Record, draw: int
) -> None:
    one = marked(pipeline, record, draw=draw, samples=7)
    drawn = pipeline.draw_caption(record, draw=draw, samples=7)
    assert one.rendered.text == drawn.rendered.text
    assert one.caption == drawn.caption

    assert [tag.name for tag in one.tags if tag.fate is not Fate.DROPPED] == [
        tag.name for tag in drawn.caption.tags
    ]
    known = [tag.was or tag.name for tag in one.tags if tag.fate is not Fate.ADDED]
    assert sorted(known) == sorted(tag.name for tag in Caption.of(record).tags)

    said = [w for piece in one.prose for w in piece.words if w.fate is not Fate.DROPPED]
    assert sorted(" ".join(w.text for w in said).split()) == sorted(
        word for piece in drawn.caption.prose for word in piece.text.split()
    )
    told = [w for piece in one.prose for w in piece.words if w.fate is not Fate.ADDED]
    assert " ".join(w.text for w in told).split() == [
        word for piece in Caption.of(record).prose for word in piece.text.split()
    ]


@given(pipelines(), records())
def test_whatever_changed_has_a_cause_and_what_stayed_has_none(
    pipeline: CaptionPipeline, record: Record
) -> None:
    one = marked(pipeline, record, samples=7)
    told = [(tag.fate, tag.cause) for tag in one.tags]
    told += [(words.fate, words.cause) for prose in one.prose for words in prose.words]
    for fate, cause in told:
        assert (cause is None) == (fate is Fate.KEPT)
        assert cause is None or cause.step


@given(pipelines(), records())
def test_a_pattern_forbids_only_what_may_not_be_mirrored(pipeline: CaptionPipeline, record: Record) -> None:
    one = marked(pipeline, record, samples=7)
    assert one.flip.may == pipeline.may_flip(record)
    assert (one.flip.forbidden_by is None) == (pipeline.flip.veto(record) is None)
    assert one.flip.forbidden_by is None or not one.flip.may


# --------------------------------------------------------------------------------------------------- examples


def test_every_tag_that_left_names_its_step() -> None:
    pipeline = load_pipeline(RECIPE)
    steps: set[str] = set()
    for draw in range(60):
        one = marked(pipeline, FOX, draw=draw)
        assert next(tag for tag in one.tags if tag.name == "solo").important
        steps |= {str(tag.cause) for tag in one.tags if tag.name == "canine" and tag.cause}
    told = {step.partition(":")[0] for step in steps}
    assert told == {
        *("empty_caption", "choose_source", "short prompt/then", "short prompt/otherwise", "drop_implied")
    }
    assert any(
        s.startswith("drop_implied: left out (rate 0.") and s.endswith("implied by fox") for s in steps
    )


def test_the_pattern_that_forbids_mirroring_is_named_not_only_its_tag() -> None:
    one = marked(load_pipeline(RECIPE), FOX)
    assert one.flip.forbidden_by == "text on*"
    assert one.flip.reason == "may not be mirrored: tag 'text on sign' forbids it (pattern 'text on*')"
    assert not one.flip.may


def test_a_caption_is_compared_word_by_word() -> None:
    pipeline = load_pipeline({"steps": [{"kind": "clean_captions"}]})
    (prose,) = marked(pipeline, FOX).prose
    assert [(words.text, words.fate) for words in prose.words] == [
        ("The image showcases a", Fate.DROPPED),
        ("A", Fate.ADDED),
        ("red fox, which", Fate.KEPT),
        ("appears to be", Fate.DROPPED),
        ("is", Fate.ADDED),
        ("running.", Fate.KEPT),
    ]


def test_a_renamed_tag_is_one_tag_and_keeps_its_first_name() -> None:
    steps = (RenameTags(aliases={"red_fox": "vulpes"}), AddTags(tags=("sks",), important=True))
    one = marked(CaptionPipeline(steps=steps), FOX)
    (renamed,) = (tag for tag in one.tags if tag.fate is Fate.RENAMED)
    assert (renamed.name, renamed.was, str(renamed.cause)) == ("vulpes", "red_fox", "rename_tags")
    assert by_fate(one, Fate.ADDED) == ["sks"]
    assert not by_fate(one, Fate.DROPPED)


def test_steps_that_see_a_part_of_the_tags_drop_no_other() -> None:
    step = KeepFixed(first=2, separator="", then=DropTags(rate=1.0))
    one = marked(CaptionPipeline(steps=(step,)), FOX)
    assert by_fate(one, Fate.KEPT) == ["solo", "red_fox"]
    assert {str(tag.cause) for tag in one.tags if tag.fate is Fate.DROPPED} == {"keep_fixed/then"}


def test_what_the_budget_cut_names_the_budget() -> None:
    one = marked(CaptionPipeline(text=Renderer(max_tokens=6)), Record("1", FOX.tags))
    assert by_fate(one, Fate.DROPPED)
    assert {str(tag.cause) for tag in one.tags if tag.fate is Fate.DROPPED} == {"text: over 6 tokens"}


def test_mirroring_that_exchanges_sides_renames() -> None:
    rule = FlipRule(p=1.0, mirror="swap")
    one = marked(CaptionPipeline(flip=rule), Record("1", (Tag("left_arm_up"), Tag("fox"))))
    assert one.flip.mirrored
    assert [(tag.was, tag.name, tag.fate) for tag in one.tags] == [
        ("left_arm_up", "right_arm_up", Fate.RENAMED),
        (None, "fox", Fate.KEPT),
    ]


def test_of_tags_that_changed_places_the_fewest_have_moved() -> None:
    recipe = {"steps": [{"kind": "important_first", "patterns": ["canine"], "shuffle": False}]}
    one = marked(load_pipeline(recipe), FOX)
    assert [tag.name for tag in one.tags if tag.moved] == ["canine"]


def test_a_pattern_over_captions_forbids_too() -> None:
    rule = FlipRule(no_flip=("cat",), prose_patterns=("on the left", "showcases"))
    assert marked(CaptionPipeline(flip=rule), FOX).flip.forbidden_by == "showcases"
    assert marked(CaptionPipeline(flip=FlipRule(no_flip=("cat",))), FOX).flip.forbidden_by is None
