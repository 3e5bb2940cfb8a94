"""A sheet of pictures with their prompts written underneath."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from trainkit.png_text import KEY, sheet_text

_PAPER, _INK, _QUIET = (250, 249, 246), (32, 32, 36), (120, 120, 126)
_GAP = 12
_SMALL = 192
"""Pictures are enlarged, by a whole number, to about so many pixels."""
_WIDEST = 8192
"""No sheet is wider, in pixels; larger pictures are reduced."""
_LINES = 4
"""Lines of a caption that are shown."""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where everything stands, in pixels; a column is as wide as its widest picture, a row as high as its
    highest and the longest caption in it."""

    sizes: list[tuple[int, int]]
    """(width, height) of each picture as shown."""
    columns: int
    widths: list[int]
    """Of each column."""
    heights: list[int]
    """Of each row, without its captions."""
    font: Font
    line: int
    """Height of a line of text."""


def picture_grid(
    pictures: list[Image.Image], captions: list[str], *, columns: int = 0, title: str = ""
) -> Image.Image:
    """Pictures in rows, each with its caption below, wrapped; small ones enlarged by a whole number.

    Pictures may differ in size. ``columns`` 0 makes the sheet wider than high. When the pictures carry front
    ends' text (``info["parameters"]``), the sheet carries all their prompts and the first one's settings.
    Raises ValueError unless there is one caption for each of at least one picture.
    """
    if len(pictures) != len(captions) or not pictures:
        raise ValueError(
            f"{len(pictures)} pictures and {len(captions)} captions; give one caption each, and at least one"
        )
    layout = _layout([picture.size for picture in pictures], columns or _square_columns(len(pictures)))
    wrapped = [
        _wrap(caption or "(empty)", layout.font, layout.widths[i % layout.columns])
        for i, caption in enumerate(captions)
    ]
    rows = [range(r, min(r + layout.columns, len(wrapped))) for r in range(0, len(wrapped), layout.columns)]
    text_heights = [6 + layout.line * max(len(wrapped[i]) for i in row) for row in rows]
    width = _GAP + sum(w + _GAP for w in layout.widths)
    heading = _wrap(title, layout.font, width - 2 * _GAP) if title else []
    top = _GAP + (layout.line * len(heading) + 4 if heading else 0)
    height = top + sum(h + t + _GAP for h, t in zip(layout.heights, text_heights, strict=True))
    sheet = Image.new("RGB", (width, height), _PAPER)
    canvas = ImageDraw.Draw(sheet)
    _write(canvas, heading, (_GAP, _GAP - 4), layout, _INK)
    y = top
    for row, h, t in zip(rows, layout.heights, text_heights, strict=True):
        x = _GAP
        for i, w in zip(row, layout.widths, strict=False):
            shown = pictures[i].convert("RGB").resize(layout.sizes[i], Image.Resampling.BICUBIC)
            sheet.paste(shown, (x, y + h - shown.height))
            _write(canvas, wrapped[i], (x, y + h + 5), layout, _INK if captions[i] else _QUIET)
            x += w + _GAP
        y += h + t + _GAP
    if all(KEY in picture.info for picture in pictures):
        sheet.info[KEY] = sheet_text([picture.info[KEY] for picture in pictures])
    return sheet


def _layout(sizes: list[tuple[int, int]], columns: int) -> _Layout:
    columns = min(columns, len(sizes))
    zoom: float = max(1, round(_SMALL / max(map(max, sizes))))
    if (wide := columns * max(w for w, _ in sizes) * zoom) > _WIDEST:
        zoom *= _WIDEST / wide
    shown = [(max(1, round(w * zoom)), max(1, round(h * zoom))) for w, h in sizes]
    widths = [max(w for w, _ in shown[c::columns]) for c in range(columns)]
    heights = [max(h for _, h in shown[r : r + columns]) for r in range(0, len(shown), columns)]
    points = min(22, max(13, max(widths) // 36))
    return _Layout(shown, columns, widths, heights, _font(points), round(points * 1.3))


def _font(points: int) -> Font:
    """DejaVu Sans from matplotlib's files, for Latin, Greek and Cyrillic; PIL's own font has hardly more than
    ASCII."""
    spec = importlib.util.find_spec("matplotlib")
    if spec is not None and spec.origin:
        path = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if path.is_file():
            return ImageFont.truetype(path, points)
    return ImageFont.load_default(size=points)


def _write(
    canvas: ImageDraw.ImageDraw,
    lines: list[str],
    at: tuple[int, int],
    layout: _Layout,
    ink: tuple[int, int, int],
) -> None:
    for n, line in enumerate(lines):
        canvas.text((at[0], at[1] + n * layout.line), line, fill=ink, font=layout.font)


def _square_columns(count: int) -> int:
    """Columns that make a sheet wider than high; among those, the number that leaves the fewest gaps."""
    middle = (count * 1.6) ** 0.5
    near = range(max(1, round(middle * 0.75)), max(2, round(middle * 1.6)) + 1)
    return min(near, key=lambda columns: (-count % columns, abs(columns - middle)))


def _wrap(text: str, font: Font, width: int) -> list[str]:
    """Lines that fit the width, at most four; a word that is too wide is broken, and what is left over
    becomes an ellipsis."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if lines[-1] and font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
        if len(lines) > _LINES:
            break
    if len(lines) > _LINES:
        last = lines[_LINES - 1]
        while last and font.getlength(last + "…") > width:
            last = last[:-1]
        lines = [*lines[: _LINES - 1], last.rstrip() + "…"]
    return lines
