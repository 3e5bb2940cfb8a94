"""A tagger's scores beside what records say, picture by picture: what `evaluate` and `review` look at."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from captionkit import CaptionkitError, ImplicationGraph
from trainkit.errors import PictureError, TrainkitError
from trainkit.keys import mixed
from trainkit.manifest_pictures import ManifestPictures
from trainkit.tagging.answers import answers_in
from trainkit.tagging.corrections import Corrections
from trainkit.tagging.evaluate import ScoreTable, at_temperatures
from trainkit.tagging.labels import LearnConfig
from trainkit.tagging.outputs import Outputs, Temperatures
from trainkit.tagging.scores import CACHE, ScoreCache, score_rows
from trainkit.tagging.tagger import Tagger
from trainkit.tagging.targets import Closing
from trainkit.tagging.trained import TrainedTagger
from trainkit.tagging.truth import UNKNOWN, Truth, TruthTable

_SPLIT_SEED = 1
"""Halves for calibration; another number than that of samples, so that the two have nothing in common."""


@dataclass(frozen=True)
class Judged:
    """N pictures with a tagger's scores and what is known of them."""

    tagger: Tagger
    outputs: Outputs
    rows: NDArray[np.intp]
    """[N], rising: in the manifest."""
    raw: NDArray[np.float32]
    """[N, O] of a tagger of ours, [N, L] of others: see `ScoredRows`."""
    truth: TruthTable
    """[N, L]."""
    fitted: NDArray[np.bool_]
    """[N]: whether a picture belongs to the half from which temperatures are tried."""
    held_out: bool
    """Whether these are the pictures that the tagger never learned from."""
    without_tags: int
    """Pictures of which records say nothing; left out, where truth was asked for."""
    problems: tuple[str, ...]

    def scores(self, temperatures: Temperatures | None = None) -> ScoreTable:
        """[N, L]: probabilities at some temperatures; without them at those that the tagger has. A foreign
        tagger has none, and its scores count as those of temperature 1."""
        if isinstance(self.tagger, TrainedTagger):
            return self.outputs.probabilities(self.raw, temperatures or self.tagger.about.temperatures)
        return self.raw if temperatures is None else at_temperatures(self.outputs, self.raw, temperatures)


@dataclass(frozen=True)
class Witness:
    """Knows which labels a tagger has, and how records tell of them."""

    tagger: Tagger

    @cached_property
    def outputs(self) -> Outputs:
        """The tagger's outputs; those of a foreign one are its labels."""
        if isinstance(self.tagger, TrainedTagger):
            return self.tagger.about.outputs
        return Outputs(self.tagger.labels)

    def truth(self, corrections: Corrections, answers: Collection[str] = ()) -> Truth:
        """Reads records as the tagger's training did: by the same implications and facts, and deaf to the
        same sources."""
        unheard: tuple[str, ...] = (self.tagger.name,)
        if isinstance(self.tagger, TrainedTagger):
            unheard += self.tagger.about.leave_out_sources
        return Truth(self.outputs, self._closing(answers), corrections=corrections, unheard=unheard)

    def knows(self, tag: str) -> bool:
        """Whether a person's word about a tag says anything of the tagger's."""
        return self._plain_closing.tells(tag)

    def held_out(self, id: str, digest: str) -> bool:
        """Whether the tagger never learned from a picture; of a foreign one nobody knows: True."""
        if isinstance(self.tagger, TrainedTagger):
            return self.tagger.about.split.held_out(id, digest)
        return True

    @property
    def knows_split(self) -> bool:
        """Whether pictures were held out from its training."""
        return isinstance(self.tagger, TrainedTagger) and self.tagger.about.split.share > 0

    @cached_property
    def _plain_closing(self) -> Closing:
        return self._closing(())

    def _closing(self, answers: Collection[str]) -> Closing:
        graph, facts = ImplicationGraph({}), dict[str, str]()
        if isinstance(self.tagger, TrainedTagger):
            graph, facts = self._learned(self.tagger)
        return Closing(self.outputs, graph, facts, answers=answers)

    def _learned(self, tagger: TrainedTagger) -> tuple[ImplicationGraph, dict[str, str]]:
        try:
            learn = LearnConfig.model_validate(plainly_told(tagger.about.settings["learn"]))
        except (KeyError, TypeError, AttributeError, ValidationError, CaptionkitError):
            # Their file may be gone; those between the labels are known all the same.
            names = [label.name for label in self.outputs.labels]
            implied: dict[str, list[str]] = {}
            for implying, other in self.outputs.implications:
                implied.setdefault(names[implying], []).append(names[other])
            return ImplicationGraph(implied), {}
        return learn.implications, {
            name: group.fact for name, group in learn.groups.items() if group.fact is not None
        }


