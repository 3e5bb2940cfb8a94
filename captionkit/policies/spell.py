"""Tags with underscores or with spaces, by chance."""

from __future__ import annotations

from typing import Literal

from captionkit.curves import Rate, value_at
from captionkit.draws import Draws
from captionkit.emoticons import is_emoticon
from captionkit.naming import renamed
from captionkit.policy import Policy
from captionkit.record import Caption


class SpellTags(Policy):
    """Write all tags of a caption with underscores, with probability `p`, and else all with spaces.

    Emoticons such as `^_^` stay as they are. It goes with `underscores = "keep"` in `[text]`: with "space",
    the default, the renderer writes every underscore as a space again.
    """

    kind: Literal["spell_tags"] = "spell_tags"
    p: Rate = 0.5
    """How often a caption's tags are written with underscores; 0 means always spaces."""

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption with its tags in one spelling."""
        if not caption.tags:
            return caption
        old, new = (" ", "_") if draws.chance(value_at(self.p, draws)) else ("_", " ")
        names = {
            tag.name: tag.name.replace(old, new).strip() or tag.name  # A name may be nothing but `__`.
            for tag in caption.tags
            if old in tag.name and not is_emoticon(tag.name)
        }
        return renamed(caption, names)
