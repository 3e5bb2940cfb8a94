"""From the picture that a trainer names to its record."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator
from functools import cached_property
from hashlib import blake2b
from typing import TypeAlias, overload

from captionkit.errors import CaptionkitError
from captionkit.readers import parse_caption
from captionkit.readers.open import open_source
from captionkit.readers.source import Source
from captionkit.record import Record

PathLike: TypeAlias = str | os.PathLike[str]

_AMBIGUOUS = -1  # Several pictures have this name without its folder or suffix.


class Records:
    """All records in memory, found by what a trainer knows of a picture: its path, or its text alone.

    A picture is found by its absolute path, by its path relative to `root`, with or without its suffix, and
    by the record's id. By its bare file name only where the trainer gives no more than that, or where no root
    is known, and only when one picture alone has this name: two pictures in two folders are not confused.

    It can be pickled and nothing in it changes but whether it has warned, so that workers may share it: a
    forked worker costs nothing, a spawned one gets a copy. A record of 40 tags takes 0.7 KB
    (measured in docs/trainers/onetrainer.md), so that a few million of them need gigabytes.

    >>> from captionkit import parse_tags
    >>> records = Records([Record("cats/a", parse_tags("cat, red"), image="cats/a.png")], root="/data")
    >>> records.find("/data/cats/a.png").id, records.find("a.png").id, records.find("/else/a.png")
    ('cats/a', 'cats/a', None)
    """

    def __init__(self, records: Iterable[Record] | Source, *, root: PathLike | None = None) -> None:
        """The records of an iterable or of a source, whose root is then the root unless another is given.

        Raises `DataError` for a bad record of a source; read the source yourself to pass over them.
        """
        if isinstance(records, Source):
            root = records.root if root is None else root
            records = records.records(_raise)
        self._root = None if root is None else _posix(os.path.abspath(root))
        self._records = tuple(records)
        self._warned = False
        self._places: dict[str, int] = {}
        for place, record in enumerate(self._records):
            # The first record of a key stays.
            if record.image is not None:
                self._places.setdefault(self._within(record.image), place)
            self._places.setdefault(record.id, place)

    @classmethod
    def read(cls, path: PathLike, *, root: PathLike | None = None) -> Records:
        """The records of whatever lies at a path (`open_source`); the root is the source's own.

        Records that cannot be read are counted in one warning and missing here. Raises `DataError` when
        nothing at all can be read.
        """
        bad: list[CaptionkitError] = []
        source = open_source(path)
        found = cls(source.records(bad.append), root=source.root if root is None else root)
        if bad:
            warnings.warn(
                f"{path}: {len(bad)} records cannot be read and are missing; the first: {bad[0]}",
                stacklevel=2,
            )
        return found

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records)

    @overload
    def __getitem__(self, place: int) -> Record: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Record, ...]: ...
    def __getitem__(self, place: int | slice) -> Record | tuple[Record, ...]:
        return self._records[place]

    def place(self, path: PathLike) -> int | None:
        """The place of a picture's record, None when there is none, or when more than one has this name."""
        given = os.fspath(path)
        key = self._within(given)
        place = self._places.get(key)
        if place is None:
            place = self._places.get(_bare(key))
        if place is None:
            place = self._bare_paths.get(_bare(key))
        if place is None and (self._root is None or os.path.basename(given) == given):
            name = os.path.basename(key)
            place = self._names.get(name)
            if place is None:
                place = self._names.get(_bare(name))
        return None if place == _AMBIGUOUS else place

    def place_of_id(self, key: str) -> int | None:
        """The place of the record of this id, None when there is none."""
        place = self._places.get(key)
        return place if place is not None and self._records[place].id == key else None

    def find(self, path: PathLike) -> Record | None:
        """The record of a picture, None when there is none, or when more than one has this name."""
        place = self.place(path)
        return None if place is None else self._records[place]

    def record(self, text: str, path: PathLike | None = None) -> Record:
        """The record of a picture; where none is found, one made of the trainer's text, and a warning, once.

        Without a path, a text that is just a record's id or picture stands for that record. A record made
        of text has the tags and sentences that `parse_caption` finds, and for its id the picture's path
        (relative to the root), without a path a hash of the text: then two pictures of one text share their
        draws.
        """
        if path is not None:
            found = self.find(path)
        else:
            place = self._places.get(text.strip())
            found = None if place is None else self._records[place]
        if found is not None:
            return found
        if self._records and not self._warned:
            self._warned = True
            what = f"the picture {os.fspath(path)!r}" if path is not None else f"the text {_short(text)!r}"
            warnings.warn(
                f"none of {len(self):,} records belongs to {what}: its text is read instead, and so it is "
                f"for all others that are not found (this is said once)",
                stacklevel=2,
            )
        return record_of_text(text, None if path is None else self._within(os.fspath(path)))

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_warned": False}

    # The two are made when first asked for: most trainers name pictures by the path that the record has.

    @cached_property
    def _bare_paths(self) -> dict[str, int]:
        return _unambiguous((_bare(self._within(record.image or record.id)),) for record in self._records)

    @cached_property
    def _names(self) -> dict[str, int]:
        return _unambiguous(map(_file_names, self._records))

    def _within(self, path: str) -> str:
        """The path relative to the root where it is below it; with slashes, without `.` and `..`."""
        key = _posix(os.path.normpath(path))
        if self._root is not None and os.path.isabs(path):
            start = self._root.rstrip("/") + "/"
            return key[len(start) :] if key.startswith(start) else key
        return key


def _unambiguous(keys: Iterable[tuple[str, ...]]) -> dict[str, int]:
    """The place of each key; that of a key with several places is `_AMBIGUOUS`."""
    places: dict[str, int] = {}
    for place, several in enumerate(keys):
        for key in several:
            if places.setdefault(key, place) != place:
                places[key] = _AMBIGUOUS
    return places


def record_of_text(text: str, name: str | None = None) -> Record:
    """The record of a caption alone; `name` is its id, without one a hash of the text.

    >>> record_of_text("red fox, snow").id
    'text:ecd8834dcdfa63c4'
    """
    tags, prose = parse_caption(text)
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return Record(name or f"text:{digest}", tags, prose)


def _raise(error: CaptionkitError) -> None:
    raise error


def _posix(path: str) -> str:
    return path.replace(os.sep, "/")


def _bare(path: str) -> str:
    return os.path.splitext(path)[0]


def _file_names(record: Record) -> tuple[str, str]:
    name = _posix(record.image or record.id).rpartition("/")[2]
    return name, _bare(name)


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