def plainly_told(learn: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a tagger says that it learned; raises KeyError where the file of implications that it names is
    none. The tagger may be anybody's, and a device or a pipe would be read for ever."""
    told = learn.get("implications")
    file = told.get("file") if isinstance(told, dict) else told
    if isinstance(file, str) and not Path(file).is_file():
        raise KeyError(file)
    return learn


def judge_pictures(
    tagger: Tagger,
    mark: str,
    pictures: ManifestPictures,
    cache: Path | None,
    *,
    corrections: Corrections,
    every: bool = False,
    unknown_too: bool = False,
    count: int = 20_000,
    batch: int = 32,
    show: bool = False,
) -> Judged:
    """Score an even sample of at most ``count`` pictures: the held-out ones, or ``every`` one.

    ``mark`` is that of the tagger (`mark_of`). Pictures of which records say nothing are left out, unless
    ``unknown_too``. Raises TrainkitError when none is left.
    """
    witness = Witness(tagger)
    held_out = witness.knows_split and not every
    truth = witness.truth(corrections, answers_in(pictures.manifest.path))
    problems: list[str] = []
    found: dict[int, NDArray[np.int8]] = {}
    order = np.argsort(mixed(pictures.keys, 0), kind="stable").tolist()
    candidates = without = 0
    for row in order:
        if len(found) == count:
            break
        try:
            record = pictures.record(row)
        except PictureError as error:
            problems.append(str(error))
            continue
        if held_out and not witness.held_out(record.id, pictures.digest(row)):
            continue
        candidates += 1
        known = truth.of(record)
        if unknown_too or (known != UNKNOWN).any():
            found[row] = known
        else:
            without += 1
    if not found:
        raise TrainkitError(_nothing(pictures, held_out, candidates))
    rows = sorted(found)
    scored = score_rows(tagger, pictures, rows, ScoreCache(cache, mark), batch=batch, show=show)
    if not len(scored.rows):
        raise TrainkitError(f"none of {len(rows)} pictures can be seen; the first: {scored.problems[0]}")
    keys = pictures.keys[scored.rows]
    return Judged(
        tagger,
        witness.outputs,
        scored.rows,
        scored.scores,
        np.stack([found[row] for row in scored.rows.tolist()]),
        (mixed(keys, _SPLIT_SEED) & np.uint64(1)).astype(np.bool_),
        held_out,
        without,
        (*problems, *scored.problems),
    )


def _nothing(pictures: ManifestPictures, held_out: bool, candidates: int) -> str:
    where = pictures.manifest.path
    if held_out and not candidates:
        return (
            f"{where}: none of {len(pictures)} pictures was held out from the tagger's training; judge it by "
            "the manifest that it was trained with, or by all pictures: --all"
        )
    return (
        f"{where}: none of {candidates} pictures has a tag, or just one of a group, so that nothing can be "
        f"judged; `trainkit tagger review {where} --tag NAME` makes a page on which to tag some"
    )


def scores_file(tagger: Path, out: Path) -> Path:
    """Where the scores of a tagger are kept: beside it, so that all commands share them; in ``out`` where its
    folder cannot be written."""
    return (tagger if os.access(tagger, os.W_OK) else out) / CACHE
