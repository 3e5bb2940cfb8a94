"""Files written into a folder that may hold others: all of them beside it first, then each into its place."""

from __future__ import annotations

import filecmp
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeAlias

from captionkit.errors import DataError
from captionkit.writers.parts import errors_of_writing
from captionkit.writers.picture_files import PictureFiles
from captionkit.writers.pictures import Picture, shard_of

Pictures: TypeAlias = Literal["stay", "copy", "link"]
"""What becomes of the pictures.

- stay: they lie where they are; only texts are written
- copy: each is copied
- link: a symbolic link leads to each
"""

_HINT = "write to another folder, or --overwrite; nothing was changed"


class Staging:
    """New files of a folder, in a hidden folder inside it until `finish`.

    A file that is there and holds something else is an error unless `overwrite`; one that holds the same
    stays as it is.
    """

    def __init__(self, final: Path, hidden: Path, overwrite: bool) -> None:
        self.final, self.hidden, self.overwrite = final, hidden, overwrite
        self._old: list[Path] = []

    def write(self, name: str, data: bytes) -> None:
        """A file by its path in the folder. Raises `DataError` when it differs from what is there."""
        final = self.final / name
        if os.path.lexists(final):
            if final.is_file() and final.stat().st_size == len(data) and final.read_bytes() == data:
                return
            self.may_replace(final)
        staged = self.hidden / name
        staged.parent.mkdir(parents=True, exist_ok=True)
        staged.write_bytes(data)

    def take(self, note: Path, name: str) -> None:
        """A file that was written under `hidden`, by its path in the folder. Raises as `write` does."""
        final = self.final / name
        if os.path.lexists(final):
            if final.is_file() and filecmp.cmp(note, final, shallow=False):
                return
            self.may_replace(final)
        staged = self.hidden / name
        staged.parent.mkdir(parents=True, exist_ok=True)
        os.replace(note, staged)

    def copy(self, files: PictureFiles, source: str, name: str) -> None:
        """A picture under a path in the folder. Raises `DataError` when another one is there."""
        note = self.hidden / ".picture"
        with files.open(source) as (picture, _), note.open("wb") as out:
            shutil.copyfileobj(picture, out, 1 << 20)
        self.take(note, name)

    def link(self, source: Path, name: str) -> None:
        """A link to a picture under a path in the folder. Raises `DataError` when another one is there."""
        final, staged = self.final / name, self.hidden / name
        if os.path.lexists(final):
            if final.exists() and os.path.samefile(source, final):
                return
            self.may_replace(final)
        staged.parent.mkdir(parents=True, exist_ok=True)
        staged.symlink_to(source.resolve())

    def may_replace(self, old: Path) -> None:
        """Raise `DataError` unless what is there may be overwritten."""
        if not self.overwrite:
            raise DataError("is there already and holds something else", where=str(old), hint=_HINT)

    def delete(self, old: Path) -> None:
        """Delete a file at the end. Raises `DataError` unless it may be overwritten."""
        self.may_replace(old)
        self._old.append(old)

    def finish(self) -> None:
        """Put every file into its place, and delete what is to be deleted."""
        for folder, _, names in os.walk(self.hidden):
            place = self.final / Path(folder).relative_to(self.hidden)
            place.mkdir(parents=True, exist_ok=True)
            for name in names:
                if not name.startswith("."):  # Notes of those that write.
                    os.replace(Path(folder) / name, place / name)
        for old in self._old:
            old.unlink(missing_ok=True)


@contextmanager
def staging(final: Path, *, overwrite: bool = False) -> Iterator[Staging]:
    """New files of a folder, which is made where it is not there; they are put into their places when the
    context is left without an error. Raises `DataError` where it cannot be written."""
    made = not final.exists()
    with errors_of_writing(final):
        final.mkdir(parents=True, exist_ok=True)
        try:
            with tempfile.TemporaryDirectory(prefix=".captionkit-", dir=final) as hidden:
                files = Staging(final, Path(hidden), overwrite)
                yield files
                files.finish()
        except BaseException:
            if made and not any(final.iterdir()):
                final.rmdir()
            raise


class Bringing:
    """What brings the pictures of one folder into another."""

    def __init__(self, root: Path, pictures: Pictures, files: Staging) -> None:
        self._root, self._pictures, self._files = root, pictures, files
        self._open = PictureFiles(root)

    def bring(self, picture: Picture) -> None:
        """Copy or link one picture, or do nothing where they stay. Raises `DataError` as `Staging` does."""
        if self._pictures == "copy":
            self._files.copy(self._open, picture.source, picture.place)
        elif self._pictures == "link":
            if shard_of(self._root, picture.source) is not None:
                where = str(self._root / picture.source)
                raise DataError(
                    "lies in a tar, into which no link can lead",
                    where=where,
                    hint="copy them: --bring copy, of bake --pictures copy",
                )
            self._files.link(self._root / picture.source, picture.place)

    def close(self) -> None:
        """Close what is open."""
        self._open.close()
