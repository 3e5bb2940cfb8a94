"""Draw one of the choices of `{red|blue} fox`."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from captionkit.draws import Draws, pick
from captionkit.naming import with_name
from captionkit.policy import Policy
from captionkit.record import Caption, Prose, Tag, unique_tags
from captionkit.wildcards import Parts, parse_wildcards, split_tags


class Wildcards(Policy):
    """Draw one choice of every `{red|blue}` in tags, captions and templates.

    Choices nest and may have weights (`{3::red|blue}`); `captionkit.wildcards` has the grammar. A choice with
    commas in a tag becomes several tags, of which each is important if the tag was; an empty one leaves. The
    draws of a text depend on that text alone, so what else the caption holds does not move them.
    """

    kind: Literal["wildcards"] = "wildcards"

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption with its choices drawn."""
        if any("{" in tag.name for tag in caption.tags):
            caption = self._fill_tags(caption, draws)
        if any("{" in piece.text for piece in caption.prose):
            filled = [Prose(fill(piece.text, draws), piece.source) for piece in caption.prose]
            caption = caption.with_prose(tuple([piece for piece in filled if piece.text.strip()]))
        if "{" in caption.before or "{" in caption.after:
            caption = replace(caption, before=fill(caption.before, draws), after=fill(caption.after, draws))
        return caption

    def _fill_tags(self, caption: Caption, draws: Draws) -> Caption:
        tags: list[Tag] = []
        important = set(caption.important)
        for tag in caption.tags:
            text = fill(tag.name, draws)
            if text == tag.name:
                tags.append(tag)
                continue
            names = [name for part in split_tags(text) if (name := part.strip())]
            tags += [with_name(tag, name) for name in names]
            if tag.name in caption.important:
                important.discard(tag.name)
                important.update(names)
        return replace(caption, tags=unique_tags(tuple(tags)), important=frozenset(important))


def fill(text: str, draws: Draws) -> str:
    """The text with one option of each choice, drawn at an address of the text's own.

    >>> fill("{red|red} fox", Draws(0, 0, 0, "picture 1"))
    'red fox'
    """
    if "{" not in text or (parts := parse_wildcards(text)) == (text,):
        return text
    # One number for each brace in its place, so that which option is drawn moves no other choice. A `/` is
    # doubled, so that no text can spell the address of another step.
    drawn = draws.child(f"in {text.replace('/', '//')}").randoms(text.count("{"))
    return _expand(parts, drawn)


def _expand(parts: Parts, drawn: list[float]) -> str:
    """The text that these numbers draw. Without recursion, since anything may nest in a text."""
    texts: list[str] = []
    coming = [*reversed(parts)]
    while coming:
        part = coming.pop()
        if isinstance(part, str):
            texts.append(part)
        else:
            coming += reversed(pick(part.options, drawn[part.number], part.weights))
    return "".join(texts)
