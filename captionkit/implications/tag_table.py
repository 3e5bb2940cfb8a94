"""The list of tags of e621 or Danbooru: how many posts a tag has, and its category."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from captionkit.errors import ImplicationsError
from captionkit.implications.exports import export_rows
from captionkit.problems import did_you_mean
from captionkit.record import fold

Site = Literal["e621", "danbooru"]

CATEGORIES: dict[Site, dict[int, str]] = {
    "e621": {
        0: "general",
        1: "artist",
        2: "contributor",
        3: "copyright",
        4: "character",
        5: "species",
        6: "invalid",
        7: "meta",
        8: "lore",
    },
    "danbooru": {0: "general", 1: "artist", 3: "copyright", 4: "character", 5: "meta"},
}
"""What the category numbers of each site stand for; they differ in 5."""

TAG_COLUMNS = ("name", "category", "post_count")


@dataclass(frozen=True, slots=True)
class KnownTag:
    """What a list of tags says about one of them."""

    category: int
    posts: int


@dataclass(frozen=True, slots=True)
class TagTable:
    """A list of tags, by folded name."""

    tags: dict[str, KnownTag]
    numbers: frozenset[int]
    """All category numbers of the file."""
    path: Path

    def category_numbers(self, names: tuple[str, ...], site: Site | None) -> frozenset[int]:
        """The numbers of these categories.

        Raises `ImplicationsError` for an unknown category, and where the file does not tell which site's
        numbers it has.
        """
        known = CATEGORIES[site or self._site()]
        by_name = {name: number for number, name in known.items()}
        if unknown := [name for name in names if name not in by_name]:
            raise ImplicationsError(f"unknown category {unknown[0]!r}{did_you_mean(unknown[0], by_name)}")
        if strange := sorted(self.numbers - known.keys()):
            raise ImplicationsError(
                f"category {strange[0]} is none of {site}'s: {', '.join(map(str, known))}",
                where=str(self.path),
                hint="is `site` right?",
            )
        return frozenset(by_name[name] for name in names)

    def _site(self) -> Site:
        """The site, as far as the numbers tell."""
        if 5 in self.numbers and not self.numbers & {2, 6, 7, 8}:
            raise ImplicationsError(
                "category 5 is species on e621 and meta on Danbooru, and no other number tells which it is",
                where=str(self.path),
                hint='say so: site = "e621" or site = "danbooru"',
            )
        return "e621"  # With a number that Danbooru lacks, or without the one that differs.


def read_tag_table(path: Path, wanted: Container[str]) -> TagTable:
    """What the file says about the tags whose folded names are wanted.

    The columns are name, category and post_count: with a first line that names them, or in this order
    without one. Where two spellings fold to one name, the one with more posts counts.
    """
    tags: dict[str, KnownTag] = {}
    numbers: set[int] = set()
    for place, (name, category, posts) in export_rows(path, TAG_COLUMNS, no_header=True):
        try:
            known = KnownTag(_whole(category), _whole(posts))
            key = fold(name)
        except (TypeError, ValueError, AttributeError):
            raise ImplicationsError(
                f"a tag has a name and two whole numbers (category, posts), got {name!r}, {category!r}, "
                f"{posts!r}",
                where=f"{path}{place}",
            ) from None
        numbers.add(known.category)
        if key in wanted and (key not in tags or tags[key].posts < known.posts):
            tags[key] = known
    return TagTable(tags, frozenset(numbers), path)


def _whole(value: Any) -> int:
    """A whole number, also as text. `ValueError` for true, false and fractions."""
    if isinstance(value, bool | float):
        raise ValueError
    return int(value)
