"""One draw as marked pieces: what stayed, what left and by which step, what came; for screen and page."""

from __future__ import annotations

from dataclasses import dataclass

from captionkit.fate import called
from captionkit.flip import FlipRule
from captionkit.marked_prose import MarkedProse, ProseMarks
from captionkit.marked_tags import MarkedTag, TagMarks
from captionkit.pipeline import CaptionPipeline
from captionkit.record import Caption, Record, Rendered, Source


@dataclass(frozen=True, slots=True)
class MarkedFlip:
    """What was decided about mirroring."""

    may: bool
    """Whether any draw may mirror this picture."""
    mirrored: bool
    """Whether this draw does."""
    reason: str
    """What `explain` says: "mirrored: drew 0.211, below 0.5"."""
    forbidden_by: str | None
    """The pattern that forbids it, or what else does, as in `FlipRule.forbidden_by`; None where nothing
    does."""


@dataclass(frozen=True, slots=True)
class Marked:
    """One draw of one record, piece by piece."""

    rendered: Rendered
    """The text, and every step."""
    caption: Caption
    """What the text says."""
    tags: tuple[MarkedTag, ...]
    """Those of the text in its order; those that left stand between them, each where the record had it."""
    prose: tuple[MarkedProse, ...]
    """Every caption of the record."""
    tags_first: bool
    """Whether the text has its tags before its captions."""
    flip: MarkedFlip

    @property
    def before(self) -> str:
        """Words in front of the tags and captions, such as a template's."""
        return self.caption.before

    @property
    def after(self) -> str:
        """Words behind them."""
        return self.caption.after


def marked(
    pipeline: CaptionPipeline, record: Record, *, epoch: int = 0, draw: int = 0, samples: int | None = None
) -> Marked:
    """One draw with what became of every tag and of every word, and which step did it.

    The tags that did not leave are those of `pipeline.draw_caption(...).caption`, in its order.
    """
    rendered = pipeline.explain(record, epoch=epoch, draw=draw, samples=samples)
    caption = pipeline.draw_caption(record, epoch=epoch, draw=draw, samples=samples).caption
    first = Caption.of(record)
    tags, prose = TagMarks(first.tags), ProseMarks(first.prose)
    for step in rendered.trace:
        tags.follow(step)
        prose.follow(step)
    last = called(rendered.trace[-1].address.partition("/")[0])
    return Marked(
        rendered,
        caption,
        tags.result(caption, last),
        prose.result(caption, last),
        tags_first=caption.source is not Source.BOTH_CAPTION_FIRST,
        flip=_flip(pipeline.flip, record, rendered),
    )


def _flip(rule: FlipRule, record: Record, rendered: Rendered) -> MarkedFlip:
    forbidden = rule.forbidden_by(record)
    pattern = None if forbidden is None else forbidden[0]
    return MarkedFlip(rendered.may_flip, rendered.flip, rendered.trace[0].reason, pattern)
