"""Rules about the names of tags."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from captionkit.lint.blocks import step, table
from captionkit.lint.findings import Finding, Severity
from captionkit.pipeline import CaptionPipeline
from captionkit.policies.rename import RenameTags
from captionkit.policies.vary_names import VaryNames
from captionkit.record import fold
from captionkit.stats import oddities
from captionkit.stats.mentions import policies
from captionkit.stats.result import Oddity, Stats

NUM_EXAMPLES = 5
LIKELY = 2.0
"""From this score on a typo is most likely one: what was meant is a hundred times as frequent."""


def typos(stats: Stats, pipeline: CaptionPipeline) -> Iterator[Finding]:
    """Rare tags that look like frequent ones."""
    found = stats.typos
    if not found:
        return
    likely = [typo for typo in found if typo.score >= LIKELY]
    yield Finding(
        severity=Severity.WARNING if likely else Severity.NOTE,
        code="typos",
        message="rare tags look like frequent ones",
        count=len(found),
        of=stats.num_tags,
        unit="different tags",
        examples=tuple(
            f"{typo.name} ({typo.count}) like {typo.meant} ({typo.meant_count:,})"
            for typo in found[:NUM_EXAMPLES]
        ),
        do="give those that are typos their name by rename_tags; the whole list: captionkit stats --json. "
        "Tags that the recipe names are taken for none; --ignore typos leaves this out",
        toml=step("rename_tags", aliases={one.name: one.meant for one in likely[:NUM_EXAMPLES]})
        if likely
        else "",
    )


def spellings(stats: Stats, pipeline: CaptionPipeline) -> Iterator[Finding]:
    """Oddities of names, each with the line that mends it."""
    for oddity in stats.oddities:
        if oddity.kind in _NAMES and not _meant(oddity, pipeline):
            severity, message, do, toml = _NAMES[oddity.kind]
            yield Finding(
                severity=severity,
                code=oddity.kind.replace(" ", "-"),
                message=message,
                count=oddity.share.hits,
                of=oddity.share.of,
                unit="tags on records",
                examples=oddity.examples,
                do=do,
                toml=toml,
            )


def _meant(oddity: Oddity, pipeline: CaptionPipeline) -> bool:
    return oddity.kind == oddities.ESCAPED and pipeline.text.parentheses != "keep"


def unresolved(stats: Stats, aliases: Mapping[str, str]) -> Iterator[Finding]:
    """Tags that are other names of a tag, by an export of aliases (folded name to name)."""
    found = [tag for tag in stats.tags if tag.count and tag.name in aliases]
    found = [tag for tag in found if fold(aliases[tag.name]) != tag.name]
    if found:
        yield Finding(
            severity=Severity.WARNING,
            code="aliases",
            message="tags are there under another name than their own, so that one thing has two names",
            count=sum(tag.count for tag in found),
            of=stats.num_tags_on_records,
            unit="tags on records",
            examples=tuple(f"{tag.name} for {aliases[tag.name]}" for tag in found[:NUM_EXAMPLES]),
            do="rename them before all other steps; aliases may also be the path of the export",
            toml=step("rename_tags", aliases={tag.name: aliases[tag.name] for tag in found[:NUM_EXAMPLES]}),
        )


def known_aliases(pipeline: CaptionPipeline) -> dict[str, str]:
    """The other names that the recipe's `vary_names` gives, but for those that `rename_tags` takes back."""
    steps = [policy for _, policy in policies(pipeline)]
    taken = {fold(old) for step in steps if isinstance(step, RenameTags) for old in step.aliases}
    varied = [pair for step in steps if isinstance(step, VaryNames) for pair in step.names.items()]
    return {fold(other): name for name, others in varied for other in others if fold(other) not in taken}


_NAMES: Mapping[str, tuple[Severity, str, str, str]] = {
    oddities.TWINS: (
        Severity.WARNING,
        "tags are spelled in several ways, and a text encoder may read each as another word",
        "write all tags in small letters, as the first step; or name the spelling of each by rename_tags",
        step("capitals", p=1.0, styles=["lower"]),
    ),
    oddities.UNDERSCORES: (
        Severity.WARNING,
        "tags are spelled with underscores and with spaces, and a text encoder may read each as another word",
        "write them all with spaces",
        table("text", underscores="space"),
    ),
    oddities.ESCAPED: (
        Severity.WARNING,
        r"tags hold escaped parentheses, \( and \), which are trained as they stand",
        "write them without; escape them in prompts only where the front end wants it",
        table("text", parentheses="unescape"),
    ),
    oddities.CONTROL_NAME: (
        Severity.WARNING,
        "tags hold characters that nobody can see, or that were read in the wrong encoding",
        "mend them in the data: convert the files to UTF-8 from the encoding they were written in",
        "",
    ),
    oddities.SEPARATOR: (
        Severity.WARNING,
        "tags hold a separator, so that one tag is read as several, or several as one",
        'part them: by split_tags (for ;;; separator = ";;;"); what stands before ||| is kept by keep_fixed',
        step("split_tags", separator=","),
    ),
    oddities.CHOICE: (
        Severity.WARNING,
        "tags hold choices such as {red|blue}, which are trained to the letter",
        "draw one of each",
        step("wildcards"),
    ),
    oddities.LONG: (
        Severity.WARNING,
        "tags are longer than the 75 tokens that a text encoder takes at once",
        'they are captions: put them under "caption" in the data, or into .caption files',
        "",
    ),
    oddities.SENTENCE: (
        Severity.NOTE,
        "tags look like whole sentences",
        'put them under "caption" in the data, or into .caption files: then they are taken for no tags',
        "",
    ),
    oddities.NO_TAG: (
        Severity.WARNING,
        "tags say that there is no tag",
        "leave them out",
        step("drop_tags", rate=1.0, only=sorted(oddities.NO_TAGS)),
    ),
}
