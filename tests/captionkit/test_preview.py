"""The preview with marks: what left is struck out with the step that took it; the rest is the text."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from captionkit import CaptionPipeline, Prose, Record, load_pipeline, parse_tags, preset
from captionkit.marked import marked
from captionkit.marked_text import draw_text, mirror_text
from captionkit.screen import Screen
from captionkit.testing.strategies import records

WIDE = Screen(10_000)


def _lines(pipeline: CaptionPipeline, record: Record, draw: int, screen: Screen = WIDE) -> list[str]:
    return draw_text(marked(pipeline, record, draw=draw), pipeline.text.spell, screen, "")


def _said(line: str) -> str:
    """What of a marked line is in the text: without what is struck out, without marks and footnotes."""
    line = re.sub(r"\[-.*?-\](\^\d+)?,?", "", line)
    line = re.sub(r"\{\+(.*?)\+\}(\^\d+)?", r"\1", line)
    return re.sub(r"\*(.*?)\*", r"\1", line)


NAMES = st.text("abcdefgh", min_size=1, max_size=6)


@given(st.lists(NAMES, unique=True, max_size=12), st.integers(0, 50))
def test_what_is_not_struck_out_is_the_text(names: list[str], draw: int) -> None:
    pipeline = load_pipeline({"steps": [{"kind": "drop_tags", "rate": 0.4}, {"kind": "shuffle_tags"}]})
    record = Record("1", parse_tags(", ".join(names)))
    shown = _said(_lines(pipeline, record, draw)[0])
    said = [tag.strip() for tag in shown.replace("(empty)", "").split(",") if tag.strip()]
    assert said == [tag for tag in pipeline.render(record, draw=draw).text.split(", ") if tag]


@given(records(), st.integers(0, 3), st.booleans())
def test_any_record_can_be_shown(record: Record, draw: int, colour: bool) -> None:
    lines = _lines(preset("hyperfusion"), record, draw, Screen(60, colour))
    assert lines
    assert colour or "\x1b" not in "".join(lines)


def test_the_step_that_took_a_tag_stands_below() -> None:
    pipeline = load_pipeline(
        {"steps": [{"kind": "mark_important", "patterns": ["solo"]}, {"kind": "drop_tags", "rate": 1.0}]}
    )
    lines = _lines(pipeline, Record("1", parse_tags("fox, solo, snow")), 0)
    assert lines == ["[-fox-]^1, *solo*, [-snow-]^1", "^1 drop_tags"]


def test_a_caption_that_left_as_a_whole_is_cut_short() -> None:
    pipeline = load_pipeline({"steps": [{"kind": "empty_caption", "p": 1.0}]})
    prose = (Prose("A fox runs over the snow, and behind it runs another fox, and a third."),)
    lines = _lines(pipeline, Record("1", parse_tags("a, b, c, d, e"), prose), 0)
    assert lines[0] == (
        "[-5 tags-]^1 [-A fox runs over the snow, and behind it runs another fox, an ...-]^1 (empty)"
    )
    assert lines[1] == "^1 empty_caption"


def test_colour_strikes_out_and_raises_the_numbers() -> None:
    pipeline = load_pipeline({"steps": [{"kind": "drop_tags", "rate": 1.0}]})
    lines = _lines(pipeline, Record("1", parse_tags("fox")), 0, Screen(80, colour=True))
    assert lines[0].startswith("\x1b[9;31mfox\x1b[0m¹")


def test_the_pattern_that_forbids_mirroring_is_named() -> None:
    flip = load_pipeline({"flip": {"no_flip": ["text on*"]}}).flip
    record = Record("1", parse_tags("fox, text_on_shirt"))
    assert mirror_text(flip, record) == ("not mirrored: tag 'text_on_shirt' forbids it (pattern 'text on*')")
    assert mirror_text(flip, Record("1", parse_tags("fox"))) == "may be mirrored"
    swap = load_pipeline({"flip": {"mirror": "swap"}}).flip
    assert mirror_text(swap, Record("1", (), (Prose('A sign says "stop" here.'),))).startswith(
        "not mirrored: a caption quotes"
    )
    assert mirror_text(load_pipeline({"flip": {"p": 0.0}}).flip, record) == "not mirrored: p is 0"
