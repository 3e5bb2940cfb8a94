"""WebDataset: records as tars, each picture beside the .json that says all about it."""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from captionkit.errors import DataError
from captionkit.record import Record
from captionkit.writers.fields import as_unicode, fields_of, has_content
from captionkit.writers.parts import errors_of_writing, replaced, replaced_folder
from captionkit.writers.picture_files import PictureFiles
from captionkit.writers.pictures import Picture, picture_of
from captionkit.writers.target import Losses, Sink, Target

_dumps = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode

SAMPLES_PER_SHARD = 10_000
BYTES_PER_SHARD = 1 << 30

_SHARD = re.compile(r"pic-\d{6,}\.tar")
_BAD_MARKS = re.compile(r"[\x00-\x1f\x7f\\:*?\"<>|\ud800-\udfff]")
_NO_PART = frozenset({"", ".", ".."})


@dataclass(frozen=True)
class WebDatasetTarget(Target):
    """Tars `pic-000000.tar`, `pic-000001.tar` ... in a folder, or one tar where the path ends in `.tar`.

    A sample is the picture and a `.json`, from which `WebDatasetSource` makes the record again, its id too;
    its image is then the place in the tar. `pictures` is the folder at which the records' paths begin; with
    None the tars hold texts alone, and the paths stay in the .json.

    A key is the picture's path without its suffix, with `_` for each dot and what no file name may hold; a
    number is added where two are the same in one shard. A shard ends before it exceeds one of the two bounds.
    The same records and pictures give the same bytes.

    Left out, and noted: records without tags and captions, and, where pictures go along, records whose
    picture is not there, has no suffix of a picture, or leads out of the folder.
    """

    path: Path
    pictures: Path | None
    samples_per_shard: int = SAMPLES_PER_SHARD
    bytes_per_shard: int = BYTES_PER_SHARD

    @property
    def home(self) -> Path:
        """The folder at which relative paths of pictures begin."""
        return self.pictures or (self.path.parent if self._single else self.path)

    @property
    def _single(self) -> bool:
        return self.path.suffix.lower() == ".tar"

    @property
    def bounds(self) -> tuple[int, int]:
        """The most samples and bytes of a shard."""
        return (1 << 62, 1 << 62) if self._single else (self.samples_per_shard, self.bytes_per_shard)

    def encode(self, records: Iterable[Record], losses: Losses) -> bytes:
        """The records as one chunk."""
        lines = (self._line(record, losses) for record in records)
        return b"".join(line for line in lines if line is not None)

    def _line(self, record: Record, losses: Losses) -> bytes | None:
        """(key, picture, text of the .json) of a record; its picture is copied when the tar is written."""
        if not has_content(record):
            losses.leave_out("records without tags and captions", record.id)
            return None
        picture = None
        if self.pictures is not None:
            picture = picture_of(record, self.pictures, losses)
            if picture is None:
                return None
        fields = fields_of(record, losses)
        key = _key(record.id if record.image is None else os.path.splitext(record.image)[0])
        if picture is not None:
            fields.pop("image", None)
            key = _key(os.path.splitext(picture.place)[0])
        text = _dumps(fields)
        if not _is_unicode(text):
            text = _dumps(as_unicode([fields], losses)[0])
        return (json.dumps([key, picture, text]) + "\n").encode()

    @contextmanager
    def open(self) -> Iterator[Sink]:
        """Open for writing; leaving the context finishes it."""
        if not self._single and self.path.exists():
            _only_shards(self.path)
        elif self.path.is_dir():
            raise DataError("is a folder", where=str(self.path), hint="give another name")
        with errors_of_writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self._single:
                with replaced(self.path) as name:
                    yield from _writing(_Shards(self, lambda number: name))
            else:
                with replaced_folder(self.path) as place:
                    yield from _writing(_Shards(self, lambda number: place / f"pic-{number:06d}.tar"))


def _writing(shards: _Shards) -> Iterator[Sink]:
    try:
        yield shards
        shards.finish()
    finally:
        shards.release()


class _Shards(Sink):
    """The tars that are written one after the other."""

    def __init__(self, target: WebDatasetTarget, name: Callable[[int], Path]) -> None:
        self._name, self._pictures = name, target.pictures
        self._files = None if target.pictures is None else PictureFiles(target.pictures)
        self._most = target.bounds
        self._num_shards = self._samples = self._bytes = 0
        self._keys: set[str] = set()
        self._tar = self._next()

    def append(self, chunk: bytes) -> None:
        """Write one chunk."""
        for line in chunk.splitlines():
            key, picture, text = json.loads(line)
            self._add(key, None if picture is None else Picture(*picture), text.encode())

    def _add(self, key: str, picture: Picture | None, text: bytes) -> None:
        size = len(text)
        if picture is None or self._files is None:
            self._make_room(size)
            self._member(f"{self._unique(key)}.json", io.BytesIO(text), size)
            return
        with self._files.open(picture.source) as (file, of_picture):
            self._make_room(size + of_picture)
            key = self._unique(key)
            self._member(f"{key}{os.path.splitext(picture.place)[1].lower()}", file, of_picture)
        self._member(f"{key}.json", io.BytesIO(text), size)

    def _make_room(self, size: int) -> None:
        """Begin another shard where this one would exceed a bound; one sample always fits."""
        most_samples, most_bytes = self._most
        full = self._samples >= most_samples or self._bytes + size > most_bytes
        if full and self._samples:
            self.close()
            self._tar = self._next()
        self._samples += 1
        self._bytes += size

    def _next(self) -> tarfile.TarFile:
        tar = tarfile.open(self._name(self._num_shards), "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        self._num_shards += 1
        self._samples = self._bytes = 0
        self._keys.clear()
        return tar

    def _unique(self, key: str) -> str:
        number, unique = 1, key
        while unique in self._keys:
            number += 1
            unique = f"{key}-{number}"
        self._keys.add(unique)
        return unique

    def _member(self, name: str, file: IO[bytes], size: int) -> None:
        info = tarfile.TarInfo(name)  # Owner, group and time are 0 in it.
        info.size, info.mode = size, 0o644
        self._tar.addfile(info, file)

    def finish(self) -> None:
        """Raise `DataError` when all records were left out."""
        if not self._samples:
            pictures = "" if self._pictures is None else f", or their pictures are not in {self._pictures}"
            raise DataError(f"no record can be written: they have no tags and captions{pictures}")

    def close(self) -> None:
        """Finish the shard that is being written."""
        self._tar.close()

    def release(self) -> None:
        """Close what is open."""
        self.close()
        if self._files is not None:
            self._files.close()


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _key(path: str) -> str:
    """What a sample is called whose picture has this path, without its suffix, or this id."""
    parts = [part for part in _BAD_MARKS.sub("_", path).split("/") if part not in _NO_PART]
    # WebDataset ends the key at the first dot of the name, and takes a folder `__x__` for its own.
    *folders, name = parts or ["_"]
    folders = [f"_{part}" if part.startswith(".") else part for part in folders]
    if folders and folders[0].startswith("__"):
        folders[0] = folders[0].strip("_") or "_"
    return "/".join([*folders, name.replace(".", "_")])


def _only_shards(folder: Path) -> None:
    """Raise `DataError` unless the folder is empty, or an earlier conversion's."""
    if not folder.is_dir():
        raise DataError("is a file, and tars go into a folder", where=str(folder), hint="or call it *.tar")
    other = next((name for name in sorted(os.listdir(folder)) if not _SHARD.fullmatch(name)), None)
    if other is not None:
        hint = "give a new folder"
        raise DataError(f"is a folder with other files in it, such as {other}", where=str(folder), hint=hint)
