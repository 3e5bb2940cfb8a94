"""Rules about the length of captions."""

from __future__ import annotations

from collections.abc import Iterator

from captionkit.lint.blocks import table
from captionkit.lint.findings import Finding, Severity
from captionkit.pipeline import CaptionPipeline
from captionkit.stats.result import Stats

NEARLY_ALL = 0.95
MANY = 0.05
USUAL_LIMIT = 225
"""Tokens that many trainers take at most: three chunks."""


def cut(stats: Stats, pipeline: CaptionPipeline) -> Iterator[Finding]:
    """Captions that the budget shortens."""
    share, budget = stats.budget.cut, stats.budget
    if not share.hits:
        return
    severity = Severity.NOTE
    if share.value > MANY:
        severity = Severity.ERROR if share.value > NEARLY_ALL else Severity.WARNING
    most = ", ".join(name for name, _ in budget.most_lost[:3])
    yield Finding(
        severity=severity,
        code="cut",
        message=f"captions are longer than {budget.max_tokens} tokens and lose their end"
        + (f", most often {most}" if most else ""),
        count=share.hits,
        of=share.of,
        unit="trained captions",
        examples=budget.examples,
        do="raise max_tokens in [text] if your trainer takes more; else drop more tags, or mark_important "
        "what must stay",
    )


def unlimited(stats: Stats, pipeline: CaptionPipeline) -> Iterator[Finding]:
    """No budget, and captions longer than most trainers take."""
    if stats.budget.max_tokens is not None:
        return
    longer = sum(number for first, number in stats.lengths.histogram if first >= USUAL_LIMIT)
    if longer:
        yield Finding(
            severity=Severity.WARNING,
            code="no-budget",
            message=f"captions are longer than the {USUAL_LIMIT} tokens that many trainers take; the rest is "
            "lost without a word, in the middle of a tag",
            count=longer,
            of=stats.num_sampled * stats.draws,
            unit="trained captions",
            examples=(),
            do="cut them where a tag or a sentence ends, at what your trainer takes",
            toml=table("text", max_tokens=USUAL_LIMIT),
        )
