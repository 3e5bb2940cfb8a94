"""What a tagger can say about a picture."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Label:
    """One tag that a tagger knows."""

    name: str
    """As it is written into records."""
    category: str | None = None
    """The tag's category, such as "species"; None when nobody said."""
    group: str | None = None
    """The set of exclusive tags that it belongs to, such as "light" for one of day, night, dusk; None for a
    tag that stands by itself."""
