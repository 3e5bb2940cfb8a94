"""Give tags the name they should have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ValidationInfo

from captionkit.errors import CaptionkitError
from captionkit.implications import read_aliases, resolve_aliases
from captionkit.kinds import resolve_path
from captionkit.policy import Claim, Rule
from captionkit.record import Caption, Tag, fold, unique_tags


def _from_recipe(value: Any, info: ValidationInfo) -> Any:
    """A table of names, or the active rows of an export, with chains followed to their end."""
    if isinstance(value, str | Path):
        return read_aliases(resolve_path(value, info))
    if not isinstance(value, Mapping):
        return value
    for old, new in value.items():
        if not isinstance(old, str) or not isinstance(new, str):
            raise CaptionkitError(f"a name must be text: {old!r} to {new!r}")
    return resolve_aliases(value.items())


class RenameTags(Rule):
    """Give a tag another name: an alias its proper one, a tag its spelling.

    Two tags that come to the same name become one. Case does not count in the old names, `_` and a space are
    alike. It stands before implications are judged, since those know the proper names only.
    """

    kind: Literal["rename_tags"] = "rename_tags"
    aliases: Annotated[
        dict[str, str], BeforeValidator(_from_recipe, json_schema_input_type=dict[str, str] | str)
    ]
    """Old name to new: a table, or the path of an export (a CSV with e621's columns, Danbooru's JSON lines);
    chains are followed to their end."""

    def rewrite(self, caption: Caption) -> Caption:
        """The caption with the new names."""
        aliases = self.aliases
        if not any(fold(tag.name) in aliases for tag in caption.tags):
            return caption
        # An export spells with `_` what the caption may spell with a space: the caption's spelling counts.
        here = {fold(tag.name): tag.name for tag in caption.tags if fold(tag.name) not in aliases}
        names = {tag.name: tag.name for tag in caption.tags}
        for name in names:
            if (new := aliases.get(fold(name))) is not None:
                names[name] = here.setdefault(fold(new), new)
        tags = tuple(
            tag if tag.name == names[tag.name] else Tag(names[tag.name], tag.category, tag.source, tag.score)
            for tag in caption.tags
        )
        important = frozenset(names.get(name, name) for name in caption.important)
        return replace(caption, tags=unique_tags(tags), important=important)

    def claims(self) -> frozenset[Claim]:
        """A second time there is nothing left to rename."""
        return frozenset({"idempotent"})
