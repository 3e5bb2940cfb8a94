"""What the page shows of a record, as HTML in which every text of the data is escaped."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from html import escape

from captionkit.compare.result import Change
from captionkit.errors import DataError
from captionkit.fate import Cause, Fate, called
from captionkit.marked import Marked
from captionkit.marked_prose import MarkedProse
from captionkit.marked_tags import MarkedTag
from captionkit.pictures import PictureFolders, thumbnail
from captionkit.record import Record
from captionkit.render import Renderer, estimate_tokens

SIDE_PX = 448

STYLE = """
.ck { --imp: #7a4b00; --imp-bg: #fdeecb; --add: #1d6b2a; --add-bg: #e2f2e1; --drop: #a3312c; --chip: #eceae5;
  --soft: #625d55; line-height: 1.9; font-size: 16px; overflow-wrap: anywhere; }
.dark .ck { --imp: #ffd27a; --imp-bg: #3d3115; --add: #8bdc95; --add-bg: #1d3524; --drop: #f28b82;
  --chip: #30333d; --soft: #a9a399; }
.ck .t { background: var(--chip); border-radius: 6px; padding: 2px 8px; margin-right: 4px;
  -webkit-box-decoration-break: clone; box-decoration-break: clone; }
.ck .imp { background: var(--imp-bg); color: var(--imp); font-weight: 600; }
.ck .add { background: var(--add-bg); color: var(--add); }
.ck .drop { background: none; color: var(--drop); text-decoration: line-through; padding: 2px; cursor: help; }
.ck ins { background: var(--add-bg); color: var(--add); text-decoration: none; border-radius: 4px;
  padding: 0 3px; }
.ck .draw { padding: 10px 0; border-top: 1px solid var(--border-color-primary); }
.ck .draw:first-child { border: 0; padding-top: 0; }
.ck .meta { color: var(--soft); font-size: 13.5px; line-height: 1.5; }
.ck .meta b { color: inherit; }
.ck img { max-width: 100%; max-height: 420px; border-radius: 10px; background: #fff; min-width: 96px; }
.ck table { width: 100%; border-collapse: collapse; line-height: 1.5; font-size: 15px; }
.ck td, .ck th { text-align: left; vertical-align: top; padding: 7px 12px 7px 0;
  border-bottom: 1px solid var(--border-color-primary); }
.ck .quiet { color: var(--soft); }
.ck .error { color: var(--drop); }
"""


def picture_html(record: Record, folders: PictureFolders) -> str:
    """The picture, small and inside the page; or why there is none."""
    try:
        small = thumbnail(folders.find(record.image), SIDE_PX, quality=80)
    except DataError as error:
        return _box(f'<p class="quiet">no picture: {escape(error.what)}</p>')
    data = base64.b64encode(small.data).decode("ascii")
    return _box(
        f'<img src="data:image/webp;base64,{data}" width="{small.width}" height="{small.height}" '
        f'alt="{escape(record.id)}">'
    )


def record_html(record: Record, may_flip: bool, why: str | None) -> str:
    """What is known about the picture."""
    tags = ", ".join(escape(tag.name) for tag in record.tags)
    lines = [f"<p>{tags}</p>"] if tags else []
    lines += [
        f'<p>“{escape(prose.text)}” <span class="quiet">{escape(prose.source)}</span></p>'
        for prose in record.prose
    ]
    flip = "may be mirrored" if may_flip else f"is never mirrored{f': {why}' if why else ''}"
    return _box("".join(lines) + f'<p class="quiet">{escape(flip)}</p>')


def draws_html(draws: Sequence[Marked], text: Renderer) -> str:
    """Several draws, one below the other, with what left, what came, and why on hovering."""
    return _box("".join(_draw(number, draw, text) for number, draw in enumerate(draws)))


def steps_html(draw: Marked) -> str:
    """One draw step by step, as `captionkit explain` tells it."""
    rows = "".join(
        f"<tr><th>{number}</th><td>{escape(called(step.address))}</td><td>{escape(step.reason)}</td></tr>"
        for number, step in enumerate(draw.rendered.trace, start=1)
    )
    said = escape(draw.rendered.text) or "<i>empty</i>"
    return _box(f"<table>{rows}</table><p><b>{said}</b></p>")


def changes_html(changes: Sequence[Change]) -> str:
    """Which settings are no longer those of the recipe."""
    if not changes:
        return _box('<p class="quiet">Nothing has been moved.</p>')
    items = "".join(
        f"<tr><td>{escape(change.address.replace('#0', ''))}</td>"
        f'<td><span class="drop">{escape(str(change.a))}</span> <ins>{escape(str(change.b))}</ins></td></tr>'
        for change in changes
    )
    return _box(f"<table>{items}</table>")


def error_html(message: str) -> str:
    """Why there is nothing to show."""
    return _box(f'<p class="error">{escape(message)}</p>')


def _box(html: str) -> str:
    return f'<div class="ck">{html}</div>'


def _draw(number: int, draw: Marked, text: Renderer) -> str:
    tokens = estimate_tokens(draw.rendered.text)
    mirrored = f' · <b title="{escape(draw.flip.reason)}">mirrored</b>' if draw.flip.mirrored else ""
    meta = f'<div class="meta">draw {number} · {draw.rendered.source} · {tokens} tokens{mirrored}</div>'
    tags, prose = "".join(_tags(draw.tags, text)), " ".join(map(_prose, draw.prose))
    body = [tags, prose] if draw.tags_first else [prose, tags]
    around = [f"<ins>{escape(words)}</ins>" if words.strip() else "" for words in (draw.before, draw.after)]
    empty = "" if draw.rendered.text else '<i class="quiet">empty caption</i> '
    words = " ".join(part for part in (empty, around[0], *body, around[1]) if part)
    return f'<div class="draw">{meta}<div>{words}</div></div>'


def _tags(tags: Sequence[MarkedTag], text: Renderer) -> Iterator[str]:
    for tag in tags:
        important = " imp" if tag.important else ""
        name = escape(text.spell(tag.name))
        if tag.fate is Fate.DROPPED:
            yield f'<s class="t drop"{_title(tag.cause)}>{name}</s> '
            continue
        if tag.was is not None:
            yield f'<s class="t drop"{_title(tag.cause)}>{escape(text.spell(tag.was))}</s> '
        added = " add" if tag.fate is not Fate.KEPT else ""
        yield f'<span class="t{added}{important}"{_title(tag.cause)}>{name}</span> '


def _prose(prose: MarkedProse) -> str:
    if prose.dropped:
        cause = prose.words[-1].cause if prose.words else None
        return f'<s class="t drop"{_title(cause)}>a caption</s>'
    kinds = {
        Fate.KEPT: ("", ""),
        Fate.DROPPED: ('<s class="drop"{}>', "</s>"),
        Fate.ADDED: ("<ins{}>", "</ins>"),
    }
    pieces = []
    for words in prose.words:
        before, after = kinds[words.fate]
        pieces.append(before.format(_title(words.cause)) + escape(words.text) + after)
    return " ".join(pieces)


def _title(cause: Cause | None) -> str:
    return "" if cause is None else f' title="{escape(str(cause))}"'
