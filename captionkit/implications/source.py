"""Where implications come from, as data: an export, what is left out of it, and what is added."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, model_validator

from captionkit.kinds import resolve_path
from captionkit.patterns import PatternList
from captionkit.policy import Config


def _absolute(value: object, info: ValidationInfo) -> object:
    return str(resolve_path(value, info)) if isinstance(value, str | Path) else value


RecipePath = Annotated[Path, BeforeValidator(_absolute)]
"""A path in a recipe; a relative one starts at the recipe's folder."""

Edges = dict[str, tuple[str, ...]]
"""Which tag implies which, directly."""


class ImplicationSource(Config):
    """An export of implications, and what is made of it.

    In this order: aliases are resolved, what is to be left out is left out (`leave_out`, `min_posts`,
    `categories`, `remove`), one's own implications are added; those are not judged by the filters.
    """

    file: RecipePath
    """The implications: a CSV with e621's columns, Danbooru's JSON lines, or a JSON array; also as `.gz`."""
    aliases: RecipePath | None = None
    """The aliases, in the same forms; a tag that is an alias is taken for what it stands for."""
    tags: RecipePath | None = None
    """The list of tags with category and post count, for the two filters."""
    min_posts: Annotated[int, Field(strict=True, ge=0)] = 0
    """How many posts both tags of an implication must have at least."""
    categories: tuple[str, ...] = ()
    """The categories that both tags must be of, such as general and species; none given: any."""
    site: Literal["e621", "danbooru"] | None = None
    """Whose category numbers `tags` has; only needed where the numbers do not tell."""
    leave_out: PatternList = ()
    """Tags that take no part, such as avoid_posting: an implication of or by one of them is left out."""
    remove: Edges = Field(default_factory=dict)
    """Implications to leave out, such as `{ "fox" = ["canine"] }`."""
    add: Edges = Field(default_factory=dict)
    """Implications of your own."""

    @model_validator(mode="after")
    def _filters_have_tags(self) -> ImplicationSource:
        if self.tags is None and (self.min_posts or self.categories):
            asks = "min_posts" if self.min_posts else "categories"
            raise ValueError(f"{asks} needs `tags`, the list of tags with category and post count")
        return self

    def is_plain(self) -> bool:
        """Whether the file is taken as it is."""
        return self == ImplicationSource(file=self.file)
