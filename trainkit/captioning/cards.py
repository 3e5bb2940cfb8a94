"""One caption as pages show it: its picture, its tags, what was asked, what came, what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PIL import Image

from captionkit import Record
from trainkit.additions.addition import Addition
from trainkit.captioning.judged import State, state_of
from trainkit.captioning.struck import Piece, struck
from trainkit.pages.thumbnail import thumbnail

_MOST_TAGS = 40


@dataclass(frozen=True, slots=True)
class Card:
    """What a page says of one caption."""

    id: str
    picture: str | None
    """A data address."""
    tags: tuple[str, ...]
    more_tags: int
    """Tags that are not shown."""
    state: State
    prompt_name: str
    prompt: str
    """As it was sent."""
    raw: str
    pieces: tuple[Piece, ...]
    """What the model said, with what cleaning cut and put in."""
    cleaned: str
    faults: tuple[str, ...]
    problem: str
    finish: str
    tokens_out: int
    seconds: float


def card_of(addition: Addition, record: Record | None, image: Image.Image | None) -> Card:
    """The card of an addition."""
    detail = addition.detail
    raw, cleaned = _text(detail, "raw"), _text(detail, "cleaned")
    names = [tag.name for tag in record.tags] if record is not None else []
    seconds = detail.get("seconds")
    tokens = detail.get("tokens_out")
    return Card(
        id=addition.id,
        picture=thumbnail(image) if image is not None else None,
        tags=tuple(names[:_MOST_TAGS]),
        more_tags=max(0, len(names) - _MOST_TAGS),
        state=state_of(addition),
        prompt_name=_text(detail, "prompt_name"),
        prompt=_text(detail, "prompt"),
        raw=raw,
        pieces=tuple(struck(raw, cleaned)),
        cleaned=cleaned,
        faults=tuple(map(str, detail.get("faults") or ())),
        problem=_text(detail, "problem"),
        finish=_text(detail, "finish"),
        tokens_out=tokens if isinstance(tokens, int) else 0,
        seconds=float(seconds) if isinstance(seconds, int | float) else 0.0,
    )


def _text(detail: Any, name: str) -> str:
    value = detail.get(name)
    return value if isinstance(value, str) else ""
