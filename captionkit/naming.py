"""New names for the tags of a caption."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from captionkit.record import Caption, Tag, unique_tags


def renamed(caption: Caption, names: Mapping[str, str]) -> Caption:
    """The caption with other names for some of its tags: present name to new, only those that change.

    Two tags that come to the same name become one. An important tag is important by its new name too.

    >>> fox = Caption((Tag("red_fox"), Tag("tree")), important=frozenset({"red_fox"}))
    >>> after = renamed(fox, {"red_fox": "vulpes"})
    >>> [tag.name for tag in after.tags], sorted(after.important)
    (['vulpes', 'tree'], ['vulpes'])
    """
    if not names:
        return caption
    tags = unique_tags(
        tuple([with_name(tag, names[tag.name]) if tag.name in names else tag for tag in caption.tags])
    )
    after = caption.with_tags(tags)
    if caption.important.isdisjoint(names):
        return after
    return after.with_important(frozenset([names.get(name, name) for name in caption.important]))


@lru_cache(maxsize=1 << 17)
def with_name(tag: Tag, name: str) -> Tag:
    """The same tag by another name. Tags are frozen and recur over all records, so one object serves them."""
    return Tag(name, tag.category, tag.source, tag.score)
