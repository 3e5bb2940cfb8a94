"""Write a tagger's tags into a prepared folder: resumable to the picture, by any number of processes."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from trainkit.additions.addition import Addition
from trainkit.additions.finished import read_additions
from trainkit.additions.journal import held, open_journal
from trainkit.additions.merge import Merged, merge_additions
from trainkit.additions.places import journal_of
from trainkit.errors import TrainkitError
from trainkit.keys import mixed
from trainkit.manifest_pictures import ManifestPictures
from trainkit.prepared import is_prepared
from trainkit.progress import bar_style
from trainkit.ranks import Ranks
from trainkit.tagging.corrections import Corrections
from trainkit.tagging.counts import Counts, addition_of, counted
from trainkit.tagging.decide import decide
from trainkit.tagging.kept import keep_corrections, kept_corrections
from trainkit.tagging.kept_scores import Keep, KeptScores, opened_scores, score_files
from trainkit.tagging.plan import Plan
from trainkit.tagging.scored import Scored
from trainkit.tagging.scored_once import scored_once
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
    from_kept: int = 0
    """Pictures that were not looked at, for their scores were kept."""
    kept_bytes: int = 0
    """Of all scores that are kept now."""


def apply(
    manifest: Path,
    tagger: Tagger,
    plan: Plan,
    *,
    corrections: Corrections | None = None,
    effort: Effort = USUAL,
    ranks: Ranks = ALONE,
    restart: bool = False,
    keep: Keep | None = None,
    show: bool = True,
) -> Applied:
    """Tag all pictures that have none of these tags yet, and bring them into the manifest.

    ``corrections`` are all that a person said, `kept_corrections` among them; they are kept in the folder.
    With ``keep`` the scores are, too, and pictures whose scores are there are not looked at.

    Raises TrainkitError for what is no prepared folder, for other settings than those of an earlier start
    (unless ``restart``), when the store does not answer, and when the disk is full; what was made is kept.
    """
    pictures = ManifestPictures.open(manifest)
    known = set(kept_corrections(manifest))
    new_words = [said for said in corrections or () if said not in known]
    mine = range(ranks.rank, len(pictures), ranks.world)
    folder, problems = journal_of(manifest, plan.name), list[str]()
    with open_journal(
        manifest,
        plan.name,
        plan.settings,
        rank=ranks.rank,
        world=ranks.world,
        restart=restart,
        restart_costs=_restart_costs(folder, keep),
    ) as journal:
        keys = pictures.keys
        rows = [row for row in mine if int(keys[row]) not in journal.done]
        # Each process counts what it passes over: those of others may have been done meanwhile.
        before = _sum_over(ranks, len(mine) - len(rows))
        with opened_scores(folder, keep if rows else None, plan.rules) as kept:
            if kept is not None:
                kept.write_as(ranks.rank)
                _tell(kept.notes, show and ranks.speaks)
            looked = scored_once(pictures, rows, tagger, kept, batch=effort.batch, threads=effort.threads)
            made = _made(pictures, looked, len(rows), plan, corrections, problems, ranks, show)
            with closing(made):
                for addition in made:
                    journal.append([addition])
        journal.sync()
        problems = ranks.gathered(problems)  # It also waits for all.
        if ranks.speaks:
            journal.finish()
            if kept is not None:
                kept.remove_unfit()
    # Each process waits here until the first has finished.
    from_kept = _sum_over(ranks, 0 if kept is None else kept.num_found)
    if not ranks.speaks:
        return Applied(Counts(), tuple(problems), before, None)
    keep_corrections(manifest, new_words)
    merged = merge_additions(manifest, show=show)
    counts = counted(read_additions(manifest, plan.name))
    return Applied(counts, tuple(problems), before, merged, from_kept, _bytes_kept(folder, keep))


def try_out(
    manifest: Path,
    tagger: Tagger,
    plan: Plan,
    *,
    corrections: Corrections | None = None,
    effort: Effort = USUAL,
    keep: Keep | None = None,
    show: bool = True,
) -> Applied:
    """What `apply` would do, for all pictures. Nothing is written but scores, with ``keep``."""
    pictures, problems = ManifestPictures.open(manifest), list[str]()
    rows, folder = range(len(pictures)), journal_of(manifest, plan.name)
    keep = keep if manifest.is_dir() and is_prepared(manifest) else None
    with _scores_to_try(folder, keep, plan, show) as kept:
        looked = scored_once(pictures, rows, tagger, kept, batch=effort.batch, threads=effort.threads)
        counts = counted(_made(pictures, looked, len(rows), plan, corrections, problems, Ranks(), show))
    from_kept = 0 if kept is None else kept.num_found
    return Applied(counts, tuple(problems), 0, None, from_kept, _bytes_kept(folder, keep))


@contextmanager
def _scores_to_try(folder: Path, keep: Keep | None, plan: Plan, show: bool) -> Iterator[KeptScores | None]:
    """The kept scores; more of them are kept where that can be, and nobody else does it."""
    notes: list[str] = []
    with ExitStack() as stack:
        if keep is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(held(folder, 0))
            except (OSError, TrainkitError) as error:
                notes.append(f"scores of this run are not kept: {error}")
        kept = stack.enter_context(opened_scores(folder, keep, plan.rules))
        if kept is not None:
            if not notes:
                kept.write_as(0)
            _tell([*kept.notes, *notes], show)
        yield kept


def _tell(notes: list[str], show: bool) -> None:
    for note in notes if show else ():
        print(f"note: {note}", file=sys.stderr, flush=True)


def _restart_costs(folder: Path, keep: Keep | None) -> str:
    if keep is None or not score_files(folder):
        return ""
    return (
        ". Scores are kept: pictures that have them are not looked at again, unless the tagger is another or "
        "a threshold is lower than what was kept"
    )


def _bytes_kept(folder: Path, keep: Keep | None) -> int:
    return 0 if keep is None else sum(path.stat().st_size for path in score_files(folder))


def sample_rows(keys: NDArray[np.uint64], count: int, seed: int = 0) -> list[int]:
    """``count`` rows at random, in the order of the table: those of the smallest mixed keys."""
    order = np.argsort(mixed(keys, seed), kind="stable")
    return sorted(order[:count].tolist())


def _made(
    pictures: ManifestPictures,
    looked: Iterator[Scored],
    count: int,
    plan: Plan,
    corrections: Corrections | None,
    problems: list[str],
    ranks: Ranks,
    show: bool,
) -> Generator[Addition]:
    """The additions of ``count`` pictures, in their order; those with a problem go to ``problems``."""
    style: dict[str, Any] = bar_style() if show and count and ranks.speaks else {"disable": True}
    text = plan.name if ranks.world == 1 else f"{plan.name}, process 1 of {ranks.world}"
    with tqdm(total=count, desc=text, unit=" pictures", bar_format=_BAR, **style) as bar:
        for one in looked:
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
