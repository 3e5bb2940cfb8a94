"""The text files beside one picture: its tags, its captions, its facts."""

from __future__ import annotations

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


@dataclass(frozen=True)
class Sidecars:
    """The sidecars of one picture: the names of its files by suffix, in one folder."""

    place: Path
    names: dict[str, str]
    sentences: bool
    """Whether sentences among the tags of the .txt file are captions."""

    def read(self) -> Known:
        """All that they say. Raises `DataError` for an empty one, and where two say the same thing."""
        paths = {suffix: self.place / name for suffix, name in self.names.items()}
        tags, among = self._mixed(paths[".txt"]) if ".txt" in paths else ((), ())
        prose = _captions(paths[".caption"]) if ".caption" in paths else ()
        if ".json" not in paths:
            return Known(tags, prose + among, {})
        where = str(paths[".json"])
        fields = parse_object(read_text(paths[".json"]), paths[".json"])
        more = Known(tags_in(fields, where), prose_in(fields, where), facts_in(fields, where))
        if not more.tags and not more.prose:
            alone = not (tags or prose or among)
            if alone or not more.facts or _content_misspelt(fields):
                raise neither(fields, where)
        if tags and more.tags:
            raise _twice("tags", where, self.names[".txt"])
        if prose and more.prose:
            raise _twice("captions", where, self.names[".caption"])
        return Known(tags or more.tags, prose + more.prose + among, more.facts)

    def _mixed(self, path: Path) -> tuple[tuple[Tag, ...], tuple[Prose, ...]]:
        text = read_text(path)
        if self.sentences:
            tags, prose = parse_caption(text)
        else:
            tags, prose = tuple(tag for line in text.splitlines() for tag in parse_tags(line)), ()
        if not tags and not prose:
            raise DataError(
                "holds no tags",
                where=f"{path}:1",
                hint="write them in, separated by commas, or delete the file",
            )
        return part_at_separators(tags), prose


def _captions(path: Path) -> tuple[Prose, ...]:
    prose = tuple(Prose(line.strip()) for line in read_text(path).splitlines() if line.strip())
    if not prose:
        raise DataError("holds no caption", where=f"{path}:1", hint="write one per line, or delete the file")
    return prose


def _content_misspelt(fields: Fields) -> bool:
    """Whether tags or captions may stand under a key that was meant to be another: `captoin`, not `ext`."""
    values = [fields[key] for key, _ in misspelt(fields, cutoff=0.8)]
    return any(isinstance(value, list | dict) or " " in str(value).strip() for value in values)


def _twice(what: str, where: str, other: str) -> DataError:
    return DataError(f"{what} stand here and in {other} too", where=where, hint="keep them in one of the two")
