"""Placeholders that never have anything to say: often a category or a source that is called otherwise."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator

from captionkit import Record
from trainkit.captioning.config import CaptionConfig
from trainkit.captioning.template import Placeholder, parse_template
from trainkit.captioning.words import say


def silent_placeholders(config: CaptionConfig, records: Iterable[Record]) -> Iterator[str]:
    """A sentence for each named placeholder about which none of ``records`` has anything to say."""
    asked = {
        placeholder: prompt.name
        for prompt in config.prompts
        for placeholder in parse_template(prompt.text).placeholders()
        if placeholder.name is not None
    }
    known: dict[str, Counter[str]] = {"tags": Counter(), "caption": Counter(), "fact": Counter()}
    silent, seen = set(asked), 0
    for record in records:
        seen += 1
        silent -= {
            placeholder for placeholder in silent if say(record, placeholder, config.words, config.ours)
        }
        known["tags"].update({tag.category for tag in record.tags if tag.category is not None})
        known["caption"].update({piece.source for piece in record.prose} - config.ours)
        known["fact"].update({name for name, _ in record.info} if isinstance(record.info, tuple) else ())
    for placeholder in asked:
        if placeholder in silent and seen:
            yield _sentence(placeholder, asked[placeholder], seen, known[placeholder.kind])


def _sentence(placeholder: Placeholder, prompt: str, seen: int, known: Counter[str]) -> str:
    written = f"{{{placeholder.kind}:{placeholder.name}}}"
    near = difflib.get_close_matches(placeholder.name or "", known, n=1)
    names = ", ".join(name for name, _ in known.most_common(8)) or "none"
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {names}"
    return f"prompt {prompt!r}: {written} says nothing for any of {seen:,} pictures looked at; {hint}"
