"""A few pictures with the tags that they would get, before millions get theirs."""

from __future__ import annotations

from pathlib import Path

from trainkit.manifest_pictures import ManifestPictures
from trainkit.pages import thumbnail
from trainkit.tagging.apply import USUAL, Effort, sample_rows
from trainkit.tagging.apply_report import Previewed, preview_page
from trainkit.tagging.corrections import Corrections
from trainkit.tagging.decide import decide
from trainkit.tagging.plan import Plan
from trainkit.tagging.scored import scored
from trainkit.tagging.tagger import Tagger


def preview(
    manifest: Path,
    tagger: Tagger,
    plan: Plan,
    count: int,
    *,
    corrections: Corrections | None = None,
    effort: Effort = USUAL,
) -> str:
    """The page of ``count`` pictures chosen at random, the same ones every time, as HTML."""
    pictures = ManifestPictures.open(manifest)
    some = []
    rows = sample_rows(pictures.keys, count)
    for one in scored(pictures, rows, tagger, batch=effort.batch, threads=effort.threads):
        record = one.seen.record
        where = record.id if record is not None else pictures.where(one.seen.row)
        decision = None
        if one.scores is not None and record is not None:
            decision = decide(one.scores, record, plan.rules, corrections)
        small = thumbnail(one.seen.image) if one.seen.image is not None else ""
        some.append(Previewed(where, small, record, decision, one.problem))
    return preview_page(some, plan, manifest, len(pictures))
