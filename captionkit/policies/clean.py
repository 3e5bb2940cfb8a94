"""Mend the common faults of captions written by vision-language models."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

from pydantic import model_validator

from captionkit.kinds import did_you_mean
from captionkit.policy import Claim, Flag, Rule
from captionkit.prose.cleaner import Change, Cleaner
from captionkit.prose.rulebook import RuleList, library_rules
from captionkit.prose.rules import CleaningRule
from captionkit.record import Caption, Prose


class CleanCaptions(Rule):
    """Take lead-ins, doubts, repetitions and talk about the picture out of captions, by named rules.

    Written for CogVLM's manner ("The image showcases a man, possibly ..."); LLaVA's and others' is much the
    same. Quotations stay to the letter; names, numbers and letters beyond ASCII leave only together with
    their sentence or as a repetition; a caption of which nothing is left leaves. A second cleaning changes
    nothing.
    """

    kind: Literal["clean_captions"] = "clean_captions"
    sources: tuple[str, ...] | None = None
    """Only captions of these sources, such as `["cogvlm"]`; left out means all."""
    markup: Flag = True
    """Take away Markdown; a caption comes out on one line in any case."""
    lead_ins: Flag = True
    """Cut "The image showcases", "In this image, we can see", "... in the image"."""
    hedges: Flag = True
    """Rewrite doubt: "appears to be" becomes "is", "possibly" goes."""
    meta: Flag = True
    """Drop sentences about what is not there, about style and mood: "There are no visible watermarks"."""
    loops: Flag = True
    """Say repeated phrases, list items and sentences once."""
    unfinished: Flag = True
    """Drop a last sentence that was cut off."""
    skip: tuple[str, ...] = ()
    """Names of rules that shall not work, such as `["mood clause"]`."""
    rules: RuleList = ()
    """Rules of your own, after those of the library: the path of a TOML file, or a list of rules and
    paths."""

    @model_validator(mode="after")
    def _names_are_known(self) -> CleanCaptions:
        if not (self.skip or self.rules):
            return self
        names = [rule.name for rule in (*library_rules(), *self.rules)]
        for name in self.skip:
            if name not in names:
                raise ValueError(f"skip names the unknown rule {name!r}{did_you_mean(name, names)}")
        for index, name in enumerate(names):
            if name in names[:index]:
                raise ValueError(f"rules: the name {name!r} is taken by an earlier rule")
        return self

    def rewrite(self, caption: Caption) -> Caption:
        """The caption with its prose cleaned."""
        if not caption.prose:
            return caption
        prose = tuple(cleaned for piece in caption.prose if (cleaned := self._clean(piece)).text)
        return caption if prose == caption.prose else caption.with_prose(prose)

    def clean(self, text: str) -> str:
        """One text, cleaned; empty when it held nothing but talk about the picture.

        >>> CleanCaptions().clean("The image shows a man who appears to be asleep. There is no text.")
        'A man who is asleep.'
        """
        return self._cleaner.clean(text)

    def changes(self, text: str) -> list[Change]:
        """What the rules do to a text, one after the other.

        >>> [change.rule for change in CleanCaptions().changes("The image shows a man. There is no text.")]
        ['the image shows', 'absent things']
        """
        told: list[Change] = []
        self._cleaner.clean(text, told)
        return told

    def active_rules(self) -> tuple[CleaningRule, ...]:
        """The rules that work, in their order."""
        return tuple(
            rule
            for rule in (*library_rules(), *self.rules)
            if getattr(self, rule.group) and rule.name not in self.skip
        )

    def claims(self) -> frozenset[Claim]:
        """A second cleaning changes nothing; tags are not touched."""
        return frozenset({"idempotent", "spares important"})

    @cached_property
    def _cleaner(self) -> Cleaner:
        return Cleaner(self.active_rules())

    def _clean(self, piece: Prose) -> Prose:
        if self.sources is not None and piece.source not in self.sources:
            return piece
        cleaned = self.clean(piece.text)
        return piece if cleaned == piece.text else Prose(cleaned, piece.source)
