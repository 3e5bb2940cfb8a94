"""Pictures as squares a little larger than the network sees, decoded once and kept while there is room."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainkit.manifest_pictures import ManifestPictures
from trainkit.tagging.preprocess import Preprocessing


class Squares:
    """Squares of the pictures of a manifest. One thread at a time may ask."""

    def __init__(
        self,
        pictures: ManifestPictures,
        preprocessing: Preprocessing,
        side: int,
        *,
        threads: int,
        memory_mb: int,
        report: Callable[[int, str], None],
    ) -> None:
        """``side`` is theirs in pixels; ``report`` learns once of each row that cannot be had, and why."""
        # Its files are opened anew: those of others may be asked by another thread.
        self._pictures = ManifestPictures.open(pictures.manifest.path, transparent_as=pictures.transparent_as)
        self._preprocessing, self._side, self._threads = preprocessing, side, threads
        self._room = memory_mb * 1_000_000 // (side * side * 3)
        self._kept: dict[int, NDArray[np.uint8]] = {}
        self._bad: set[int] = set()
        self._report = report

    def get(self, rows: Sequence[int]) -> list[Image.Image | None]:
        """The squares of rows; None where a picture cannot be had."""
        found: dict[int, Image.Image] = {}
        wanted = [row for row in dict.fromkeys(rows) if row not in self._kept and row not in self._bad]
        for seen in self._pictures.images(wanted, threads=self._threads, ahead=4 * self._threads):
            if seen.image is None:
                self._bad.add(seen.row)
                self._report(seen.row, str(seen.problem))
                continue
            square = self._preprocessing.square(seen.image, self._side)
            if len(self._kept) < self._room:
                self._kept[seen.row] = np.asarray(square)
            else:
                found[seen.row] = square
        return [self._of(row, found) for row in rows]

    def _of(self, row: int, found: dict[int, Image.Image]) -> Image.Image | None:
        kept = self._kept.get(row)
        return found.get(row) if kept is None else Image.fromarray(kept)
