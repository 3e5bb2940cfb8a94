"""All rules over the figures of a recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from captionkit.lint import apart, lengths, mirrored, names, records, settings, tags
from captionkit.lint.findings import Finding, by_weight
from captionkit.pipeline import CaptionPipeline
from captionkit.stats.result import Stats

Rule = Callable[[Stats, CaptionPipeline], Iterator[Finding]]

RULES: tuple[Rule, ...] = (
    names.wrong_data,
    names.unmatched,
    tags.typos,
    tags.spellings,
    records.skipped,
    records.odd_records,
    records.openings,
    mirrored.sides,
    mirrored.writing,
    lengths.cut,
    lengths.unlimited,
    apart.never_alone,
    apart.always_together,
    settings.sources,
    settings.implications,
    settings.important,
    settings.empty,
)


def lint(
    stats: Stats, pipeline: CaptionPipeline, *, aliases: Mapping[str, str] | None = None
) -> tuple[Finding, ...]:
    """What is wrong with a recipe over data, the weightiest first.

    `stats` are its figures by `gather`, with all tags. `aliases` are other names of tags by folded name, such
    as `read_aliases` gives; those that the recipe varies names by are known without.
    """
    found = [finding for rule in RULES for finding in rule(stats, pipeline)]
    found += tags.unresolved(stats, {**tags.known_aliases(pipeline), **(aliases or {})})
    return tuple(sorted(found, key=by_weight))
