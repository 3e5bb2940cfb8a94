"""Several tags that travel as one."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import StringConstraints

from captionkit.policy import Claim, Rule
from captionkit.record import Caption, Tag, unique_tags


class SplitTags(Rule):
    """Make of a glued tag, such as `red hat;;;red coat`, the tags that it holds, in its place.

    It stands behind the dropouts and shuffles, through which the glued tag went as one. Up to here patterns
    see the whole name, and implications none of it: protect such a tag by `**red hat**`. Its parts have its
    category, and are important where it was.
    """

    kind: Literal["split_tags"] = "split_tags"
    separator: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)] = ";;;"
    """What glues them."""

    def rewrite(self, caption: Caption) -> Caption:
        """The caption with all glued tags in parts."""
        separator = self.separator
        if not any(separator in tag.name for tag in caption.tags):
            return caption
        tags: list[Tag] = []
        important = set(caption.important)
        for tag in caption.tags:
            if separator not in tag.name:
                tags.append(tag)
                continue
            parts = [replace(tag, name=part) for part in tag.name.split(separator) if part.strip()]
            if tag.name in caption.important:
                important.update(part.name for part in parts)
            tags += parts
        return replace(caption, tags=unique_tags(tuple(tags)), important=frozenset(important))

    def claims(self) -> frozenset[Claim]:
        """A second time there is nothing left to split."""
        return frozenset({"idempotent"})
