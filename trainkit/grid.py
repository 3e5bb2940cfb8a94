"""A sheet of pictures with their prompts written underneath."""

from __future__ import annotations

from PIL import Image, ImageDraw, ImageFont

_PAPER, _INK, _QUIET = (250, 249, 246), (32, 32, 36), (120, 120, 126)
_GAP = 12


def picture_grid(
    pictures: list[Image.Image], captions: list[str], *, columns: int = 0, title: str = ""
) -> Image.Image:
    """Pictures in rows, each with its caption below, wrapped; small pictures are enlarged without smoothing
    over them."""
    if len(pictures) != len(captions) or not pictures:
        raise ValueError(
            f"{len(pictures)} pictures and {len(captions)} captions; give one caption each, and at least one"
        )
    columns = columns or _square_columns(len(pictures))
    zoom = max(1, round(192 / max(max(p.size) for p in pictures)))
    cell_w = max(p.width for p in pictures) * zoom
    cell_h = max(p.height for p in pictures) * zoom
    font, small = ImageFont.load_default(size=13), ImageFont.load_default(size=15)
    wrapped = [_wrap(caption or "(empty)", font, cell_w) for caption in captions]
    line_h = 17
    rows = [range(r, min(r + columns, len(pictures))) for r in range(0, len(pictures), columns)]
    heights = [cell_h + 6 + line_h * max(len(wrapped[i]) for i in row) for row in rows]
    top = _GAP + (26 if title else 0)
    sheet = Image.new("RGB", (_GAP + columns * (cell_w + _GAP), top + sum(h + _GAP for h in heights)), _PAPER)
    canvas = ImageDraw.Draw(sheet)
    if title:
        canvas.text((_GAP, 9), title, fill=_INK, font=small)
    y = top
    for row, height in zip(rows, heights, strict=True):
        for column, i in enumerate(row):
            x = _GAP + column * (cell_w + _GAP)
            picture = pictures[i].resize(
                (pictures[i].width * zoom, pictures[i].height * zoom), Image.Resampling.BICUBIC
            )
            sheet.paste(picture, (x + (cell_w - picture.width) // 2, y + (cell_h - picture.height) // 2))
            for n, line in enumerate(wrapped[i]):
                canvas.text(
                    (x, y + cell_h + 5 + n * line_h), line, fill=_INK if captions[i] else _QUIET, font=font
                )
        y += height + _GAP
    return sheet


def _square_columns(count: int) -> int:
    """Columns that make a sheet wider than high; among those, the number that leaves the fewest gaps."""
    middle = (count * 1.6) ** 0.5
    near = range(max(1, round(middle * 0.75)), max(2, round(middle * 1.6)) + 1)
    return min(near, key=lambda columns: (-count % columns, abs(columns - middle)))


def _wrap(
    text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int, most: int = 4
) -> list[str]:
    """Lines that fit the width; what is left after ``most`` lines becomes an ellipsis."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines if len(lines) <= most else [*lines[: most - 1], lines[most - 1] + " ..."]
