"""A rendering put into somebody's sample: its text, whether the picture is mirrored, and the picture so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from captionkit.adapters.pictures import mirrored
from captionkit.errors import DataError
from captionkit.record import Rendered

Place: TypeAlias = str | int
"""Where something stands in a sample: a key of a dict, a position in a tuple."""


@dataclass(frozen=True, slots=True)
class Captioned:
    """How a sample gets its text.

    - a dict: a copy with `text` and `flip` under their keys
    - a tuple or list: a tuple with text and flip behind its entries
    - anything else is the picture: (picture, text, flip)

    The input is left alone.
    """

    text: str = "text"
    """The key of the text, in a dict."""
    flip: str = "flip"
    """The key of whether the picture is mirrored, in a dict."""
    pictures: tuple[Place, ...] | None = None
    """What is mirrored when the draw says so: the picture and all that must turn with it, such as a mask.
    None: "image" in a dict, else the first entry. (): nothing is, and `flip` says what is left to do."""
    mirror: Callable[[Any], Any] = mirrored
    """What mirrors one picture."""

    def add(self, sample: Any, rendered: Rendered, where: str) -> Any:
        """The sample with its rendering. Raises `DataError`, naming `where`, when a picture is missing."""
        if isinstance(sample, Mapping):
            fields = dict(sample)
            places: tuple[Place, ...] = ("image",) if self.pictures is None else self.pictures
            for place in places:
                if place not in fields:
                    raise _missing(place, list(fields), where)
                if rendered.flip:
                    fields[place] = self.mirror(fields[place])
            return fields | {self.text: rendered.text, self.flip: rendered.flip}
        entries = list(sample) if isinstance(sample, tuple | list) else [sample]
        for place in (0,) if self.pictures is None else self.pictures:
            if not isinstance(place, int) or not -len(entries) <= place < len(entries):
                raise _missing(place, list(range(len(entries))), where)
            if rendered.flip:
                entries[place] = self.mirror(entries[place])
        return (*entries, rendered.text, rendered.flip)


def _missing(place: Place, there: list[Any], where: str) -> DataError:
    return DataError(
        f"there is no picture at {place!r}; the sample has {', '.join(map(repr, there)) or 'nothing'}",
        where=where,
        hint="name the pictures, such as pictures=('pixel_values',), or pictures=() to mirror them yourself",
    )
