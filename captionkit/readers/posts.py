"""Posts of e621 and Danbooru: as their interfaces give them, and as e621's daily export has them."""

from __future__ import annotations

import gzip
import json
import math
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeAlias

from captionkit.errors import DataError
from captionkit.readers.entries import EntryReader, entry_blocks, line_blocks, total_bytes
from captionkit.readers.fields import Fields, shown
from captionkit.readers.folder import PICTURE_SUFFIXES
from captionkit.readers.json_stream import Layout
from captionkit.readers.posts_csv import row_blocks
from captionkit.readers.source import Block, Report, Source
from captionkit.readers.text import UTF8_BOM, unreadable
from captionkit.record import Fact, Record, Tag

Names: TypeAlias = Literal["id", "md5"]

TAG_STRING = "tag_string"
_PREFIX = f"{TAG_STRING}_"
ARRAYS = ("posts", "post")
"""The keys under which interfaces give several posts."""

_LAYOUT = Layout(keyed=False, under=ARRAYS)
_LINE = 1 << 20
"""A first line of more bytes is no post."""

# Where each fact stands, in the order in which they are looked for: e621, its second interface, Danbooru and
# the export.
_FACTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "rating": (("rating",),),
    "score": (("score", "total"), ("stats", "score", "total"), ("score",)),
    "score.up": (("score", "up"), ("stats", "score", "up"), ("up_score",)),
    "score.down": (("score", "down"), ("stats", "score", "down"), ("down_score",)),
    "score.total": (("score", "total"), ("stats", "score", "total")),
    "fav_count": (("fav_count",), ("stats", "fav_count")),
    "id": (("id",),),
    "md5": (("file", "md5"), ("files", "meta", "md5"), ("md5",)),
    "created_at": (("created_at",),),
    "width": (("file", "width"), ("files", "original", "width"), ("image_width",), ("width",)),
    "height": (("file", "height"), ("files", "original", "height"), ("image_height",), ("height",)),
}
_EXT = (("file", "ext"), ("files", "meta", "ext"), ("file_ext",), ("ext",))
_DELETED = (("flags", "deleted"), ("is_deleted",))


@dataclass(frozen=True)
class PostsSource(Source):
    """The posts of a file, `.gz` unpacked on the way:

        {"posts": [...]}, a bare array, or a single post, as the interfaces of e621 and Danbooru give them;
        JSON Lines of posts;
        `posts-2025-06-30.csv`, e621's daily export.

    Tags keep their categories: those of e621 by the keys under "tags", those of Danbooru by
    "tag_string_artist" and its like. Where there is "tag_string" alone, as in the export, nobody says them.

    The record's id is the post's id. Its image is `<id>.<ext>` or, with `names="md5"`, `<md5>.<ext>`, as
    downloaders name files, relative to `root`. Facts are `rating`, `score`, `score.up`, `score.down`,
    `fav_count`, `id`, `md5`, `created_at`, `width` and `height`; in e621's JSON `score.total` too, which is
    `score`. The description, comments and sources of a post are nobody's caption; they are passed over.

    Reported and skipped are deleted posts, whose pictures the site gives no more (`deleted=True` reads them
    too: they may have been fetched before), posts that are no picture, such as webm, posts without tags, and
    with `names="md5"` those whose md5 is kept back. A picture that is only hidden from those who are not
    logged in counts as there.
    """

    path: str | os.PathLike[str]
    names: Names = "id"
    deleted: bool = False
    images: str | os.PathLike[str] | None = None
    """The folder of the pictures; None: the folder of the file."""

    @property
    def unit(self) -> str:
        """What amounts are counted in."""
        return "B"

    @property
    def root(self) -> Path:
        """The folder at which relative paths of pictures begin."""
        return Path(self.path).parent if self.images is None else Path(self.images)

    def total(self) -> int | None:
        """The amount of everything; None when only reading tells."""
        return total_bytes(Path(self.path))

    def blocks(self, report: Report) -> Iterator[Block]:
        """The pieces, in order."""
        file, reader = Path(self.path), Post(self.names, self.deleted)
        suffixes = {suffix.lower() for suffix in file.suffixes[-2:]}
        if ".csv" in suffixes:
            return row_blocks(file, reader, ("id", TAG_STRING))
        if suffixes & {".jsonl", ".ndjson"} or _is_lines(file):
            return line_blocks(file, reader)
        return entry_blocks(file, _LAYOUT, reader)


