"""A few pictures with the tags that they would get, before millions get theirs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainkit.additions.places import journal_of
from trainkit.manifest_pictures import ManifestPictures
from trainkit.pages import thumbnail
from trainkit.tagging.apply import USUAL, Effort, sample_rows
from trainkit.tagging.apply_report import Previewed, preview_page
from trainkit.tagging.corrections import Corrections
from trainkit.tagging.decide import decide
from trainkit.tagging.kept_scores import Keep, KeptScores, opened_scores
from trainkit.tagging.plan import Plan
from trainkit.tagging.scored import Scored, scored
from trainkit.tagging.tagger import Tagger


def preview(
    manifest: Path,
    tagger: Tagger,
    plan: Plan,
    count: int,
    *,
    corrections: Corrections | None = None,
    effort: Effort = USUAL,
    keep: Keep | None = None,
) -> str:
    """The page of ``count`` pictures chosen at random, the same ones every time, as HTML. With ``keep`` by
    kept scores, where there are some."""
    pictures = ManifestPictures.open(manifest)
    some: dict[int, Previewed] = {}
    rows = sample_rows(pictures.keys, count)
    with opened_scores(journal_of(manifest, plan.name), keep, plan.rules) as kept:
        for one in _looked_at(pictures, rows, tagger, kept, effort):
            record = one.seen.record
            where = record.id if record is not None else pictures.where(one.seen.row)
            decision = None
            if one.scores is not None and record is not None:
                decision = decide(one.scores, record, plan.rules, corrections)
            small = thumbnail(one.seen.image) if one.seen.image is not None else ""
            some[one.seen.row] = Previewed(where, small, record, decision, one.problem)
    return preview_page([some[row] for row in rows], plan, manifest, len(pictures))


def _looked_at(
    pictures: ManifestPictures, rows: list[int], tagger: Tagger, kept: KeptScores | None, effort: Effort
) -> Iterator[Scored]:
    """Every picture, to be shown; the network is asked where no scores are kept."""
    known: dict[int, NDArray[np.float32]] = {}
    for row in rows:
        key = pictures.picture_key(row)
        if kept is not None and key is not None and (scores := kept.find(key)) is not None:
            known[row] = scores
    for seen in pictures.images(known, threads=effort.threads):
        yield Scored(seen, None if seen.image is None else known[seen.row], seen.problem)
    others = [row for row in rows if row not in known]
    yield from scored(pictures, others, tagger, batch=effort.batch, threads=effort.threads)
