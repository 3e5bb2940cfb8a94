"""Findings as text for a terminal and as JSON values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from captionkit.lint.findings import Finding, Severity
from captionkit.screen import Mark, Piece, Screen, printable
from captionkit.stats.result import Share
from captionkit.stats.shown_tag import percent

_MARKS = {Severity.ERROR: Mark.HEAD, Severity.WARNING: Mark.HEAD, Severity.NOTE: Mark.QUIET}


def findings_text(findings: Sequence[Finding], screen: Screen) -> str:
    """Every finding: its weight, what is wrong, how much, examples, what to do; then how many there are."""
    paragraphs = ["\n".join(_lines(finding, screen)) for finding in findings]
    return "\n\n".join([*paragraphs, _summary(findings)])


def findings_json(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """The same as values."""
    return [
        {
            "severity": str(one.severity),
            "code": one.code,
            "message": one.message,
            "count": one.count,
            "of": one.of,
            "unit": one.unit,
            "share": round(one.share, 6),
            "examples": list(one.examples),
            "do": one.do,
            "toml": one.toml,
        }
        for one in findings
    ]


def _lines(finding: Finding, screen: Screen) -> list[str]:
    head = [
        Piece(finding.severity, _MARKS[finding.severity], ":"),
        Piece(finding.message),
        Piece(f"[{finding.code}]", Mark.QUIET),
    ]
    lines = [screen.paragraph(head, rest="  ")]
    if finding.of:
        share = percent(Share(finding.count, finding.of, exact=True))
        counted = f"{finding.count:,} of {finding.of:,} {finding.unit}, {share}"
        lines.append(screen.paragraph([Piece(counted)], first="  how much   "))
    if finding.examples:
        last = len(finding.examples) - 1
        pieces = [Piece(name, after="," if at < last else "") for at, name in enumerate(finding.examples)]
        lines.append(screen.paragraph(pieces, first="  such as    "))
    lines.append(screen.paragraph([Piece(finding.do)], first="  what to do "))
    lines += [f"    {printable(line)}".rstrip() for line in finding.toml.splitlines()]
    return lines


def _summary(findings: Sequence[Finding]) -> str:
    if not findings:
        return "nothing to say: no rule found anything"
    counts = Counter(finding.severity for finding in findings)
    said = [f"{counts[one]} {one}{'' if counts[one] == 1 else 's'}" for one in Severity if counts[one]]
    return ", ".join(said)
