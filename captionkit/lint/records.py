"""Rules about records and captions as they are in the data."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from captionkit.lint.blocks import step
from captionkit.lint.findings import Finding, Severity
from captionkit.pipeline import CaptionPipeline
from captionkit.policies.clean import CleanCaptions
from captionkit.stats import oddities
from captionkit.stats.mentions import policies
from captionkit.stats.result import Stats

MANY = 0.05
"""The share from which what is seldom harmless is a warning."""
USUAL = 0.2
"""The share of captions with one beginning from which it is a pattern that a model learns."""
_BOILERPLATE = re.compile(
    r"(?:(?:in |at )?(?:the|this|an?|the given|the provided) (?:\w+ )?"
    r"(?:image|picture|photo|photograph|illustration|drawing|artwork|scene)\b|this is (?:a|an|the)\b|"
    r"here is\b|there (?:is|are)\b)"
)


def skipped(stats: Stats, pipeline: CaptionPipeline) -> Iterator[Finding]:
    """Records that could not be read."""
    if stats.num_skipped:
        of = stats.num_records + stats.num_skipped
        yield Finding(
            severity=Severity.ERROR if stats.num_skipped > of / 100 else Severity.WARNING,
            code="skipped",
            message="records cannot be read and are not trained",
            count=stats.num_skipped,
            of=of,
            unit="records",
            examples=stats.skipped,
            do="mend or remove them",
        )


def odd_records(stats: Stats, pipeline: CaptionPipeline) -> Iterator[Finding]:
    """Oddities of records and captions, each with what to do."""
    for oddity in stats.oddities:
        if oddity.kind in _RECORDS:
            severity, unit, message, do = _RECORDS[oddity.kind]
            if oddity.kind == oddities.ONE_TAG and oddity.share.value > MANY:
                severity = Severity.WARNING
            yield Finding(
                severity=severity,
                code=oddity.kind.replace(" ", "-"),
                message=message,
                count=oddity.share.hits,
                of=oddity.share.of,
                unit=unit,
                examples=oddity.examples,
                do=do,
            )


def openings(stats: Stats, pipeline: CaptionPipeline) -> Iterator[Finding]:
    """Many trained captions begin with the same words."""
    empty_words = [(words, share) for words, share in stats.openings if _BOILERPLATE.match(words)]
    hits = sum(share.hits for _, share in empty_words)
    of = stats.openings[0][1].of if stats.openings else 0
    cleans = any(isinstance(policy, CleanCaptions) for _, policy in policies(pipeline))
    if hits > MANY * of:
        yield Finding(
            severity=Severity.WARNING,
            code="boilerplate",
            message="captions begin with words that say nothing about the picture",
            count=hits,
            of=of,
            unit="trained captions with sentences",
            examples=tuple(words for words, _ in empty_words[:5]),
            do=(
                'give clean_captions a rule of your own for them: rules = "rules.toml"'
                if cleans
                else "take them out, as the first step"
            ),
            toml="" if cleans else step("clean_captions"),
        )
    for words, share in stats.openings:
        if share.value > USUAL and share.hits >= 10 and not _BOILERPLATE.match(words):
            yield Finding(
                severity=Severity.NOTE,
                code="same-beginning",
                message="many captions begin with the same words",
                count=share.hits,
                of=share.of,
                unit="trained captions with sentences",
                examples=(words,),
                do="if they say nothing, cut them by a rule of clean_captions",
            )


_RECORDS: Mapping[str, tuple[Severity, str, str, str]] = {
    oddities.NO_TEXT: (
        Severity.WARNING,
        "records",
        "records have neither a tag nor a caption, and are trained with an empty one",
        "tag them, or take them out; how many empty captions there are is for empty_caption to say",
    ),
    oddities.ONE_TAG: (
        Severity.NOTE,
        "records",
        "records have a single tag and no caption, so that dropout leaves nothing or everything",
        "tag them further, or write captions",
    ),
    oddities.SAME_ID: (
        Severity.ERROR,
        "records",
        "records share an id, so that they get the same draws, and caches may mix them up",
        "give each its own id; without one in the data, a picture's path is its id",
    ),
    oddities.TWICE: (
        Severity.NOTE,
        "records",
        "records have a tag more than once",
        "one of each name is kept; in other spellings (red_fox, Red fox) both are: remove them in the data",
    ),
    oddities.PLACEHOLDER: (
        Severity.WARNING,
        "captions",
        "captions are placeholders or refusals",
        "remove them from the data, or caption these pictures again",
    ),
    oddities.CONTROL_TEXT: (
        Severity.WARNING,
        "captions",
        "captions hold control characters, or were read in the wrong encoding",
        "convert the files to UTF-8 from the encoding they were written in",
    ),
}
