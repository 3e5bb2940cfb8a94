"""What a page says in words: its facts, its key figures, its findings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from captionkit.lint.findings import Finding
from captionkit.stats.result import Share, Stats
from captionkit.stats.shown_tag import percent

MUCH_CUT = 0.05
"""From this share on, what the budget cuts is shown as a warning."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One key figure."""

    name: str
    value: str
    says: str
    alarm: bool = False


def counted(finding: Finding) -> str:
    """What a finding is about: "12 of 340 records, 3.5 %"."""
    if not finding.of:
        return ""
    share = percent(Share(finding.count, finding.of, exact=True))
    return f"{finding.count:,} of {finding.of:,} {finding.unit}, {share}"


def facts(stats: Stats) -> Iterator[str]:
    """What the figures rest on."""
    yield f"seed {stats.seed}"
    yield f"epoch {stats.epoch}"
    if stats.changes or stats.samples:
        yield f"{stats.samples:,} samples seen"
    yield f"{stats.num_records:,} records"
    yield f"captions of {stats.num_sampled:,} records, {stats.draws} draws each"


def notes(stats: Stats) -> Iterator[str]:
    """What to bear in mind with all figures."""
    if stats.changes:
        yield (
            "The recipe changes over the run, and this page shows one moment of it: --epoch and --samples "
            "show others."
        )
    if stats.num_repeated:
        yield (
            f"Each record counts once: kohya.num_repeats of {stats.num_repeated:,} records is not counted in."
        )


def figures(stats: Stats) -> Iterator[Figure]:
    """The figures to look at first."""
    without = f"{stats.num_without_tags:,} without tags, {stats.num_without_prose:,} without captions"
    skipped = f"; {stats.num_skipped:,} skipped" if stats.num_skipped else ""
    yield Figure("Records", f"{stats.num_records:,}", without + skipped, stats.num_skipped > 0)
    important = sum(tag.important for tag in stats.tags)
    yield Figure("Different tags", f"{stats.num_tags:,}", f"{important:,} of them important")
    yield Figure("Empty captions", percent(stats.empty), "of the trained captions")
    lengths = dict(stats.lengths.percentiles)
    span = f"tokens; 90 % have {lengths[5]} to {lengths[95]}" if {5, 95} <= lengths.keys() else "tokens"
    yield Figure("Mean length", f"{stats.lengths.mean:.1f}", span)
    budget = stats.budget
    lost = f"{budget.tags_lost:,} tags and {budget.sentences_lost:,} sentences lost"
    if budget.max_tokens is None:
        yield Figure("Cut by the budget", "none", "the recipe has no max_tokens")
    else:
        says = f"over {budget.max_tokens} tokens; {lost}"
        yield Figure("Cut by the budget", percent(budget.cut), says, budget.cut.value >= MUCH_CUT)
    mirrored = f"of the records; {percent(stats.flips.mirrored)} of the captions are"
    yield Figure("May be mirrored", percent(stats.flips.may), mirrored)


def tags_note(stats: Stats, shown: int) -> str:
    """What the table of tags holds."""
    all_of = f"All {stats.num_tags:,} tags" if shown >= stats.num_tags else f"The {shown:,} most frequent"
    some = "" if shown >= stats.num_tags else f" of {stats.num_tags:,} tags"
    return f"{all_of}{some}, by their folded names (no case, “_” as a space). Choose one to see its pictures."


def gallery_note(shown: int, num_records: int, draws: int, max_mb: float) -> str:
    """What the gallery holds."""
    kinds = (
        f"the first {draws} draws of each, as training would see them" if draws > 1 else "one draw of each"
    )
    if shown >= num_records:
        return (
            f"All {num_records:,} records, {kinds}. Point at or tap what is marked to see which step did it."
        )
    return (
        f"{shown:,} of {num_records:,} records, spread evenly over the data, since more do not fit into "
        f"{max_mb:g} MB; {kinds}. Point at or tap what is marked to see which step did it."
    )
