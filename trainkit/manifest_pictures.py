"""The pictures of a manifest, decoded: what taggers and caption models look at.

Reading and decoding run in threads, ahead of whoever looks, in order, and never more than a few pictures at
once. A picture that cannot be had is reported with its row, and stops nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from captionkit import Record
from trainkit.errors import PictureError, TrainkitError
from trainkit.images import decode
from trainkit.keys import key_of
from trainkit.manifest import Manifest
from trainkit.place import Place, is_url
from trainkit.store.settings import StoreConfig
from trainkit.store.store import Store

_RELEASED = 4096
"""After so many rows the pages of mapped files are given back."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One row, looked at."""

    row: int
    record: Record | None
    """None when the row holds no record."""
    image: Image.Image | None
    """RGB, upright, transparency laid on its ground; None when there is a problem."""
    problem: str | None = None
    """What is wrong, with the place; None when nothing is."""


@dataclass(frozen=True)
class ManifestPictures:
    """A table of measured pictures: a prepared folder, or a Parquet or Arrow table. Rows count from 0.

    Not for several threads at once; a copy in another process opens the files anew.
    """

    manifest: Manifest
    store: Store
    transparent_as: str = "white"
    """Colour that shows through transparent parts."""

    @classmethod
    def open(
        cls, path: Path, *, transparent_as: str = "white", store: StoreConfig | None = None
    ) -> ManifestPictures:
        """Open a table. Rows without tags and captions are records, too: these are to be looked at.

        Raises TrainkitError for what is no table of pictures.
        """
        if not path.exists():
            raise TrainkitError(
                f"{path}: there is no such manifest; make one with: trainkit prepare PICTURES -o {path}"
            )
        manifest = Manifest(path, allow_empty=True)
        len(manifest)
        return cls(manifest, Store(store or StoreConfig()), transparent_as)

    def __len__(self) -> int:
        return len(self.manifest)

    @cached_property
    def keys(self) -> NDArray[np.uint64]:
        """[N]: the key of every record's id (`trainkit.keys`)."""
        return self.manifest.keys

    def record(self, row: int) -> Record:
        """The record of a row. Raises PictureError when none can be made of it."""
        return self.manifest.record(row)

    def where(self, row: int) -> str:
        """The place of a row as errors name it."""
        return self.manifest.where(row)

    def digest(self, row: int) -> str:
        """BLAKE2b of 16 bytes over the picture's bytes, in hexadecimal, as `prepare` found it; empty where
        the table says none."""
        return self.manifest.digest(row).hex()

    def picture_key(self, row: int) -> int | None:
        """What stands for a picture under an id, as either may stay while the other changes. None where
        nobody knows the picture's digest."""
        digest = self.digest(row)
        return int(self.keys[row]) ^ key_of(digest) if digest else None

    def images(
        self, rows: Iterable[int], *, threads: int = 2, ahead: int = 16
    ) -> Generator[Seen, None, None]:
        """The pictures of some rows, in their order; ``ahead`` at most are in memory besides the one that is
        handed out.

        Bytes are compared with the manifest's digest. Raises StoreError when the store does not answer.
        """
        # Of a store several have to be on their way at a time.
        threads = max(threads, self.store.config.threads if self._remote else 1)
        waiting: deque[tuple[int, Record | None, Future[Image.Image] | str]] = deque()
        pool = ThreadPoolExecutor(threads, "pictures")
        try:
            for count, row in enumerate(rows, 1):
                record: Record | None = None
                job: Future[Image.Image] | str
                try:
                    record = self.manifest.record(row)
                    job = pool.submit(self._decoded, self.manifest.place(row, record.image))
                except PictureError as error:
                    job = str(error)
                waiting.append((row, record, job))
                if count % _RELEASED == 0:
                    self.manifest.release()
                if len(waiting) > max(ahead, 1):
                    yield _seen(*waiting.popleft())
            while waiting:
                yield _seen(*waiting.popleft())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _decoded(self, place: Place) -> Image.Image:
        return decode(self.store.read(place), place.name, self.transparent_as)[0]

    @cached_property
    def _remote(self) -> bool:
        return is_url(self.manifest.root)


def _seen(row: int, record: Record | None, job: Future[Image.Image] | str) -> Seen:
    if isinstance(job, str):
        return Seen(row, record, None, job)
    try:
        return Seen(row, record, job.result())
    except PictureError as error:
        return Seen(row, record, None, str(error))
