"""Give tags the name they should have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ValidationInfo

from captionkit.errors import CaptionkitError
from captionkit.implications import read_pairs
from captionkit.kinds import resolve_path
from captionkit.policy import Claim, Rule
from captionkit.record import Caption, Tag, fold, unique_tags


def _read_aliases(value: Any, info: ValidationInfo) -> Any:
    """A table of names, or the active rows of a CSV, with chains followed to their end."""
    if isinstance(value, str | Path):
        pairs: Iterable[tuple[Any, Any]] = read_pairs(resolve_path(value, info))
    elif isinstance(value, Mapping):
        pairs = value.items()
    else:
        return value
    direct: dict[str, Any] = {}
    for old, new in pairs:
        if not isinstance(old, str) or not fold(old) or (isinstance(new, str) and not fold(new)):
            raise CaptionkitError(f"a name is empty: {old!r} to {new!r}")
        if direct.setdefault(fold(old), new) != new:
            raise CaptionkitError(f"{old!r} has two new names: {direct[fold(old)]!r} and {new!r}")
    return {old: _follow(old, direct) for old in direct}


def _follow(old: str, direct: Mapping[str, Any]) -> Any:
    """Where a chain of aliases ends."""
    seen = [old]
    name = direct[old]
    while isinstance(name, str) and (key := fold(name)) in direct and key != seen[-1]:
        if key in seen:
            raise CaptionkitError(f"aliases run in a cycle: {' -> '.join(map(repr, [*seen, key]))}")
        seen.append(key)
        name = direct[key]
    return name


class RenameTags(Rule):
    """Give a tag another name: an alias its proper one, a tag its spelling.

    Two tags that come to the same name become one. Case does not count in the old names, `_` and a space are
    alike. It stands before implications are judged, since those know the proper names only.
    """

    kind: Literal["rename_tags"] = "rename_tags"
    aliases: Annotated[dict[str, str], BeforeValidator(_read_aliases)]
    """Old name to new: a table, or the path of a CSV with e621's columns; chains are followed to their
    end."""

    def rewrite(self, caption: Caption) -> Caption:
        """The caption with the new names."""
        aliases = self.aliases
        if not any(fold(tag.name) in aliases for tag in caption.tags):
            return caption
        names = {tag.name: aliases.get(fold(tag.name), tag.name) for tag in caption.tags}
        tags = tuple(
            tag if tag.name == names[tag.name] else Tag(names[tag.name], tag.category, tag.source, tag.score)
            for tag in caption.tags
        )
        important = frozenset(names.get(name, name) for name in caption.important)
        return Caption(unique_tags(tags), caption.prose, caption.source, important)

    def claims(self) -> frozenset[Claim]:
        """A second time there is nothing left to rename."""
        return frozenset({"idempotent"})
