"""A folder of pictures: sidecars are written beside them, and pictures are brought when asked for."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeAlias

from captionkit.errors import DataError
from captionkit.readers.sidecars import SIDECAR_SUFFIXES
from captionkit.record import Record
from captionkit.writers.fields import has_content
from captionkit.writers.pictures import inside, picture_of
from captionkit.writers.sidecar_texts import Style, sidecar_texts
from captionkit.writers.target import Losses, Sink, Target

Pictures: TypeAlias = Literal["stay", "copy", "link"]
"""What becomes of the pictures.

- stay: they lie in the folder already; only sidecars are written
- copy: each is copied from `root`
- link: a symbolic link leads to each
"""


@dataclass(frozen=True)
class FolderTarget(Target):
    """Sidecars in a folder, from which `read_folder` makes the records again.

    A record goes beside its picture, whose path is the record's image relative to `root` (by default the
    folder itself). Its id is then that path without the suffix, and another id is noted as lost.

    A sidecar that is there and says something else is never changed without being told to: that is an error
    and nothing is written, unless `overwrite`. With it the sidecars of each written picture are replaced, and
    those that the record no longer needs are deleted.

    Left out, and noted: records without tags and captions, records without a picture, and pictures that lie
    outside the folder, in one that is hidden, or have no suffix of pictures. Two records of one picture, or
    of two pictures whose names differ in the suffix alone, are an error.
    """

    path: Path
    root: Path | None = None
    pictures: Pictures = "stay"
    style: Style = "plain"
    overwrite: bool = False

    @property
    def home(self) -> Path | None:
        return self.path if self.pictures == "stay" else None

    @property
    def _from(self) -> Path:
        """Where the pictures are."""
        return self.path if self.pictures == "stay" or self.root is None else self.root

    def encode(self, records: Iterable[Record], losses: Losses) -> bytes:
        lines = (self._line(record, losses) for record in records)
        return b"".join(line for line in lines if line is not None)

    def _line(self, record: Record, losses: Losses) -> bytes | None:
        """(picture, texts by suffix) of a record."""
        if not has_content(record):
            losses.add("records without tags and captions, left out", record.id)
            return None
        if self.pictures == "stay":
            place = inside(record, self._from, losses)
        else:
            place = picture_of(record, self._from, losses)
        if place is None:
            return None
        if any(part.startswith(".") for part in place.split("/")):
            losses.add("records whose picture is hidden by a dot before its name, left out", record.id)
            return None
        texts = sidecar_texts(record, self.style, losses)
        if not texts:
            return None
        try:
            line = (json.dumps([place, texts], ensure_ascii=False) + "\n").encode()
        except UnicodeEncodeError:
            losses.add("records with half a surrogate pair, left out", record.id)
            return None
        if os.path.splitext(place)[0] != record.id:
            losses.add("ids that are not the picture's path", record.id)
        if self.pictures == "stay" and not (self.path / place).is_file():
            losses.add(
                "records whose picture is not in the folder, so that they are not read there", record.id
            )
        return line

    @contextmanager
    def open(self) -> Iterator[Sink]:
        """Write to a hidden folder inside; at the end its files take their places, one after the other."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".captionkit-", dir=self.path) as staging:
                sink = _Sidecars(self, Path(staging))
                yield sink
                sink.finish()
        except OSError as error:
            raise DataError(f"cannot be written: {error.strerror or error}", where=str(self.path)) from error


class _Sidecars(Sink):
    """Files that wait until all are written, and the old ones that they replace."""

    def __init__(self, target: FolderTarget, staging: Path) -> None:
        self._target, self._staging = target, staging
        self._old: list[Path] = []
        # A listing serves all pictures of its folder, which mostly come one after the other.
        self._listing = lru_cache(maxsize=64)(_sidecars_in)

    def append(self, chunk: bytes) -> None:
        for line in chunk.splitlines():
            place, texts = json.loads(line)
            self._add(place, texts)

    def _add(self, place: str, texts: dict[str, str]) -> None:
        stem = os.path.splitext(place)[0]
        where = self._target.path / place
        if any(os.path.lexists(self._staging / f"{stem}{mark}") for mark in (*SIDECAR_SUFFIXES, ".same")):
            hint = "take one of the two records out, or rename a picture"
            raise DataError("two records write the sidecars of one picture", where=str(where), hint=hint)
        (self._staging / stem).parent.mkdir(parents=True, exist_ok=True)
        self._look_at_old(stem, texts)
        for suffix, text in texts.items():
            (self._staging / f"{stem}{suffix}").write_bytes(text.encode())
        (self._staging / f"{stem}.same").touch()
        if self._target.pictures != "stay":
            self._bring(place)

    def _look_at_old(self, stem: str, texts: dict[str, str]) -> None:
        """Take note of what is there; of what says the same, nothing is written."""
        folder, _, name = stem.rpartition("/")
        for old in self._listing(self._target.path / folder).get(name, ()):
            suffix = old.suffix
            if suffix in texts and old.read_bytes() == texts[suffix].encode():
                del texts[suffix]
                continue
            if not self._target.overwrite:
                raise DataError(
                    "is there already and says something else",
                    where=str(old),
                    hint="write to another folder, or say that it may be overwritten; nothing was changed",
                )
            if suffix not in texts:
                self._old.append(old)

    def _bring(self, place: str) -> None:
        source, final, staged = self._target._from / place, self._target.path / place, self._staging / place
        linked = self._target.pictures == "link"
        if os.path.lexists(final):
            same = os.path.samefile(source, final) if final.exists() else False
            if same or (not linked and final.is_file() and filecmp.cmp(source, final, shallow=False)):
                return
            if not self._target.overwrite:
                hint = "write to another folder, or say that it may be overwritten; nothing was changed"
                raise DataError("is there already and is another picture", where=str(final), hint=hint)
        if linked:
            staged.symlink_to(source.resolve())
        else:
            shutil.copyfile(source, staged)

    def finish(self) -> None:
        """Put every file into its place, and delete those that are replaced by none."""
        for folder, _, names in os.walk(self._staging):
            place = self._target.path / Path(folder).relative_to(self._staging)
            place.mkdir(parents=True, exist_ok=True)
            for name in names:
                if not name.endswith(".same"):
                    os.replace(Path(folder) / name, place / name)
        for old in self._old:
            old.unlink(missing_ok=True)


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
