"""Scores that a tagger gave to pictures, kept beside what it adds: other thresholds ask no network again.

``MANIFEST/additions/.NAME/rank-00000.scores``: every rank appends to a file of its own and reads those of
all. Scores below a floor are not kept and count as 0, which decides the same as long as no threshold is lower
(see `needed_floors`). A file that does not serve, because it is another tagger's, is damaged, or begins above
a threshold, counts as none; it stays until a run has ended that does without.
"""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainkit.errors import TrainkitError
from trainkit.tagging.decide import Rules
from trainkit.tagging.score_file import ScoreFile, entry, header, read_score_file, scores_at
from trainkit.whole_file import replace_whole

_OFFSET_BITS = 44
"""Of a place; those above are the file's number."""


@dataclass(frozen=True, slots=True)
class Keep:
    """Whose scores are kept, and which."""

    mark: str
    """Of the tagger (`exact_mark_of`): another one gives other scores."""
    floor: float = 0.05
    """Scores from here on are kept; where a threshold is lower, from there on."""


def needed_floors(rules: Rules) -> NDArray[np.float32]:
    """[L]: from which score on each label's has to be known, so that `decide` does what it does with all.

    Of a group all are needed: its likeliest keeps the others from following a tag that implies them, even
    where it lies below every threshold.
    """
    grouped = np.array([label.group is not None for label in rules.labels], np.bool_)
    return np.where(grouped, 0.0, rules.thresholds).astype(np.float32)


def score_files(folder: Path) -> list[Path]:
    """The files of scores in the folder of an addition."""
    return sorted(path for path in folder.glob("rank-*.scores") if path.is_file())


class KeptScores:
    """The scores in a folder that serve a run; their index takes 16 bytes of memory a picture."""

    def __init__(self, folder: Path, keep: Keep, rules: Rules) -> None:
        """Find them; seconds for millions. Nothing is written. `close` when done."""
        self.folder, self.keep = folder, keep
        self.num_found = 0
        """Pictures that were asked for, and known."""
        self._num_labels = len(rules.labels)
        self._needed = needed_floors(rules)
        self._why: defaultdict[str, list[Path]] = defaultdict(list)
        self._unfit: list[Path] = []
        self._serving: dict[Path, tuple[int, NDArray[np.float32]]] = {}
        """Where each file ends, and its floors."""
        self._open: list[int] = []
        self._keys, self._places = self._indexed()
        self._own: int | None = None
        self._own_floors = np.minimum(np.float32(keep.floor), self._needed)

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def notes(self) -> list[str]:
        """What is to be said of files, a line each."""
        return [
            f"{paths[0]}{f' and {len(paths) - 1} more' if paths[1:] else ''}: {why}"
            for why, paths in self._why.items()
        ]

    def find(self, key: int) -> NDArray[np.float32] | None:
        """The scores, [L], of the picture of a key, 0 where none is kept; None when it is not known."""
        at = int(np.searchsorted(self._keys, np.uint64(key), side="right")) - 1
        if at < 0 or int(self._keys[at]) != key:
            return None
        number, offset = divmod(int(self._places[at]), 1 << _OFFSET_BITS)
        scores = scores_at(self._open[number], offset, key, self._num_labels)
        self.num_found += scores is not None
        return scores

    def write_as(self, rank: int) -> None:
        """Make ready to keep more, in a file of one's own. The rank is held by nobody else.

        Raises TrainkitError when that cannot be written.
        """
        path = self._own_path(rank)
        try:
            if path not in self._serving:
                replace_whole(path, header(self.keep.mark, self._own_floors))
            else:
                end, floors = self._serving[path]
                os.truncate(path, end)  # A killed run's last entry.
                self._tell_of_floors(path, floors)
                self._own_floors = floors
            self._own = os.open(path, os.O_WRONLY | os.O_APPEND)
        except OSError as error:
            raise self._unwritable(error) from error

    def add(self, key: int, scores: NDArray[np.float32]) -> None:
        """Keep the scores, [L], of a picture, if `write_as` was called; they outlast this process at once.

        Raises TrainkitError when the disk takes no more.
        """
        if self._own is None:
            return
        left = memoryview(entry(key, scores, self._own_floors))
        try:
            while left:
                left = left[os.write(self._own, left) :]
        except OSError as error:
            raise self._unwritable(error) from error

    def remove_unfit(self) -> None:
        """Remove the files that served nothing, once all that they could tell is known anew."""
        for path in self._unfit:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the files."""
        for file in [*self._open, *([] if self._own is None else [self._own])]:
            os.close(file)
        self._open, self._own = [], None

    def _indexed(self) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Keys in their order, and the place of each."""
        all_keys, all_places = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]
        for path in score_files(self.folder):
            file = self._read(path)
            if file is not None:
                all_keys.append(file.keys)
                all_places.append(file.offsets | np.uint64(len(self._serving) << _OFFSET_BITS))
                self._serving[path] = file.end, file.floors
        keys = np.concatenate(all_keys)
        order = np.argsort(keys, kind="stable")
        return keys[order], np.concatenate(all_places)[order]

    def _read(self, path: Path) -> ScoreFile | None:
        """A file that serves, which is then open."""
        try:
            file = read_score_file(path, self.keep.mark, self._num_labels)
        except (ValueError, OSError) as error:
            self._leave(path, f"{error.strerror if isinstance(error, OSError) else error}; it is not used")
            return None
        if too_high := int((file.floors > self._needed).sum()):
            at = int(np.argmax(file.floors - self._needed))
            self._leave(
                path,
                f"scores are kept from {file.floors[at]:.4g} on, and {too_high:,} tags are wanted from "
                f"{self._needed[at]:.4g} or the like on; pictures are scored again",
            )
            return None
        if file.damaged:
            self._why["is damaged; what stands behind that is scored again"].append(path)
        try:
            self._open.append(os.open(path, os.O_RDONLY))
        except OSError:  # It has just gone.
            return None
        return file

    def _leave(self, path: Path, why: str) -> None:
        self._unfit.append(path)
        self._why[why].append(path)

    def _own_path(self, rank: int) -> Path:
        """A rank's file that serves, or else the first of its names that is free."""
        stem = f"rank-{rank:05d}"
        for path in self._serving:
            if path.stem.startswith(stem):
                return path
        number, path = 0, self.folder / f"{stem}.scores"
        while path in self._unfit:
            number += 1
            path = self.folder / f"{stem}-{number}.scores"
        return path

    def _tell_of_floors(self, path: Path, floors: NDArray[np.float32]) -> None:
        if (floors > self._own_floors).any():
            self._why[
                f"scores are kept from {floors.max():.4g} on, and go on so; to have those from "
                f"{self.keep.floor:g} on, remove this file first"
            ].append(path)

    def _unwritable(self, error: OSError) -> TrainkitError:
        return TrainkitError(
            f"{self.folder}: scores cannot be kept: {error.strerror or error}; free some space, and the same "
            "command goes on, or keep none with --keep-scores none"
        )


@contextlib.contextmanager
def opened_scores(folder: Path, keep: Keep | None, rules: Rules) -> Iterator[KeptScores | None]:
    """The kept scores of a folder; None when none are to be kept."""
    if keep is None:
        yield None
        return
    with contextlib.closing(KeptScores(folder, keep, rules)) as kept:
        yield kept
