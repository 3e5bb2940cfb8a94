"""The text files beside one picture: its tags, its captions, its facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from captionkit.errors import DataError
from captionkit.readers.facts import facts_in
from captionkit.readers.fields import Fields, misspelt, neither, parse_object, prose_in, tags_in
from captionkit.readers.mixed import parse_caption
from captionkit.readers.separators import part_at_separators
from captionkit.readers.text import read_text
from captionkit.record import Fact, Prose, Tag, parse_tags

SIDECAR_SUFFIXES = (".txt", ".caption", ".json")


class Known(NamedTuple):
    """What is known about one picture."""

    tags: tuple[Tag, ...]
    prose: tuple[Prose, ...]
    facts: dict[str, Fact]


class Written(NamedTuple):
    """The text of one sidecar, and the place that errors name: its path."""

    place: Path
    text: str


@dataclass(frozen=True)
class Sidecars:
    """The sidecars of one picture: the names of its files by suffix, in one folder."""

    place: Path
    names: dict[str, str]
    sentences: bool
    """Whether sentences among the tags of the .txt file are captions."""
    allow_empty: bool = False
    """Whether they may say nothing."""

    def read(self) -> Known:
        """All that they say. Raises `DataError` for an empty one, and where two say the same thing."""
        paths = {suffix: self.place / name for suffix, name in self.names.items()}
        texts = {suffix: Written(path, read_text(path)) for suffix, path in paths.items()}
        return known_from(texts, object_in(texts), self.sentences, allow_empty=self.allow_empty)


def object_in(texts: Mapping[str, Written]) -> Fields:
    """The object of the .json among the sidecars; empty where there is none. Raises `DataError`."""
    written = texts.get(".json")
    return {} if written is None else parse_object(written.text, written.place)


def known_from(
    texts: Mapping[str, Written], fields: Fields, sentences: bool, *, allow_empty: bool = False
) -> Known:
    """All that the sidecars of one picture say; `texts` are what they hold, by suffix, wherever they lie,
    and `fields` the object of the .json.

    A .txt that repeats the "caption" of the .json word for word, as img2dataset writes both, is passed over.
    Raises `DataError` for an empty one, unless `allow_empty`, and where two say the same thing.
    """
    if allow_empty:
        texts = {suffix: written for suffix, written in texts.items() if written.text.strip()}
    mixed = texts.get(".txt")
    if mixed is not None and _repeats(mixed.text, fields):
        mixed = None
    tags, among = _mixed(mixed, sentences) if mixed is not None else ((), ())
    prose = _captions(texts[".caption"]) if ".caption" in texts else ()
    if ".json" not in texts:
        return Known(tags, prose + among, {})
    where = str(texts[".json"].place)
    more = Known(tags_in(fields, where), prose_in(fields, where), facts_in(fields, where))
    if not more.tags and not more.prose:
        alone = not (tags or prose or among or allow_empty)
        if alone or not (more.facts or allow_empty) or _content_misspelt(fields):
            raise neither(fields, where)
    if tags and more.tags:
        raise _twice("tags", where, texts[".txt"].place.name)
    if prose and more.prose:
        raise _twice("captions", where, texts[".caption"].place.name)
    return Known(tags or more.tags, prose + more.prose + among, more.facts)


def _repeats(text: str, fields: Fields) -> bool:
    caption = fields.get("caption")
    return isinstance(caption, str) and bool(caption.strip()) and text.strip() == caption.strip()


def _mixed(written: Written, sentences: bool) -> tuple[tuple[Tag, ...], tuple[Prose, ...]]:
    if sentences:
        tags, prose = parse_caption(written.text)
    else:
        tags, prose = tuple(tag for line in written.text.splitlines() for tag in parse_tags(line)), ()
    if not tags and not prose:
        raise DataError(
            "holds no tags",
            where=f"{written.place}:1",
            hint="write them in, separated by commas, or delete the file",
        )
    return part_at_separators(tags), prose


def _captions(written: Written) -> tuple[Prose, ...]:
    prose = tuple(Prose(line.strip()) for line in written.text.splitlines() if line.strip())
    if not prose:
        raise DataError(
            "holds no caption", where=f"{written.place}:1", hint="write one per line, or delete the file"
        )
    return prose


def _content_misspelt(fields: Fields) -> bool:
    """Whether tags or captions may stand under a key that was meant to be another: `captoin`, not `ext`."""
    values = [fields[key] for key, _ in misspelt(fields, cutoff=0.8)]
    return any(isinstance(value, list | dict) or " " in str(value).strip() for value in values)


def _twice(what: str, where: str, other: str) -> DataError:
    return DataError(f"{what} stand here and in {other} too", where=where, hint="keep them in one of the two")
