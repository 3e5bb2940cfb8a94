"""Whether a caption denies what the tags say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Denial:
    """A tag that a caption denies."""

    tag: str
    """The tag as it was given."""
    how: Literal["negated", "count", "exclusive", "colour"]
    """In which way: "there is no dog", "two girls" against `solo`, "at night" against `day`, "red car" against
    `blue_car`."""
    words: str
    """The words of the caption that deny it."""


def denied_tags(
    text: str, tags: Iterable[str], *, exclusive: Sequence[Iterable[str]] = ()
) -> tuple[Denial, ...]:
    """The tags that a caption denies, in their order, each once.

    ``exclusive`` are groups of tags of which a picture has at most one, such as `("day", "night", "dusk")`.
    """
    raise NotImplementedError
