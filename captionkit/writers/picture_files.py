"""The bytes of pictures, from files and out of tars."""

from __future__ import annotations

import os
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from captionkit.errors import DataError
from captionkit.writers.pictures import shard_of


class PictureFiles:
    """Pictures below a folder. Those in a tar are quickly found in the order in which they stand there."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._shard: str | None = None
        self._tar: tarfile.TarFile | None = None
        self._passed: dict[str, tarfile.TarInfo] = {}

    @contextmanager
    def open(self, source: str) -> Iterator[tuple[IO[bytes], int]]:
        """The bytes of one picture, and how many they are. Raises `DataError` where it cannot be read."""
        where = str(self._root / source)
        try:
            shard = shard_of(self._root, source)
            if shard is None:
                with (self._root / source).open("rb") as file:
                    yield file, os.fstat(file.fileno()).st_size
                return
            info = self._find(shard, source[len(shard) + 1 :])
            assert self._tar is not None
            member = self._tar.extractfile(info) if info is not None and info.isreg() else None
            if info is None or member is None:
                raise DataError("is not in the tar any more", where=where)
            with member:
                yield member, info.size
        except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
            what = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise DataError(f"cannot be copied: {what}", where=where) from error

    def close(self) -> None:
        """Close the tar that is open."""
        if self._tar is not None:
            self._tar.close()
        self._tar, self._shard = None, None
        self._passed.clear()

    def _find(self, shard: str, member: str) -> tarfile.TarInfo | None:
        if shard != self._shard or self._tar is None:
            self.close()
            self._shard, self._tar = shard, tarfile.open(self._root / shard, "r:*")  # noqa: SIM115
        while member not in self._passed and (info := self._tar.next()) is not None:
            self._passed.setdefault(info.name.removeprefix("./"), info)
        return self._passed.get(member)
