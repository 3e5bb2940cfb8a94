"""The frozen values that pass through a pipeline: `Record` in, `Caption` between policies, `Rendered` out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TypeVar

from captionkit.errors import DataError

T = TypeVar("T")


@lru_cache(maxsize=1 << 17)  # A large tag vocabulary; a miss costs 0.3 us, a hit 0.05 us.
def fold(name: str) -> str:
    """The spelling under which two tag names are the same: no case, `_` as a space, single spaces.

    >>> fold("Text_on  Shirt")
    'text on shirt'
    """
    return " ".join(name.casefold().replace("_", " ").split())


@dataclass(frozen=True, slots=True)
class Tag:
    """One thing that is known about a picture. Surrounding spaces are taken off the name.

    Raises `DataError` when nothing is left of the name.
    """

    name: str
    category: str | None = None
    """Such as "artist", "species", "general"; None when nobody said."""
    source: str | None = None
    """Who said so: "human", "classifier" ..."""
    score: float | None = None
    """How sure the source was, by its own measure."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise DataError(f"a tag's name must be text, got {self.name!r}")
        name = self.name.strip()
        if not name:
            raise DataError(f"a tag's name is empty: {self.name!r}", hint="leave the tag out instead")
        if name != self.name:
            object.__setattr__(self, "name", name)


@dataclass(frozen=True, slots=True)
class Prose:
    """One caption in whole sentences. An empty one is allowed here and left out of the `Caption`."""

    text: str
    source: str = "human"
    """Who wrote it: "human", "cogvlm" ..."""

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise DataError(f"a caption must be text, got {self.text!r}")


@dataclass(frozen=True, slots=True)
class Record:
    """What is known about one picture. `id` addresses its draws: the same id, the same draws.

    Raises `DataError` for an empty id, and for tags or captions that are not `Tag` and `Prose`.
    """

    id: str
    tags: tuple[Tag, ...] = ()
    prose: tuple[Prose, ...] = ()
    image: str | None = None
    """The picture's path as it was given, or relative to the data folder."""

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not self.id:
            raise DataError(f"a record's id must be text with at least one character, got {self.id!r}")
        object.__setattr__(self, "tags", _all_of(Tag, self.tags, f"record {self.id!r}: tags"))
        object.__setattr__(self, "prose", _all_of(Prose, self.prose, f"record {self.id!r}: prose"))


class Source(StrEnum):
    """Where the text of one caption comes from, and in which order."""

    TAGS = "tags"
    CAPTION = "caption"
    BOTH_TAGS_FIRST = "both tags first"
    BOTH_CAPTION_FIRST = "both caption first"
    EMPTY = "empty"


@dataclass(frozen=True, slots=True)
class Caption:
    """What passes from policy to policy: the tags and captions still in the text, in order."""

    tags: tuple[Tag, ...] = ()
    prose: tuple[Prose, ...] = ()
    source: Source = Source.BOTH_TAGS_FIRST
    """What was chosen; stays as chosen when later steps leave nothing of it."""
    important: frozenset[str] = frozenset()
    """Names of the tags that come first, are exempt from dropout unless a field says otherwise, and leave
    last."""

    @classmethod
    def of(cls, record: Record) -> Caption:
        """All of a record: a tag named twice counts once, captions without text are left out."""
        tags = unique_tags(record.tags)
        prose = tuple(piece for piece in record.prose if piece.text.strip()) if record.prose else ()
        return cls(tags, prose, _source_of(bool(tags), bool(prose)))

    def with_tags(self, tags: tuple[Tag, ...]) -> Caption:
        """The same caption with other tags."""
        return Caption(tags, self.prose, self.source, self.important)

    def with_prose(self, prose: tuple[Prose, ...]) -> Caption:
        """The same caption with other prose."""
        return Caption(self.tags, prose, self.source, self.important)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an explained caption: what stood before, what stands after, and why."""

    address: str
    """Where the step stands, such as `short prompt/then`; its draws hang on this address."""
    kind: str
    before: Caption
    after: Caption
    reason: str


@dataclass(frozen=True, slots=True)
class Rendered:
    """What one training step sees."""

    text: str
    may_flip: bool
    """Whether any draw may mirror this picture: a property of the record alone."""
    flip: bool
    """Whether this draw mirrors it."""
    source: str
    """One of `Source`, as a string."""
    trace: tuple[Step, ...] = ()
    """Every step with its reason; filled by `explain`, empty from `render`."""


def unique_tags(tags: tuple[Tag, ...]) -> tuple[Tag, ...]:
    """The tags without those whose name came before; the first of each name stays."""
    if len({tag.name for tag in tags}) == len(tags):
        return tags
    first: dict[str, Tag] = {}
    for tag in tags:
        first.setdefault(tag.name, tag)
    return tuple(first.values())


def parse_tags(
    text: str, *, separator: str = ",", category: str | None = None, source: str | None = None
) -> tuple[Tag, ...]:
    """The tags of one string; empty ones between two separators are passed over.

    >>> [tag.name for tag in parse_tags("red fox, , running")]
    ['red fox', 'running']
    """
    return tuple(Tag(name, category, source) for name in text.split(separator) if name.strip())


def _source_of(has_tags: bool, has_prose: bool) -> Source:
    if has_tags:
        return Source.BOTH_TAGS_FIRST if has_prose else Source.TAGS
    return Source.CAPTION if has_prose else Source.EMPTY


def _all_of(kind: type[T], values: Iterable[T], where: str) -> tuple[T, ...]:
    if isinstance(values, str):
        raise DataError(f"must be a list of {kind.__name__}, got {values!r}", where=where)
    checked = tuple(values)
    for index, value in enumerate(checked):
        if not isinstance(value, kind):
            raise DataError(
                f"must be a {kind.__name__}, got {value!r}",
                where=f"{where}[{index}]",
                hint=f"write {kind.__name__}({value!r})" if isinstance(value, str) else None,
            )
    return checked
