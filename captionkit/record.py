"""The frozen values that pass through a pipeline: `Record` in, `Caption` between policies, `Rendered` out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TypeAlias, TypeVar

from captionkit.errors import DataError
from captionkit.wildcards import split_tags

T = TypeVar("T")

Fact: TypeAlias = str | int | float | bool
"""What a picture's facts may be: text, a number, true or false."""

Facts: TypeAlias = tuple[tuple[str, Fact], ...]
"""Facts by name, sorted."""


def fold(name: str) -> str:
    """The spelling under which two tag names are the same: no case, `_` as a space, single spaces.

    >>> fold("Text_on  Shirt")
    'text on shirt'
    """
    return _folded[name]


def folded_names(tags: Iterable[Tag]) -> list[str]:
    """The folded name of each tag, in their order."""
    folded = _folded
    return [folded[tag.name] for tag in tags]


class _Folded(dict[str, str]):
    """The folded spelling of each name; names recur over all records, so it is remembered, up to a bound."""

    def __missing__(self, name: str) -> str:
        if len(self) >= 1 << 17:
            self.clear()
        folded = self[name] = " ".join(name.casefold().replace("_", " ").split())
        return folded


_folded = _Folded()


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
        # No number compares with NaN, so that every chance made of one would be taken.
        if self.score is not None and not (isinstance(self.score, int | float) and self.score == self.score):
            raise DataError(
                f"tag {name!r}: a score must be a number, got {self.score!r}", hint="None if unknown"
            )


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

    Raises `DataError` for an empty id, for tags or captions that are not `Tag` and `Prose`, and for facts
    that are not text, numbers, true or false.
    """

    id: str
    tags: tuple[Tag, ...] = ()
    prose: tuple[Prose, ...] = ()
    image: str | None = None
    """The picture's path as it was given, or relative to the data folder."""
    info: Facts | Mapping[str, Fact] = ()
    """Facts by name, such as its rating, score or year. A mapping is kept as sorted pairs."""

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not self.id:
            raise DataError(f"a record's id must be text with at least one character, got {self.id!r}")
        object.__setattr__(self, "tags", _all_of(Tag, self.tags, f"record {self.id!r}: tags"))
        object.__setattr__(self, "prose", _all_of(Prose, self.prose, f"record {self.id!r}: prose"))
        if self.info != ():
            object.__setattr__(self, "info", _facts(self.info, f"record {self.id!r}: info"))

    def fact(self, name: str) -> Fact | None:
        """The fact of this name, None when nobody said."""
        return _fact(self.info, name)


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
    info: Facts = ()
    """The record's facts."""
    before: str = ""
    """Text in front of the tags and captions, such as a trigger word; written as it is."""
    after: str = ""
    """Text behind them."""

    @classmethod
    def of(cls, record: Record) -> Caption:
        """All of a record: a tag named twice counts once, captions without text are left out."""
        tags = unique_tags(record.tags)
        prose = tuple(piece for piece in record.prose if piece.text.strip()) if record.prose else ()
        info = record.info
        assert isinstance(info, tuple)  # The record has seen to it.
        return cls(tags, prose, _source_of(bool(tags), bool(prose)), frozenset(), info)

    def with_tags(self, tags: tuple[Tag, ...]) -> Caption:
        """The same caption with other tags."""
        return Caption(tags, self.prose, self.source, self.important, self.info, self.before, self.after)

    def with_prose(self, prose: tuple[Prose, ...]) -> Caption:
        """The same caption with other prose."""
        return Caption(self.tags, prose, self.source, self.important, self.info, self.before, self.after)

    def with_important(self, important: frozenset[str]) -> Caption:
        """The same caption with other tags counting as important."""
        return Caption(self.tags, self.prose, self.source, important, self.info, self.before, self.after)

    def emptied(self) -> Caption:
        """The caption without any text; what is known about the picture stays known."""
        return Caption((), (), Source.EMPTY, frozenset(), self.info)

    def fact(self, name: str) -> Fact | None:
        """The record's fact of this name, None when nobody said."""
        return _fact(self.info, name)


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


@dataclass(frozen=True, slots=True)
class Drawn:
    """One draw with the caption behind its text."""

    rendered: Rendered
    caption: Caption
    """What the text says: the tags and sentences that fit into the token budget."""
    whole: Caption
    """The caption before the budget; the same object where nothing had to leave."""


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
    known = known_tags(category, source)
    return tuple([tag for part in split_tags(text, separator) if (tag := known[part])])


class _Tags(dict[str, Tag | None]):
    """The tag of each text between two separators, None for a blank one; tags are frozen and recur over all
    records, so that one object serves them all, up to a bound."""

    def __init__(self, category: str | None, source: str | None) -> None:
        super().__init__()
        self._category, self._source = category, source

    def __missing__(self, part: str) -> Tag | None:
        if len(self) >= 1 << 17:
            self.clear()
        name = part.strip()
        tag = self[part] = Tag(name, self._category, self._source) if name else None
        return tag


@lru_cache(maxsize=64)
def known_tags(category: str | None = None, source: str | None = None) -> Mapping[str, Tag | None]:
    """The tag of each text, made when it is first asked for; None for a blank text."""
    return _Tags(category, source)


def _fact(info: Facts | Mapping[str, Fact], name: str) -> Fact | None:
    assert isinstance(info, tuple)  # The record has seen to it.
    for key, value in info:
        if key == name:
            return value
    return None


def _facts(info: object, where: str) -> Facts:
    """Facts as sorted pairs; a fact that is None is one that nobody knows."""
    try:
        pairs = dict(info.items() if isinstance(info, Mapping) else info)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        raise DataError(f"must be a table of names and values, got {info!r}", where=where) from None
    for name, value in pairs.items():
        if not isinstance(name, str) or not name:
            raise DataError(f"a fact's name must be text, got {name!r}", where=where)
        if value is not None and not isinstance(value, Fact):
            raise DataError(f"must be text, a number, true or false, got {value!r}", where=f"{where}.{name}")
        if value != value:
            raise DataError("is NaN, which is no number", where=f"{where}.{name}", hint="None if unknown")
    return tuple(sorted((name, value) for name, value in pairs.items() if value is not None))


def _source_of(has_tags: bool, has_prose: bool) -> Source:
    if has_tags:
        return Source.BOTH_TAGS_FIRST if has_prose else Source.TAGS
    return Source.CAPTION if has_prose else Source.EMPTY


def _all_of(kind: type[T], values: Iterable[T], where: str) -> tuple[T, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise DataError(f"must be a list of {kind.__name__}, got {values!r}", where=where)
    checked = tuple(values)
    if {*map(type, checked)} <= {kind}:
        return checked
    for index, value in enumerate(checked):
        if not isinstance(value, kind):
            raise DataError(
                f"must be a {kind.__name__}, got {value!r}",
                where=f"{where}[{index}]",
                hint=f"write {kind.__name__}({value!r})" if isinstance(value, str) else None,
            )
    return checked
