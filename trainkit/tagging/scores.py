"""The scores that a tagger gives to pictures, kept in a file so that they are computed once.

``scores.npz`` holds a key per picture (of its id and digest), one row of scores each, and which tagger gave
them. It is written now and then, so that a killed evaluation goes on where it was; another tagger, or another
picture under the same id, is scored anew. It may be deleted at any time.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from captionkit.progress import progress
from trainkit.errors import TrainkitError
from trainkit.keys import key_of
from trainkit.manifest_pictures import ManifestPictures
from trainkit.tagging.tagger import Tagger
from trainkit.whole_file import replace_whole

CACHE = "scores.npz"
_SAVED_S = 60.0


@dataclass(frozen=True)
class Scored:
    """Scores of some rows of a manifest."""

    rows: NDArray[np.intp]
    """[N], rising: those whose picture could be seen."""
    scores: NDArray[np.float32]
    """[N, L], in the order of the tagger's labels."""
    problems: tuple[str, ...] = ()
    """What was wrong with the other pictures, by name."""


@dataclass
class ScoreCache:
    """The file of scores, and what is in it. ``mark`` names the tagger: other marks, other scores."""

    path: Path | None
    mark: str
    kept: dict[int, NDArray[np.float32]] = field(default_factory=dict)

    def load(self, num_labels: int) -> None:
        """Read the file; one that is damaged or of another tagger counts as empty."""
        if self.path is None:
            return
        try:
            with np.load(self.path, allow_pickle=False) as file:
                keys, scores = file["keys"], file["scores"]
                same = str(file["mark"]) == self.mark and scores.shape == (len(keys), num_labels)
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            return
        if same and keys.dtype == np.uint64 and scores.dtype == np.float32:
            self.kept = dict(zip(keys.tolist(), scores, strict=True))

    def save(self) -> None:
        """Write the file, whole or not at all. Raises TrainkitError."""
        if self.path is None or not self.kept:
            return
        written = io.BytesIO()
        keys = np.fromiter(self.kept, dtype=np.uint64, count=len(self.kept))
        np.savez(written, mark=np.array(self.mark), keys=keys, scores=np.stack(list(self.kept.values())))
        try:
            replace_whole(self.path, written.getvalue())
        except OSError as error:
            raise TrainkitError(
                f"{self.path} cannot be written: {error.strerror or error}; -o FOLDER says where else"
            ) from error


def score_rows(
    tagger: Tagger,
    pictures: ManifestPictures,
    rows: Sequence[int],
    cache: ScoreCache,
    *,
    batch: int = 32,
    show: bool = False,
) -> Scored:
    """The scores of some rows; those in the cache are not looked at again.

    A picture that cannot be read is a problem, not an error. Raises StoreError as the store.
    """
    keys: dict[int, int] = {}
    problems: list[str] = []
    cache.load(len(tagger.labels))
    for row in rows:
        keys[row] = _key(pictures, row)
    missing = [row for row in rows if keys[row] not in cache.kept]
    saved = time.monotonic()
    try:
        for row, scores in _scored(tagger, pictures, missing, problems, batch, show):
            if not np.isfinite(scores).all():
                problems.append(f"{pictures.where(row)}: the tagger's scores are no numbers")
                continue
            cache.kept[keys[row]] = np.clip(scores, 0.0, 1.0)
            if time.monotonic() - saved > _SAVED_S:
                cache.save()
                saved = time.monotonic()
    finally:
        if missing:
            cache.save()
    seen = [row for row in rows if keys[row] in cache.kept]
    table = np.empty((len(seen), len(tagger.labels)), dtype=np.float32)
    for i, row in enumerate(seen):
        table[i] = cache.kept[keys[row]]
    return Scored(np.array(seen, dtype=np.intp), table, tuple(problems))


def _scored(
    tagger: Tagger,
    pictures: ManifestPictures,
    rows: Sequence[int],
    problems: list[str],
    batch: int,
    show: bool,
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Rows with their scores, batch by batch."""
    waiting: list[tuple[int, NDArray[np.float32]]] = []
    with progress("scoring", "pictures", len(rows)) if show else nullcontext(_unseen) as done:
        for seen in pictures.images(rows):
            done(1)
            if seen.image is None:
                problems.append(str(seen.problem))
                continue
            waiting.append((seen.row, tagger.prepare(seen.image)))
            if len(waiting) == batch:
                yield from _flush(tagger, waiting)
        yield from _flush(tagger, waiting)


def _flush(
    tagger: Tagger, waiting: list[tuple[int, NDArray[np.float32]]]
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    if waiting:
        scores = tagger.scores([prepared for _, prepared in waiting])
        yield from zip([row for row, _ in waiting], scores.astype(np.float32), strict=True)
        waiting.clear()


def _unseen(amount: int) -> None:
    """Nobody looks at the progress."""


def _key(pictures: ManifestPictures, row: int) -> int:
    """The id may stay while the picture changes, and the other way round."""
    return int(pictures.keys[row]) ^ key_of(pictures.digest(row))