@dataclass(frozen=True)
class Post(EntryReader):
    """How a post becomes a record."""

    names: Names = "id"
    deleted: bool = False

    def record(self, key: str | int, fields: Fields, where: str) -> Record:
        if isinstance(alone := fields.get("post"), dict):
            fields = alone
        facts = {
            name: fact for name, paths in _FACTS.items() if (fact := _fact(fields, paths, where)) is not None
        }
        post_id = facts.get("id")
        if isinstance(post_id, bool) or not isinstance(post_id, int | str) or post_id == "":
            raise DataError(f"a post needs an id, got {shown(post_id)}", where=f"{where}: id")
        where = f"{where}: post {post_id}"
        if not self.deleted and _fact(fields, _DELETED, where) in (True, "t", "true"):
            raise DataError("is deleted, its picture is not to be had", where=where)
        tags = _tags(fields, where)
        if not tags:
            raise DataError("has no tags", where=where)
        return Record(str(post_id), tags, (), self._image(fields, facts, where), facts)

    def _image(self, fields: Fields, facts: dict[str, Fact], where: str) -> str | None:
        """The name of the picture's file; None where nobody says what kind of file it is."""
        ext = _fact(fields, _EXT, where)
        if ext is None:
            return None
        suffix = f".{ext}".lower()
        if suffix not in PICTURE_SUFFIXES:
            raise DataError(f"is no picture that is read, but {shown(ext)}", where=where)
        name = facts.get(self.names)
        if name is None:
            raise DataError(
                "its md5 is kept back", where=where, hint="some posts show it to members only; or name by id"
            )
        if not str(name).isalnum():
            raise DataError(f"{self.names} must be letters and digits, got {shown(name)}", where=where)
        return f"{name}.{ext}"


def _fact(fields: Fields, paths: tuple[tuple[str, ...], ...], where: str) -> Fact | None:
    """The first of these that is there. Raises `DataError` for what is no fact."""
    for path in paths:
        value: object = fields.get(path[0])
        for key in path[1:]:
            value = value.get(key) if isinstance(value, dict) else None
        # "score" is a number here and a table of numbers there.
        if value is None or (isinstance(value, dict) and path == ("score",)):
            continue
        if not isinstance(value, Fact) or (isinstance(value, float) and not math.isfinite(value)):
            raise DataError(f"got {shown(value)}, no fact", where=f"{where}: {'.'.join(path)}")
        return value
    return None


def _tags(fields: Fields, where: str) -> tuple[Tag, ...]:
    """The tags by category where that is known: under "tags", else under "tag_string_artist" and its like."""
    by_category = fields.get("tags")
    if by_category is None:
        by_category = {key[len(_PREFIX) :]: names for key, names in fields.items() if key.startswith(_PREFIX)}
        if not any(by_category.values()):
            by_category = fields.get(TAG_STRING)
    groups = by_category.items() if isinstance(by_category, dict) else [(None, by_category)]
    return tuple([tag for category, names in groups for tag in _named(names, category, where)])


def _named(names: object, category: str | None, where: str) -> list[Tag]:
    """The tags of a list of names, or of a text with spaces between them."""
    if names is None:
        return []
    known = _known(category)
    try:
        if isinstance(names, str):
            return [known[name] for name in names.split()]
        if isinstance(names, list):
            return [known[name] for name in names]
    except (TypeError, DataError):  # A name that is none: a list, a number, blank.
        pass
    place = "tags" if category is None else f"tags.{category}"
    raise DataError(f"must be a list of names, got {shown(names)}", where=f"{where}: {place}")


class _Known(dict[str, Tag]):
    """The tag of each name in one category; tags are frozen and recur, so that one object serves all posts,
    up to a bound."""

    def __init__(self, category: str | None) -> None:
        super().__init__()
        self._category = category

    def __missing__(self, name: str) -> Tag:
        if len(self) >= 1 << 17:
            self.clear()
        tag = self[name] = Tag(name, self._category)
        return tag


@lru_cache(maxsize=64)
def _known(category: str | None) -> _Known:
    return _Known(category)


def _is_lines(file: Path) -> bool:
    """Whether the first line is a post by itself, so that more may follow on lines of their own."""
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as opened:
            first = opened.readline(_LINE).removeprefix(UTF8_BOM)
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(file, error) from error
    try:
        value = json.loads(first) if first.lstrip().startswith(b"{") else None
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and not any(isinstance(value.get(key), list) for key in ARRAYS)
