"""Write a tagger's tags into a prepared folder: resumable to the picture, by any number of processes."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from trainkit.additions.addition import Addition
from trainkit.additions.finished import read_additions
from trainkit.additions.journal import open_journal
from trainkit.additions.merge import Merged, merge_additions
from trainkit.keys import mixed
from trainkit.manifest_pictures import ManifestPictures
from trainkit.progress import bar_style
from trainkit.ranks import Ranks
from trainkit.tagging.corrections import Corrections
from trainkit.tagging.counts import Counts, addition_of, counted
from trainkit.tagging.decide import decide
from trainkit.tagging.kept import keep_corrections, kept_corrections
from trainkit.tagging.plan import Plan
from trainkit.tagging.scored import Scored, scored
from trainkit.tagging.tagger import Tagger

_BAR = "{desc}: {n_fmt}/{total_fmt} [{elapsed}, {remaining} left, {rate_fmt}]{postfix}"


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is done at a time."""

    batch: int = 16
    """Pictures that are scored at a time."""
    threads: int = 2
    """That read and prepare pictures."""


USUAL = Effort()
ALONE = Ranks()


@dataclass(frozen=True, slots=True)
class Applied:
    """What a run did. Only the first process of several knows all of it."""

    counts: Counts
    problems: tuple[str, ...]
    """Pictures that could not be tagged, each with the reason; the next run tries them again."""
    before: int
    """Pictures that an earlier start had done."""
    merged: Merged | None
    """None for a dry run."""


def apply(
    manifest: Path,
    tagger: Tagger,
    plan: Plan,
    *,
    corrections: Corrections | None = None,
    effort: Effort = USUAL,
    ranks: Ranks = ALONE,
    restart: bool = False,
    show: bool = True,
) -> Applied:
    """Tag all pictures that have none of these tags yet, and bring them into the manifest.

    ``corrections`` are all that a person said, `kept_corrections` among them; they are kept in the folder.

    Raises TrainkitError for what is no prepared folder, for other settings than those of an earlier start
    (unless ``restart``), when the store does not answer, and when the disk is full; what was made is kept.
    """
    pictures = ManifestPictures.open(manifest)
    known = set(kept_corrections(manifest))
    new_words = [said for said in corrections or () if said not in known]
    mine = range(ranks.rank, len(pictures), ranks.world)
    problems: list[str] = []
    with open_journal(
        manifest, plan.name, plan.settings, rank=ranks.rank, world=ranks.world, restart=restart
    ) as journal:
        keys = pictures.keys
        rows = [row for row in mine if int(keys[row]) not in journal.done]
        # Each process counts what it passes over: those of others may have been done meanwhile.
        before = _sum_over(ranks, len(mine) - len(rows))
        made = _made(pictures, rows, tagger, plan, corrections, effort, problems, ranks, show)
        with closing(made):
            for addition in made:
                journal.append([addition])
        journal.sync()
        problems = ranks.gathered(problems)  # It also waits for all.
        if ranks.speaks:
            journal.finish()
    ranks.wait()
    if not ranks.speaks:
        return Applied(Counts(), tuple(problems), before, None)
    keep_corrections(manifest, new_words)
    merged = merge_additions(manifest, show=show)
    return Applied(counted(read_additions(manifest, plan.name)), tuple(problems), before, merged)


def try_out(
    manifest: Path,
    tagger: Tagger,
    plan: Plan,
    *,
    corrections: Corrections | None = None,
    effort: Effort = USUAL,
    show: bool = True,
) -> Applied:
    """What `apply` would do, for all pictures, with nothing written."""
    pictures, problems = ManifestPictures.open(manifest), list[str]()
    rows = range(len(pictures))
    made = _made(pictures, rows, tagger, plan, corrections, effort, problems, Ranks(), show)
    return Applied(counted(made), tuple(problems), 0, None)


def sample_rows(keys: NDArray[np.uint64], count: int, seed: int = 0) -> list[int]:
    """``count`` rows at random, in the order of the table: those of the smallest mixed keys."""
    order = np.argsort(mixed(keys, seed), kind="stable")
    return sorted(order[:count].tolist())


def _made(
    pictures: ManifestPictures,
    rows: Iterable[int],
    tagger: Tagger,
    plan: Plan,
    corrections: Corrections | None,
    effort: Effort,
    problems: list[str],
    ranks: Ranks,
    show: bool,
) -> Generator[Addition]:
    """The additions of rows, in their order; pictures with a problem go to ``problems``."""
    some = list(rows)
    style: dict[str, Any] = bar_style() if show and some and ranks.speaks else {"disable": True}
    text = plan.name if ranks.world == 1 else f"{plan.name}, process 1 of {ranks.world}"
    with tqdm(total=len(some), desc=text, unit=" pictures", bar_format=_BAR, **style) as bar:
        for one in scored(pictures, some, tagger, batch=effort.batch, threads=effort.threads):
            bar.update()
            if one.scores is None or one.seen.record is None:
                problems.append(_named(pictures, one))
                bar.set_postfix_str(f", {len(problems):,} broken", refresh=False)
                continue
            decision = decide(one.scores, one.seen.record, plan.rules, corrections)
            yield addition_of(one.seen.record.id, pictures.digest(one.seen.row), decision)


def _named(pictures: ManifestPictures, one: Scored) -> str:
    problem = one.problem or "the row holds no record"
    if one.seen.record is not None and one.seen.record.id not in problem:
        return f"{one.seen.record.id}: {problem}"
    return problem if one.seen.record is not None else f"{pictures.where(one.seen.row)}: {problem}"


def _sum_over(ranks: Ranks, count: int) -> int:
    if ranks.world == 1:
        return count
    import torch
    import torch.distributed as dist

    total = torch.tensor(count)
    dist.all_reduce(total)
    return int(total)
