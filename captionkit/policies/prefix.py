"""A word before the tags of a category, by chance."""

from __future__ import annotations

from functools import lru_cache
from itertools import compress
from typing import Annotated, Literal

from pydantic import AfterValidator

from captionkit.curves import Rate, value_at
from captionkit.draws import Draws
from captionkit.emoticons import is_emoticon
from captionkit.naming import renamed
from captionkit.policy import Claim, Policy
from captionkit.record import Caption, fold


def _some(prefixes: dict[str, str]) -> dict[str, str]:
    if not prefixes:
        raise ValueError('no prefix; give at least one, such as {artist = "by "}')
    for category, prefix in prefixes.items():
        if not prefix.strip():
            raise ValueError(f"the prefix of {category!r} is empty: {prefix!r}")
    return {category: prefix.lstrip() for category, prefix in prefixes.items()}


class PrefixTags(Policy):
    """Write a prefix before each tag of a category, with probability `rate`: `by someone`, `artist:someone`.

    Every tag has a coin of its own; for all or none of a caption, put it in `maybe` with `rate = 1`. A name
    that begins so already stays, and so does one that would become another tag's. An important tag stays
    important. It stands behind implications, patterns and marks, which know the bare names only.
    """

    kind: Literal["prefix_tags"] = "prefix_tags"
    prefixes: Annotated[dict[str, str], AfterValidator(_some)]
    """The prefix of each category, its space included: `{artist = "by ", character = "character:"}`."""
    rate: Rate = 0.5
    """The share of those tags that get it."""

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption with the prefixes that were drawn."""
        rate = value_at(self.rate, draws)
        if rate == 0.0 or not caption.tags:
            return caption
        coins, prefixes = draws.coins(rate, len(caption.tags)), self.prefixes
        hit = [tag for tag in compress(caption.tags, coins) if tag.category in prefixes]
        if not hit:
            return caption
        here = {fold(tag.name) for tag in caption.tags}
        new = [(tag.name, _prefixed(tag.name, prefixes[tag.category or ""])) for tag in hit]
        # A name that stays is there already, and so it is passed over.
        return renamed(caption, {name: other for name, other in new if fold(other) not in here})

    def claims(self) -> frozenset[Claim]:
        """Nothing to claim but that it can be turned off."""
        return frozenset({"off at zero"})


@lru_cache(maxsize=1 << 17)
def _prefixed(name: str, prefix: str) -> str:
    """The name with the prefix, or as it is."""
    return name if is_emoticon(name) or _spelled(name).startswith(_spelled(prefix)) else prefix + name


def _spelled(text: str) -> str:
    """Without case, `_` as a space; a space at the end stays, so that `bypass` does not begin with `by `."""
    return text.casefold().replace("_", " ")
