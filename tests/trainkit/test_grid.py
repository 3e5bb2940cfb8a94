"""Sheets: every picture whole and in its place, no caption beyond its column."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFont

from trainkit.grid import _PAPER, _font, _wrap, picture_grid
from trainkit.png_text import KEY, parameters_text

COLOURS = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0), (0, 200, 200), (200, 0, 200), (90, 90, 90)]
sizes = st.lists(st.tuples(st.integers(4, 40), st.integers(4, 40)), min_size=1, max_size=7)


def solid(size: tuple[int, int], colour: tuple[int, int, int]) -> Image.Image:
    return Image.new("RGB", (size[0] * 8, size[1] * 8), colour)


@given(sizes, st.integers(0, 4))
def test_every_picture_is_there_whole_and_apart_from_the_others(
    sizes: list[tuple[int, int]], columns: int
) -> None:
    pictures = [solid(size, colour) for size, colour in zip(sizes, COLOURS, strict=False)]
    sheet = np.asarray(picture_grid(pictures, ["a tag"] * len(pictures), columns=columns))
    zoom = max(1, round(192 / max(max(p.size) for p in pictures)))
    boxes = []
    for picture, colour in zip(pictures, COLOURS, strict=False):
        ys, xs = np.nonzero((sheet == colour).all(axis=-1))
        box = (int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1)
        assert (box[2] - box[0], box[3] - box[1]) == (picture.width * zoom, picture.height * zoom)
        assert len(xs) == picture.width * zoom * picture.height * zoom
        boxes.append(box)
    # In reading order.
    wide = columns or max(i + 1 for i, box in enumerate(boxes) if box[3] == boxes[0][3])
    for i, (left, _, _, bottom) in enumerate(boxes):
        row, column = divmod(i, min(wide, len(boxes)))
        assert left == boxes[column][0]
        assert row == 0 or bottom > boxes[i - wide][3]


@given(st.text(max_size=200), st.integers(60, 600))
def test_no_line_is_wider_than_its_column(text: str, width: int) -> None:
    font = _font(13)
    lines = _wrap(text, font, width)
    assert 1 <= len(lines) <= 4
    assert all(font.getlength(line) <= width or len(line) == 1 for line in lines)
    shown = "".join(lines).replace(" ", "").removesuffix("…")
    assert "".join(text.split()).startswith(shown)


def test_a_short_caption_is_shown_whole_and_a_long_one_says_that_it_goes_on() -> None:
    font = _font(13)
    assert _wrap("red circle, black background", font, 90) == ["red circle,", "black", "background"]
    assert _wrap("tag " * 100, font, 100)[-1].endswith("…")
    assert _wrap("", font, 100) == [""]


def test_captions_keep_off_the_margin_and_off_the_next_column() -> None:
    long = "a_tag_without_any_space_" * 30
    sheet = np.asarray(picture_grid([solid((8, 8), (0, 0, 200))] * 3, [long] * 3, columns=3, title=long))
    for x in (*range(12), *range(204, 216), *range(408, 420), *range(612, 624)):
        rows = sheet[110:, x]  # Below the title.
        assert (rows == _PAPER).all()


def test_letters_beyond_ascii_have_shapes() -> None:
    font = _font(16)
    assert isinstance(font, ImageFont.FreeTypeFont)
    missing = bytes(font.getmask("\U0010ffff"))
    assert all(bytes(font.getmask(letter)) != missing for letter in "éïøßЖΩ—“…")


def test_large_pictures_are_reduced_to_what_a_sheet_may_be_wide() -> None:
    sheet = picture_grid([solid((256, 128), (0, 0, 200))] * 5, [""] * 5, columns=5)
    assert 8100 < sheet.width < 8300
    assert sheet.height < 1000


def test_a_sheet_carries_the_prompts_of_its_pictures() -> None:
    pictures = [solid((8, 8), colour) for colour in COLOURS[:2]]
    plain = picture_grid(pictures, ["a", "b"])
    assert KEY not in plain.info
    for number, picture in enumerate(pictures):
        settings = {"Steps": 2, "Sampler": "DDIM", "Seed": number}
        picture.info[KEY] = parameters_text(f"prompt {number}", "dull", settings)
    sheet = picture_grid(pictures, ["a", "b"])
    assert sheet.info[KEY] == ("prompt 0\nprompt 1\nNegative prompt: dull\nSteps: 2, Sampler: DDIM, Seed: 0")


@pytest.mark.parametrize("captions", [[], ["a", "b"]])
def test_captions_that_do_not_match(captions: list[str]) -> None:
    with pytest.raises(ValueError, match=f"1 pictures and {len(captions)} captions"):
        picture_grid([solid((8, 8), (0, 0, 0))], captions)
