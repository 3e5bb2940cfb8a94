"""What `captionkit implications` and `captionkit correlations` say, as text and as values for JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from captionkit.correlations import CountedCorrelations
from captionkit.implications import ImplicationSource
from captionkit.implications.audit import Audit
from captionkit.implications.build import Built

NUM_EXAMPLES = 5
"""So many correlations are shown; the file has them all."""


def built_text(built: Built, source: ImplicationSource, out: Path) -> str:
    """What was made of a list of implications: what was left out and why, and what stays."""
    aside = ", ".join(f"{number:,} {status}" for status, number in built.left_aside.items())
    lines = [
        f"{source.file.name}: {built.num_active:,} active rows{f' (left aside: {aside})' if aside else ''}"
    ]
    if source.aliases is not None:
        was = "was one" if built.num_renamed == 1 else "were some"
        lines.append(f"  aliases resolved: {_number(built.num_renamed, 'tag')} of the implications {was}")
    for group in built.left_out:
        lines.append(
            f"  left out: {len(group.edges):,} {group.reason}, such as {' -> '.join(group.edges[0])}"
        )
    if built.num_added:
        lines.append(f"  added: {built.num_added:,}")
    if broken := built.broken():
        lines.append(
            f"  broken: {len(broken):,} implied before by way of what was left out, such as "
            f"{' -> '.join(broken[0])}"
        )
    edges, tags = _number(built.graph.num_edges, "implication"), _number(len(built.graph.tags()), "tag")
    return "\n".join([*lines, f"{out}: {edges} over {tags}"])


def built_json(built: Built) -> dict[str, Any]:
    """The same as values, with every implication that was left out."""
    return {
        "active": built.num_active,
        "left_aside": dict(built.left_aside),
        "renamed": built.num_renamed,
        "left_out": {group.reason: group.edges for group in built.left_out},
        "added": built.num_added,
        "broken": built.broken(),
        "edges": built.graph.num_edges,
        "tags": len(built.graph.tags()),
    }


def audit_text(audit: Audit, num_lines: int) -> str:
    """A data set held against its implications; of each list the first lines."""
    share = audit.num_implied / audit.num_tags if audit.num_tags else 0.0
    alone, broken = audit.never_alone, audit.violations
    missing = [
        f"  {one.num_missing:>7,} of {one.num_records:,}  {one.tag} without {one.implied} ({one.example})"
        for one in broken
    ]
    lines = [
        f"{_number(audit.num_records, 'record')}, {_number(audit.num_tags, 'tag')}; another tag implies "
        f"{share:.1%} of these",
        "",
        f"never alone: {len(alone):,} of {len(audit.implied):,} implied tags have one that implies them in "
        "every record",
        *_first([f"  {tag.num_records:>7,}  {tag.tag}" for tag in alone], num_lines),
        "",
        f"violated: {_number(len(broken), 'implication')}; {_number(audit.num_missing, 'tag')} missing, from "
        f"{_number(audit.num_incomplete, 'record')}; in brackets the first record",
        *_first(missing, num_lines),
    ]
    return "\n".join(lines)


def counted_text(counted: CountedCorrelations) -> str:
    """What was found, with the first few of it."""
    companions = counted.companions
    num_triggers = len({companion.trigger for companion in companions})
    lines = [
        f"{_number(len(companions), 'tag')} that come with {_number(num_triggers, 'trigger')} in "
        f"{_number(counted.counting.num_records, 'record')}"
    ]
    for each in companions[:NUM_EXAMPLES]:
        lines.append(f"  {each.tag} comes with {each.trigger} in {each.num_both:,} of {each.num_trigger:,}")
    if len(companions) > NUM_EXAMPLES:
        lines.append(f"  ... and {len(companions) - NUM_EXAMPLES:,} more")
    if not companions:
        lines.append(
            "  found none: a trigger is a tag of the right category (which not all data have) or one that "
            "matches --triggers, in as many records as --support"
        )
    return "\n".join(lines)


def _first(lines: Sequence[str], num_lines: int) -> Iterator[str]:
    yield from lines[:num_lines]
    if len(lines) > num_lines:
        yield f"  ... and {len(lines) - num_lines:,} more; -n or --json show them"


def _number(number: int, thing: str) -> str:
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"
