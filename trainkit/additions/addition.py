"""What somebody adds to what is known of one picture, and the JSON line that it is on disk."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from captionkit import Prose, Tag
from captionkit.readers.separators import SEPARATOR
from trainkit.errors import TrainkitError

PERSON = "human"
"""The name of the addition that holds a person's corrections."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


@dataclass(frozen=True, slots=True)
class Addition:
    """Tags and captions for one picture. Their source is the name of the addition that this is part of."""

    id: str
    """Of the picture's record."""
    digest: str
    """Of the picture they were made from (`ManifestPictures.digest`); empty where nobody knows."""
    tags: tuple[Tag, ...] = ()
    prose: tuple[Prose, ...] = ()
    denied: tuple[str, ...] = ()
    """Names of tags that a person says the picture has not. Only the addition `PERSON` has them."""
    detail: Mapping[str, Any] = field(default_factory=dict)
    """What else is to be kept, such as the raw answer of a model; values are what JSON knows."""

    def line(self) -> str:
        """This as one line of JSON, with its end; what is empty is left out.

        The id is first, so that lines can be found by it without reading them whole. Raises TrainkitError for
        a tag that cannot be kept.
        """
        told: dict[str, Any] = {"id": self.id, "digest": self.digest}
        if self.tags:
            told["tags"] = [_tag_object(tag) for tag in self.tags]
        if self.prose:
            told["prose"] = [{"text": piece.text, "source": piece.source} for piece in self.prose]
        if self.denied:
            told["denied"] = list(self.denied)
        if self.detail:
            told["detail"] = self.detail
        return json.dumps(told, allow_nan=False) + "\n"

    @classmethod
    def of_line(cls, text: str | bytes, where: str) -> Addition:
        """The way back. Raises TrainkitError, which names the place ``where``, for a line that is none."""
        try:
            told = json.loads(text)
            tags = tuple(_tag(entry) for entry in told.get("tags", ()))
            prose = tuple(Prose(_text(p["text"]), _text(p["source"])) for p in told.get("prose", ()))
            denied = tuple(_text(name) for name in told.get("denied", ()))
            detail = told.get("detail", {})
            if not isinstance(detail, dict):
                raise TypeError("detail is no object")
            return cls(_text(told["id"]), _text(told["digest"]), tags, prose, denied, detail)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise TrainkitError(
                f"{where}: is no addition: {type(error).__name__}: {error}; each line is an object with id, "
                'digest and perhaps tags [{"name", "source", "score"}], prose [{"text", "source"}], detail'
            ) from error


def check_name(name: str, *, person: bool = False) -> None:
    """Raise TrainkitError for what cannot name an addition: a file and the source of its tags are called so.

    ``person`` allows `PERSON`, which is kept for corrections.
    """
    if not _NAME.fullmatch(name):
        raise TrainkitError(
            f"name is {name!r}: must be 1 to 80 letters, digits, '.', '_' or '-', the first a letter or a "
            'digit, such as "wd-eva02" or "cogvlm"'
        )
    if name == PERSON and not person:
        raise TrainkitError(
            f'name is {name!r}, which is kept for what a person says; use the model\'s, such as "wd-eva02"'
        )


def can_be_kept(tag: str) -> bool:
    """Whether an addition can have a tag of this name."""
    return SEPARATOR not in tag


def _tag_object(tag: Tag) -> dict[str, Any]:
    if not can_be_kept(tag.name):
        raise TrainkitError(f"tag {tag.name!r}: {SEPARATOR} parts the tags of a record and can be in none")
    score = None if tag.score is None else float(tag.score)  # Perhaps numpy's, which is no JSON.
    told = {"name": tag.name, "category": tag.category, "source": tag.source, "score": score}
    return {key: value for key, value in told.items() if value is not None}


def _tag(entry: Any) -> Tag:
    if unknown := sorted(set(entry) - {"name", "category", "source", "score"}):
        raise ValueError(f"a tag has {unknown[0]!r}")
    if SEPARATOR in entry["name"]:
        raise ValueError(f"the tag {entry['name']!r} holds {SEPARATOR}")
    score = entry.get("score")
    if score is not None and (isinstance(score, bool) or not math.isfinite(score)):
        raise ValueError(f"a tag's score is {score!r}")
    category, source = (entry.get(key) for key in ("category", "source"))
    return Tag(
        _text(entry["name"]),
        None if category is None else _text(category),
        None if source is None else _text(source),
        None if score is None else float(score),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
