"""Rules about what the recipe names and the data does not have."""

from __future__ import annotations

from collections.abc import Iterator

from captionkit.lint.findings import Finding, Severity
from captionkit.patterns import compile_patterns
from captionkit.pipeline import CaptionPipeline
from captionkit.stats.mentions import mentions
from captionkit.stats.result import Stats, Unmatched

NUM_EXAMPLES = 5


def unmatched(stats: Stats, pipeline: CaptionPipeline) -> Iterator[Finding]:
    """Patterns, aliases, categories and facts that nothing in the data answers to, by field."""
    written: dict[str, int] = {}
    for mention in mentions(pipeline):
        written[mention.where] = written.get(mention.where, 0) + 1
    fields: dict[str, list[Unmatched]] = {}
    for one in stats.unmatched:
        fields.setdefault(one.where, []).append(one)
    for where, found in fields.items():
        near = [one for one in found if one.near]
        yield Finding(
            severity=Severity.WARNING if near else Severity.NOTE,
            code="unmatched",
            message=_message(where, len(found), written.get(where, len(found))),
            count=len(found),
            of=written.get(where, len(found)),
            unit="names of the recipe",
            examples=tuple(map(_example, [*near, *(one for one in found if not one.near)][:NUM_EXAMPLES])),
            do=_do(where, near),
        )


def _do(where: str, near: list[Unmatched]) -> str:
    """What mends the first that is nearly there."""
    if not near:
        return f"take them out of `{where}`, or leave them for data to come"
    what, meant = near[0].what, near[0].near[0]
    wider = what.replace("**", "*").replace("*", "**")
    if "*" in what and wider != what and compile_patterns((wider,)).match(meant):
        return f"write {wider!r} for {what!r} in `{where}` if parts of words are meant: `*` keeps words whole"
    return f"write {meant!r} for {what!r} in `{where}` if that was meant"


def _message(where: str, missing: int, of: int) -> str:
    if of == 1:
        return f"what `{where}` names is not in the data"
    if missing == of:
        return f"nothing of what `{where}` names is in the data"
    return f"{missing} of the {of} that `{where}` names {'is' if missing == 1 else 'are'} not in the data"


def _example(one: Unmatched) -> str:
    return f"{one.what} (near: {', '.join(one.near)})" if one.near else one.what
