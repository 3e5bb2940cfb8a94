"""Tags that stay as they are while a policy works on the others."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, StringConstraints

from captionkit.draws import Draws
from captionkit.kinds import AnyPolicy
from captionkit.policies.combine import shared_claims
from captionkit.policy import Claim, Policy
from captionkit.record import Caption, Source, Tag, unique_tags
from captionkit.steps import take_step

_Tags: TypeAlias = tuple[Tag, ...]


class KeepFixed(Policy):
    """Apply a policy to the tags between two separators; those outside stay as they are, in their places.

    In `1girl, solo ||| red fox, tree ||| best quality` the first two tags and the last are fixed, without the
    second separator only the first two. A separator stands by itself or inside a tag, `solo ||| red fox`,
    and leaves the text in any case. In a caption without a separator the first `first` tags are fixed.

    `then` sees the tags between and nothing else; the captions stay, and a template's words go around the
    whole caption. It stands before every other step that moves or drops tags.
    """

    kind: Literal["keep_fixed"] = "keep_fixed"
    first: Annotated[int, Field(strict=True, ge=0)] = 0
    """How many tags at the beginning are fixed where the caption holds no separator."""
    separator: Annotated[str, StringConstraints(strip_whitespace=True)] = "|||"
    """What divides the fixed tags from the others; empty means that nothing does."""
    then: AnyPolicy
    """The policy for the tags between."""

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption after the policy, without separators."""
        before, between, behind = self._parts(caption.tags)
        # A name stands once in a caption: of a fixed and a loose tag with one name the fixed one stays.
        before = unique_tags(before)
        fixed = {tag.name for tag in before}
        behind = unique_tags(tuple(tag for tag in behind if tag.name not in fixed))
        fixed.update(tag.name for tag in behind)
        loose = unique_tags(tuple(tag for tag in between if tag.name not in fixed))
        if draws.trace is not None:
            draws.note(f"{len(before)} tags fixed before, {len(behind)} behind")
        # An empty caption stays known as one, so that nothing is added to it.
        source = Source.EMPTY if caption.source is Source.EMPTY else Source.TAGS
        part = replace(caption, tags=loose, prose=(), source=source, before="", after="")
        after = take_step(self.then, "then", part, draws)
        kept = tuple(tag for tag in after.tags if tag.name not in fixed)
        return replace(
            caption,
            tags=(*before, *kept, *behind),
            important=caption.important | after.important,
            before=after.before + caption.before,
            after=caption.after + after.after,
        )

    def _parts(self, tags: _Tags) -> tuple[_Tags, _Tags, _Tags]:
        """The tags before the first separator, up to the second, and behind that."""
        separator = self.separator
        if not separator or not any(separator in tag.name for tag in tags):
            return tags[: self.first], tags[self.first :], ()
        parts: tuple[list[Tag], list[Tag], list[Tag]] = ([], [], [])
        at = 0
        for tag in tags:
            if separator not in tag.name:
                parts[at].append(tag)
                continue
            pieces = tag.name.split(separator)
            # A name can stand once only, so that a second separator is written twice: it is one.
            if not any(piece.strip() for piece in pieces):
                at = min(at + 1, 2)
                continue
            for number, piece in enumerate(pieces):
                at = min(at + (number > 0), 2)
                if piece.strip():
                    parts[at].append(replace(tag, name=piece))
        return tuple(parts[0]), tuple(parts[1]), tuple(parts[2])

    def claims(self) -> frozenset[Claim]:
        """What the policy claims; not where a separator may turn one tag into two."""
        if self.separator:
            return frozenset()
        return shared_claims((self.then,)) - {"idempotent"}
