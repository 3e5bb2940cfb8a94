"""A folder of pictures: sidecars are written beside them, and pictures are brought when asked for."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from captionkit.errors import DataError
from captionkit.readers.sidecars import SIDECAR_SUFFIXES
from captionkit.record import Record
from captionkit.writers.fields import has_content
from captionkit.writers.pictures import Picture, inside, picture_of
from captionkit.writers.sidecar_texts import Style, sidecar_texts
from captionkit.writers.staging import Bringing, Pictures, Staging, staging
from captionkit.writers.target import Losses, Sink, Target


@dataclass(frozen=True)
class FolderTarget(Target):
    """Sidecars in a folder, from which `read_folder` makes the records again.

    A record goes beside its picture, whose path is the record's image relative to `root` (by default the
    folder itself). Its id is then that path without the suffix, and another id is noted as lost.

    A sidecar that is there and holds something else is never changed without being told to: that is an error
    and nothing is written, unless `overwrite`. With it the sidecars of each written picture are replaced, and
    those that the record no longer needs are deleted.

    Left out, and noted: records without tags and captions, records without a picture, and pictures that lie
    outside the folder, in one that is hidden, or have no suffix of pictures. Two records of one picture, or
    of two pictures whose names differ in the suffix alone, are an error.

    `pictures` says what becomes of the pictures, `style` which sidecars there are.
    """

    path: Path
    root: Path | None = None
    pictures: Pictures = "stay"
    style: Style = "plain"
    overwrite: bool = False

    @property
    def home(self) -> Path:
        """The folder at which relative paths of pictures begin."""
        return self.picture_root

    @property
    def picture_root(self) -> Path:
        """Where the pictures are."""
        return self.path if self.pictures == "stay" or self.root is None else self.root

    def encode(self, records: Iterable[Record], losses: Losses) -> bytes:
        """The records as one chunk."""
        lines = (self._line(record, losses) for record in records)
        return b"".join(line for line in lines if line is not None)

    def _line(self, record: Record, losses: Losses) -> bytes | None:
        """(picture, texts by suffix) of a record."""
        if not has_content(record):
            losses.leave_out("records without tags and captions", record.id)
            return None
        if self.pictures == "stay":
            picture = inside(record, self.picture_root, losses)
        else:
            picture = picture_of(record, self.picture_root, losses)
        if picture is None:
            return None
        place = picture.place
        if any(part.startswith(".") for part in place.split("/")):
            losses.leave_out("records whose picture is hidden by a dot before its name", record.id)
            return None
        texts = sidecar_texts(record, self.style, losses)
        if not texts:
            return None
        line = sidecar_line(picture, {suffix: _whole(text, record, losses) for suffix, text in texts.items()})
        if os.path.splitext(place)[0] != record.id:
            losses.add("ids that are not the picture's path", record.id)
        if self.pictures == "stay" and not (self.path / place).is_file():
            losses.add(
                "records whose picture is not in the folder, so that they are not read there", record.id
            )
        return line

    @contextmanager
    def open(self) -> Iterator[Sink]:
        """Open for writing; leaving the context finishes it."""
        with staging(self.path, overwrite=self.overwrite) as files:
            sink = _Sidecars(self, files)
            try:
                yield sink
            finally:
                sink.close()
            if sink.empty:
                raise DataError(
                    "no record can be written: none has a picture in the folder, and tags or captions",
                    where=str(self.picture_root),
                    hint="where pictures lie elsewhere, they can be copied or linked",
                )


def _whole(text: str, record: Record, losses: Losses) -> str:
    """The text with U+FFFD for each half of a surrogate pair."""
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if whole != text:
        losses.add("halves of surrogate pairs in texts", record.id)
    return whole


def sidecar_line(picture: Picture, texts: Mapping[str, str]) -> bytes:
    """One picture's piece of a chunk: the text of each sidecar by its suffix."""
    return (json.dumps([picture, texts]) + "\n").encode()


class _Sidecars(Sink):
    """Sidecars that wait until all are written, and the old ones that they replace."""

    def __init__(self, target: FolderTarget, files: Staging) -> None:
        self._target, self._files = target, files
        self._bringing = Bringing(target.picture_root, target.pictures, files)
        self.empty = True
        """Whether nothing was written."""
        # A listing serves all pictures of its folder, which mostly come one after the other.
        self._listing = lru_cache(maxsize=64)(_sidecars_in)

    def append(self, chunk: bytes) -> None:
        """Write one chunk."""
        for line in chunk.splitlines():
            (source, place), texts = json.loads(line)
            self.empty = False
            self._once(place)
            self._replace_old(os.path.splitext(place)[0], texts)
            for suffix, text in texts.items():
                self._files.write(f"{os.path.splitext(place)[0]}{suffix}", text.encode())
            self._bringing.bring(Picture(source, place))

    def close(self) -> None:
        """Close what is open."""
        self._bringing.close()

    def _once(self, place: str) -> None:
        """Leave a note, and raise `DataError` where there is one."""
        folder, _, name = os.path.splitext(place)[0].rpartition("/")
        note = self._files.hidden / folder / f".{name}"
        note.parent.mkdir(parents=True, exist_ok=True)
        try:
            note.touch(exist_ok=False)
        except FileExistsError:
            raise DataError(
                "two records write the sidecars of one picture",
                where=str(self._target.path / place),
                hint="take one of the two records out, or rename a picture",
            ) from None

    def _replace_old(self, stem: str, texts: Mapping[str, str]) -> None:
        """What is there and will not be written again would be read with it."""
        folder, _, name = stem.rpartition("/")
        for old in self._listing(self._target.path / folder).get(name, ()):
            if old.suffix not in texts:
                self._files.delete(old)


def _sidecars_in(folder: Path) -> dict[str, list[Path]]:
    """The sidecars in a folder by the stem of their names."""
    found: dict[str, list[Path]] = {}
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return found
    for name in names:
        stem, suffix = os.path.splitext(name)
        if suffix.lower() in SIDECAR_SUFFIXES:
            found.setdefault(stem, []).append(folder / name)
    return found
