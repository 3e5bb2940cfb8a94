"""Rules about settings of the recipe that contradict each other, or the data."""

from __future__ import annotations

from collections.abc import Iterator

from captionkit.curves import Curve
from captionkit.lint.blocks import step
from captionkit.lint.findings import Finding, Severity
from captionkit.pipeline import CaptionPipeline
from captionkit.policies.implied import DropImplied
from captionkit.policies.source import ChooseSource
from captionkit.policies.when import When
from captionkit.readers.kohya_options import FACT
from captionkit.stats.mentions import policies
from captionkit.stats.result import Stats

TOO_MANY_EMPTY = 0.3
HALF = 0.5


def sources(stats: Stats, pipeline: CaptionPipeline) -> Iterator[Finding]:
    """A source that the recipe wants and the data lacks, or that the data has and nobody wants."""
    with_prose = stats.num_records - stats.num_without_prose
    # What an imported recipe does to texts of several lines, if there are any.
    apart = tuple(
        f"{address}/"
        for address, policy in policies(pipeline)
        if isinstance(policy, When) and policy.facts and f"{FACT}lines" in policy.facts
    )
    for address, policy in policies(pipeline):
        if not isinstance(policy, ChooseSource) or address.startswith(apart):
            continue
        wanted = _ever(policy.caption) or _ever(policy.both)
        if wanted and not with_prose:
            yield Finding(
                severity=Severity.NOTE,
                code="no-prose",
                message=f"`{address}` shares out captions in sentences, and no record has one",
                count=stats.num_records,
                of=stats.num_records,
                unit="records",
                examples=(),
                do=f'take `{address}` out; or add captions, as .caption files or under "caption"',
            )
        if not wanted and with_prose:
            yield Finding(
                severity=Severity.WARNING,
                code="prose-unused",
                message=f"records have captions in sentences, and `{address}` takes none beside tags",
                count=with_prose,
                of=stats.num_records,
                unit="records",
                examples=(),
                do=f"give `{address}` weights for them",
                toml="caption = 0.2\nboth = 0.1",
            )


def implications(stats: Stats, pipeline: CaptionPipeline) -> Iterator[Finding]:
    """A dropout of implied tags that finds none."""
    for address, policy in policies(pipeline):
        if not isinstance(policy, DropImplied):
            continue
        edges = policy.implications.num_edges
        if edges and any(tag.alone is not None and tag.count for tag in stats.tags):
            continue
        yield Finding(
            severity=Severity.WARNING if edges else Severity.NOTE,
            code="nothing-implied",
            message=(
                f"none of the {edges:,} implications of `{address}` is about a tag of the data"
                if edges
                else f"`{address}` has no implications, so that it changes nothing"
            ),
            count=edges,
            of=edges,
            unit="implications",
            examples=(),
            do="give it those of the site that the tags are from (captionkit implications --help), or a "
            "table of your own; or take the step out",
            toml='implications = "tag_implications.csv.gz"',
        )


def important(stats: Stats, pipeline: CaptionPipeline) -> Iterator[Finding]:
    """Lists of important tags that cover most of all tags."""
    count = sum(tag.count for tag in stats.tags if tag.important)
    if count > HALF * stats.num_tags_on_records:
        yield Finding(
            severity=Severity.WARNING,
            code="important",
            message="more than half of the tags count as important, so that dropout does little",
            count=count,
            of=stats.num_tags_on_records,
            unit="tags on records",
            examples=tuple(tag.name for tag in stats.tags if tag.important)[:5],
            do="narrow the patterns of mark_important and important_first to what must come first",
        )


def empty(stats: Stats, pipeline: CaptionPipeline) -> Iterator[Finding]:
    """No empty caption at all, or too many."""
    share = stats.empty
    if not share.hits:
        yield Finding(
            severity=Severity.NOTE,
            code="no-empty",
            message="no caption is empty, so that the model does not learn to draw without a prompt, as "
            "classifier-free guidance asks of it",
            count=0,
            of=share.of,
            unit="trained captions",
            examples=(),
            do="leave some empty, before the other dropouts; a short fine-tune may do without",
            toml=step("empty_caption", p=0.1),
        )
    elif share.value > TOO_MANY_EMPTY:
        yield Finding(
            severity=Severity.WARNING,
            code="many-empty",
            message="many captions are empty; 10 to 20 % are usual, half was found worse (arXiv 2207.12598)",
            count=share.hits,
            of=share.of,
            unit="trained captions",
            examples=(),
            do="lower p of empty_caption and the rates of dropout; see whether many records have few tags",
        )


def _ever(weight: float | Curve) -> bool:
    return any(height for _, height in weight.points) if isinstance(weight, Curve) else weight > 0.0
