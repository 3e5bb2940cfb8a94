"""Rules about tags that a model cannot learn to tell apart, since they always come together."""

from __future__ import annotations

import json
from collections.abc import Iterator

from captionkit.lint.blocks import step
from captionkit.lint.findings import Finding, Severity
from captionkit.pipeline import CaptionPipeline
from captionkit.policies.correlated import DropCorrelated
from captionkit.policies.implied import DropImplied
from captionkit.stats.mentions import policies
from captionkit.stats.result import Stats, TagStats

ENOUGH = 20
"""Records, and captions, from which "never" and "always" say something."""
SELDOM = 0.02
ALWAYS = 0.95
COMMON = 0.5
"""A tag on half of all records comes with every other; that says nothing."""
NUM_EXAMPLES = 5


def never_alone(stats: Stats, pipeline: CaptionPipeline) -> Iterator[Finding]:
    """Tags that no caption says without one of the tags that they imply."""
    asked = [tag for tag in stats.tags if tag.alone is not None and tag.alone.after.of >= ENOUGH]
    found = [tag for tag in asked if tag.alone is not None and tag.alone.after.value < SELDOM]
    found = [tag for tag in found if tag.alone is not None and tag.alone.before.value < ALWAYS]
    if not found:
        return
    drops = any(isinstance(policy, DropImplied) for _, policy in policies(pipeline))
    yield Finding(
        severity=Severity.NOTE if drops else Severity.WARNING,
        code="never-alone",
        message="tags are nearly never trained without one of the tags that they imply, so that their "
        "names alone may not be enough in a prompt",
        count=len(found),
        of=len(asked),
        unit="tags that imply others",
        examples=tuple(f"{tag.name} (implies {_implied(tag)})" for tag in found[:NUM_EXAMPLES]),
        do=(
            "raise rate_range of drop_implied, or give these a rate of their own: "
            f"rates = [{{ tags = [{json.dumps(_implied(found[0]))}], rate = 0.8 }}]"
            if drops
            else "leave some of the implied ones out; implications may also be the path of an export"
        ),
        toml="" if drops else step("drop_implied", rate_range=[0.3, 0.5], implications=_table(found)),
    )


def always_together(stats: Stats, pipeline: CaptionPipeline) -> Iterator[Finding]:
    """Tags that come with one and the same other tag."""
    often = {tag.name: tag.data.value for tag in stats.tags}
    found = [tag for tag in stats.tags if _bound(tag) and _other(tag, often) < COMMON]
    if not found:
        return
    drops = any(isinstance(policy, DropCorrelated) for _, policy in policies(pipeline))
    yield Finding(
        severity=Severity.NOTE,
        code="always-together",
        message="tags are trained with one and the same other tag nearly always, so that they cannot be "
        "asked for by themselves",
        count=len(found),
        of=sum(tag.count >= ENOUGH for tag in stats.tags),
        unit=f"tags on {ENOUGH} records or more",
        examples=tuple(
            f"{tag.name} with {tag.neighbour.name} ({100 * tag.neighbour.after.value:.0f} %)"
            for tag in found[:NUM_EXAMPLES]
            if tag.neighbour is not None
        ),
        do=(
            "raise p_tags of drop_correlated"
            if drops
            else "captionkit correlations build counts such tags of characters for a drop_correlated step; "
            "drop_tags with a higher rate parts them too"
        ),
    )


def _bound(tag: TagStats) -> bool:
    return (
        tag.neighbour is not None
        and tag.count >= ENOUGH
        and tag.neighbour.after.of >= ENOUGH
        and tag.neighbour.after.value > ALWAYS
    )


def _other(tag: TagStats, often: dict[str, float]) -> float:
    return often.get(tag.neighbour.name, 0.0) if tag.neighbour is not None else 1.0


def _table(tags: list[TagStats]) -> dict[str, list[str]]:
    return {tag.name: list(tag.alone.implies) for tag in tags[:NUM_EXAMPLES] if tag.alone is not None}


def _implied(tag: TagStats) -> str:
    return tag.alone.implies[0] if tag.alone is not None else ""
