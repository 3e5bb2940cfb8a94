"""What is written beside a picture: the plainest sidecars from which its record is read again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeAlias

from captionkit.errors import CaptionkitError
from captionkit.readers.sidecars import Written, known_from, object_in
from captionkit.readers.text import decode
from captionkit.record import Record, Tag
from captionkit.writers.fields import HUMAN, fields_of
from captionkit.writers.target import Losses

Style: TypeAlias = Literal["plain", "json", "tags", "caption"]
"""Which sidecars are written.

- plain: `.txt` with the tags, `.caption` with the captions, and `.json` for what these cannot hold
- json: always one `.json` with everything
- tags: one `.txt` with the tags on one line, as kohya and most others read it; nothing else
- caption: one `.txt` with the first caption on one line; nothing else
"""

Texts: TypeAlias = dict[str, str]
"""The text of each sidecar by its suffix."""

_PLACE = Path("a")


def sidecar_texts(record: Record, style: Style, losses: Losses) -> Texts:
    """The sidecars of a record that has content; none, and noted, where the style holds nothing of it."""
    if style in ("tags", "caption"):
        return _one_line(record, style, losses)
    if style == "plain":
        texts = _plain(record)
        if _read(texts) == (record.tags, record.prose, record.info):
            return texts
    return {".json": _json(record, losses)}


def _plain(record: Record) -> Texts:
    """Tags and captions as plain text as far as that can be read back, and the rest as JSON."""
    texts: Texts = {}
    rest = record
    if record.tags and all(tag == Tag(tag.name) for tag in record.tags):
        tags = {".txt": ", ".join(tag.name for tag in record.tags) + "\n"}
        if _read(tags) == (record.tags, (), ()):
            texts, rest = tags, replace(rest, tags=())
    if record.prose and all(piece.source == HUMAN for piece in record.prose):
        captions = {".caption": "".join(f"{piece.text}\n" for piece in record.prose)}
        if _read(captions) == ((), record.prose, ()):
            texts, rest = texts | captions, replace(rest, prose=())
    if rest.tags or rest.prose or rest.info:
        texts[".json"] = _json(rest, Losses())
    return texts


def _json(record: Record, losses: Losses) -> str:
    """What a reader of the folder cannot tell from the picture's path."""
    fields = fields_of(record, losses)
    fields.pop("id", None)
    fields.pop("image", None)
    return json.dumps(fields, ensure_ascii=False) + "\n"


def _read(texts: Mapping[str, str]) -> tuple[object, object, object] | None:
    """(tags, captions, facts) as a reader finds them; None where it finds fault."""
    try:
        written = {
            suffix: Written(_PLACE, decode(text.encode("utf-8"), _PLACE)) for suffix, text in texts.items()
        }
        known = known_from(written, object_in(written), sentences=True)
    except (CaptionkitError, UnicodeEncodeError):
        return None
    return known.tags, known.prose, tuple(sorted(known.facts.items()))


def _one_line(record: Record, style: Style, losses: Losses) -> Texts:
    captions = [line for piece in record.prose if (line := " ".join(piece.text.split()))]
    if style == "tags":
        parts = [" ".join(tag.name.split()) for tag in record.tags]
        line = ", ".join(parts)
        if record.prose:
            losses.add("captions", record.id)
        if any("," in part for part in parts):
            losses.add("commas inside tags, which part them there", record.id)
        if any(tag.category is not None for tag in record.tags):
            losses.add("categories of tags", record.id)
        if any(tag.source is not None or tag.score is not None for tag in record.tags):
            losses.add("sources and scores of tags", record.id)
    else:
        line = next(iter(captions), "")
        if record.tags:
            losses.add("tags", record.id)
        if len(captions) > 1:
            losses.add("captions behind the first", record.id)
        if any(piece.source != HUMAN for piece in record.prose):
            losses.add("sources of captions", record.id)
    if record.info:
        losses.add("facts", record.id)
    if not line:
        losses.leave_out(f"records without {'tags' if style == 'tags' else 'captions'}", record.id)
        return {}
    return {".txt": line + "\n"}
