"""Rules about what is said of mirrored pictures."""

from __future__ import annotations

from collections.abc import Iterator

from captionkit.lint.blocks import table
from captionkit.lint.findings import Finding, Severity
from captionkit.pipeline import CaptionPipeline
from captionkit.stats import oddities
from captionkit.stats.result import Oddity, Stats


def sides(stats: Stats, pipeline: CaptionPipeline) -> Iterator[Finding]:
    """Left and right, which are wrong on a mirrored picture unless they are exchanged."""
    for oddity in _found(stats, oddities.SIDES, oddities.SIDE_TAGS):
        captions = oddity.kind == oddities.SIDES
        yield Finding(
            severity=Severity.WARNING,
            code="sides",
            message=f"{'captions' if captions else 'tags'} speak of left or right on pictures that are "
            f"mirrored with the same words, so that both come to mean the same",
            count=oddity.share.hits,
            of=oddity.share.of,
            unit="captions" if captions else "tags on records",
            examples=oddity.examples,
            do='mirror = "swap" in [flip] exchanges them; mirror = "tags" leaves such captions out; '
            "p = 0.0 mirrors nothing",
        )


def writing(stats: Stats, pipeline: CaptionPipeline) -> Iterator[Finding]:
    """Tags that speak of writing, on pictures that may be mirrored."""
    for oddity in _found(stats, oddities.WRITING_TAGS):
        yield Finding(
            severity=Severity.WARNING,
            code="writing",
            message="pictures with writing in them may be mirrored, and then it is trained backwards",
            count=oddity.share.hits,
            of=oddity.share.of,
            unit="tags on records",
            examples=oddity.examples,
            do="forbid it by no_flip in [flip] (beside a preset: in no table); these are the most frequent",
            toml=table("flip", no_flip=[*pipeline.flip.no_flip, *oddity.examples]),
        )


def _found(stats: Stats, *kinds: str) -> Iterator[Oddity]:
    return (oddity for oddity in stats.oddities if oddity.kind in kinds)
