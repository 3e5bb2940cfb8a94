"""The scores that a tagger gives to pictures, kept in a file so that they are computed once.

``scores.npz`` holds a key per picture (of its id and digest), one row of scores each, and which tagger gave
them. It is written now and then, so that a killed evaluation goes on where it was; another tagger, or another
picture under the same id, is scored anew, and so is a picture whose digest nobody knows. It may be deleted at
any time.
"""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainkit.errors import TrainkitError
from trainkit.manifest_pictures import ManifestPictures
from trainkit.progress import progress
from trainkit.tagging.label import Label
from trainkit.tagging.scored import scored
from trainkit.tagging.tagger import Tagger
from trainkit.tagging.trained import TrainedTagger
from trainkit.whole_file import replace_whole

CACHE = "scores.npz"
_SAVED_S = 60.0


@dataclass(frozen=True)
class ScoredRows:
    """Scores of some rows of a manifest, before any temperature."""

    rows: NDArray[np.intp]
    """[N], rising: those whose picture could be seen."""
    scores: NDArray[np.float32]
    """[N, O]: the logits of a tagger of ours, or [N, L]: the probabilities of another one's labels."""
    problems: tuple[str, ...] = ()
    """What was wrong with the other pictures, by name."""


@dataclass
class ScoreCache:
    """The file of scores, and what is in it. ``mark`` names the tagger: other marks, other scores."""

    path: Path | None
    mark: str
    kept: dict[int, NDArray[np.float32]] = field(default_factory=dict)

    def load(self, width: int) -> None:
        """Read the file; one that is damaged or of another tagger counts as empty."""
        if self.path is None:
            return
        try:
            # From memory, because numpy leaves a damaged file open.
            with np.load(io.BytesIO(self.path.read_bytes()), allow_pickle=False) as file:
                keys, scores = file["keys"], file["scores"]
                same = str(file["mark"]) == self.mark and scores.shape == (len(keys), width)
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
) -> ScoredRows:
    """The scores of some rows; those in the cache are not looked at again.

    A picture that cannot be read is a problem, not an error. Raises StoreError as the store.
    """
    width = num_outputs(tagger)
    cache.load(width)
    keys = {row: pictures.picture_key(row) for row in rows}
    found = {row: cache.kept[key] for row, key in keys.items() if key is not None and key in cache.kept}
    missing = [row for row in rows if row not in found]
    problems: list[str] = []
    saved = time.monotonic()
    try:
        with progress("scoring", "pictures", len(missing), show=show) as done:
            for one in scored(pictures, missing, _Raw(tagger), batch=batch):
                done(1)
                if one.scores is None:
                    problems.append(str(one.problem))
                    continue
                found[one.seen.row] = one.scores.astype(np.float32)
                if (key := keys[one.seen.row]) is not None:
                    cache.kept[key] = found[one.seen.row]
                if time.monotonic() - saved > _SAVED_S:
                    cache.save()
                    saved = time.monotonic()
    finally:
        if missing:
            cache.save()
    seen = [row for row in rows if row in found]
    table = np.empty((len(seen), width), dtype=np.float32)
    for i, row in enumerate(seen):
        table[i] = found[row]
    return ScoredRows(np.array(seen, dtype=np.intp), table, tuple(problems))


def num_outputs(tagger: Tagger) -> int:
    """How many numbers are kept of a picture: see `_Raw`."""
    return tagger.about.outputs.count if isinstance(tagger, TrainedTagger) else len(tagger.labels)


class _Raw(Tagger):
    """A tagger of ours by its logits, which outlast a change of temperatures; any other by its scores."""

    def __init__(self, tagger: Tagger) -> None:
        self._tagger = tagger

    @property
    def name(self) -> str:
        return self._tagger.name

    @property
    def labels(self) -> tuple[Label, ...]:
        return self._tagger.labels

    @property
    def thresholds(self) -> Mapping[str, float]:
        return self._tagger.thresholds

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        return self._tagger.prepare(image)

    def scores(self, batch: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        if isinstance(self._tagger, TrainedTagger):
            return self._tagger.logits(batch)
        return np.clip(self._tagger.scores(batch), 0.0, 1.0)
