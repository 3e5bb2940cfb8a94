"""Tags in capitals, by chance."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import AfterValidator

from captionkit.curves import Rate, value_at
from captionkit.draws import Draws
from captionkit.emoticons import is_emoticon
from captionkit.naming import renamed
from captionkit.policy import Claim, Flag, Policy
from captionkit.record import Caption, Prose

Style = Literal["first", "title", "upper", "lower"]
"""Red fox, Red Fox, RED FOX, red fox."""

_WORD = re.compile(r"[^\s_/-]+")
_INITIAL = re.compile(r"[\W_]*[^\W\d_]")


def _some(styles: tuple[Style, ...]) -> tuple[Style, ...]:
    if not styles:
        raise ValueError("no style; give at least one of first, title, upper and lower")
    return styles


class Capitals(Policy):
    """Write the tags of a caption in another case, with probability `p`; one style is drawn for all of them.

    Only the case changes, so patterns and implications, to which case does not count, still know the tags.
    Emoticons, digits and scripts without case stay as they are.
    """

    kind: Literal["capitals"] = "capitals"
    p: Rate = 0.1
    """How often the case changes."""
    styles: Annotated[tuple[Style, ...], AfterValidator(_some)] = ("first", "title", "upper")
    """The styles to draw from, equally likely; one that stands here twice is drawn twice as often."""
    prose: Flag = False
    """Whether captions are written so too."""

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption in the style that was drawn, or as it was."""
        if not draws.chance(value_at(self.p, draws)):
            return caption
        style = draws.child("style").choice(self.styles)
        if draws.trace is not None:
            draws.note(f"style: {style}")
        if self.prose and caption.prose:
            caption = caption.with_prose(
                tuple([Prose(restyle(piece.text, style), piece.source) for piece in caption.prose])
            )
        new = [(tag.name, _tag_name(tag.name, style)) for tag in caption.tags]
        return renamed(caption, {name: other for name, other in new if other != name})

    def claims(self) -> frozenset[Claim]:
        """With one style and every time, a second time changes nothing more."""
        settled = self.p == 1.0 and len(self.styles) == 1
        return frozenset({"off at zero", "idempotent"} if settled else {"off at zero"})


@lru_cache(maxsize=1 << 17)
def _tag_name(name: str, style: Style) -> str:
    return name if is_emoticon(name) else restyle(name, style)


def restyle(text: str, style: Style) -> str:
    """A text in another case. What would not fold to the same again stays, such as a Turkish dotless i.

    >>> [restyle("don't feed_foxes (artist)", style) for style in ("first", "title", "upper")]
    ["Don't feed_foxes (artist)", "Don't Feed_Foxes (Artist)", "DON'T FEED_FOXES (ARTIST)"]
    """
    match style:
        case "first":
            return _with_initial(text)
        case "title":
            return _WORD.sub(lambda word: _with_initial(word[0]), text)
        case "upper":
            return _WORD.sub(lambda word: _if_same(word[0], word[0].upper()), text)
        case "lower":
            return _WORD.sub(lambda word: _if_same(word[0], word[0].lower()), text)


def _with_initial(text: str) -> str:
    """The text with its first letter as a capital, if only marks stand before it: not `1girl`."""
    found = _INITIAL.match(text)
    if found is None:
        return text
    at = found.end() - 1
    return text[:at] + _if_same(text[at], text[at].title()) + text[at + 1 :]


def _if_same(old: str, new: str) -> str:
    return new if new.casefold() == old.casefold() else old
