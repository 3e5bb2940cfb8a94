"""What a tagger wrote, as a page and as text; and a page of what it would write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captionkit import Record
from trainkit.amounts import gigabytes
from trainkit.pages import page
from trainkit.tagging.apply import Applied
from trainkit.tagging.counts import TagCount
from trainkit.tagging.decide import Decision
from trainkit.tagging.plan import Plan

_HERE = Path(__file__).parent
_SHOWN = 25
"""Tags in the printed table."""
_ON_PAGE = 5000
_PROBLEMS = 500


@dataclass(frozen=True, slots=True)
class Previewed:
    """One picture of the preview."""

    id: str
    thumbnail: str
    """A data address; empty when there is a problem."""
    record: Record | None
    decision: Decision | None
    problem: str | None = None


def report_page(applied: Applied, plan: Plan, manifest: Path, *, dry: bool) -> str:
    """The report of a run, as HTML."""
    rows = applied.counts.rows()
    return page(
        _HERE / "apply_report.html",
        title=f"{plan.name}: tags {'that would be added' if dry else 'added'}",
        dry=dry,
        plan=plan,
        manifest=manifest.name,
        counts=applied.counts,
        from_kept=applied.from_kept,
        total=sum(row.added for row in rows),
        there=sum(row.there for row in rows),
        contradicted=sum(row.contradicted for row in rows),
        any_taken=any(row.taken for row in rows),
        rows=rows[:_ON_PAGE],
        more=max(0, len(rows) - _ON_PAGE),
        most=max((row.added for row in rows), default=0),
        problems=applied.problems[:_PROBLEMS],
        num_problems=len(applied.problems),
    )


def preview_page(some: Sequence[Previewed], plan: Plan, manifest: Path, pictures: int) -> str:
    """A page with pictures and the tags that they would get, as HTML."""
    return page(
        _HERE / "apply_preview.html",
        title=f"{plan.name}: what would be added",
        plan=plan,
        manifest=manifest.name,
        some=some,
        pictures=pictures,
    )


def describe(applied: Applied, plan: Plan, *, dry: bool) -> str:
    """The report as text: a line for each of the tags most often added."""
    counts, rows = applied.counts, applied.counts.rows()
    does = "would be added" if dry else "added"
    lines = [
        f"{plan.name}: {sum(row.added for row in rows):,} tags {does} to "
        f"{counts.pictures - counts.bare:,} of {counts.pictures:,} pictures"
        + (f" ({applied.before:,} of them by an earlier start)" if applied.before else ""),
        f"  from {plan.thresholds}; {plan.num_tags:,} tags may be said",
    ]
    if applied.from_kept:
        lines.append(f"  {applied.from_kept:,} pictures by the scores that were kept, without another look")
    if rows:
        width = min(40, max(len(row.name) for row in rows[:_SHOWN]))
        lines.append(f"  {'tag':<{width}} {'added':>9} {'there':>9} {'denied':>9} {'mean':>6}")
        lines += [_line(row, width) for row in rows[:_SHOWN]]
        if len(rows) > _SHOWN:
            lines.append(f"  ... and {len(rows) - _SHOWN:,} more tags")
    if counts.without:
        lines.append(f"  {counts.without:,} pictures of which it says nothing")
    if plan.never:
        shown = ", ".join(f"{name} ({why})" for name, why in plan.never[:3])
        lines.append(f"  never written: {len(plan.never):,} tags, such as {shown}")
    if applied.problems:
        lines.append(f"  {len(applied.problems):,} pictures could not be tagged:")
        lines += [f"    {problem}" for problem in applied.problems[:5]]
    if applied.kept_bytes:
        lines.append(
            f"  scores are kept ({gigabytes(applied.kept_bytes)}): with another threshold, --restart looks "
            "at none of these pictures again, unless it is lower than what was kept"
        )
    return "\n".join(lines)


def _line(row: TagCount, width: int) -> str:
    name = row.name if len(row.name) <= width else row.name[: width - 3] + "..."
    mean = "" if row.mean_score is None else f"{row.mean_score:.3f}"
    return f"  {name:<{width}} {row.added:>9,} {row.there:>9,} {row.contradicted:>9,} {mean:>6}"


def summary(applied: Applied, plan: Plan, *, dry: bool) -> dict[str, Any]:
    """The report as plain JSON."""
    counts = applied.counts
    return {
        "name": plan.name,
        "dry": dry,
        "pictures": counts.pictures,
        "done_before": applied.before,
        "from_kept_scores": applied.from_kept,
        "kept_bytes": applied.kept_bytes,
        "thresholds": plan.thresholds,
        "tags": {
            row.name: {
                "added": row.added,
                "there": row.there,
                "contradicted": row.contradicted,
                "taken": row.taken,
                "mean_score": row.mean_score,
            }
            for row in counts.rows()
        },
        "without": counts.without,
        "never": dict(plan.never),
        "problems": list(applied.problems),
    }
