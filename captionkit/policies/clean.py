"""Mend the common faults of captions written by vision-language models."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from captionkit.policy import Claim, Flag, Rule
from captionkit.prose.hedges import rewrite_hedges
from captionkit.prose.lead_ins import cut_lead_in, cut_mentions
from captionkit.prose.loops import cut_item_loops, cut_phrase_loops, without_repeats
from captionkit.prose.markup import plain_line, without_bold
from captionkit.prose.meta import cut_meta_clauses, is_meta
from captionkit.prose.quotes import CLOSE, OPEN, hide_quotes, show_quotes
from captionkit.prose.sentences import split_sentences
from captionkit.prose.unfinished import drop_unfinished
from captionkit.record import Caption, Prose

_MOST_ROUNDS = 20  # Every round shortens the text; hardly any text needs a third.


class CleanCaptions(Rule):
    """Take lead-ins, doubts, repetitions and talk about the picture out of captions.

    Written for CogVLM's manner ("The image showcases a man, possibly ..."); LLaVA's and others' is much the
    same. Quotations stay to the letter, capitals are never taken away, a caption of which nothing is left
    leaves. A second cleaning changes nothing.
    """

    kind: Literal["clean_captions"] = "clean_captions"
    sources: tuple[str, ...] | None = None
    """Only captions of these sources, such as `["cogvlm"]`; left out means all."""
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
        if OPEN in text or CLOSE in text:
            return text  # It holds the very characters that stand for quotations here; no caption does.
        for _ in range(_MOST_ROUNDS):
            cleaned = self._once(text)
            if cleaned == text:
                break
            text = cleaned
        return text

    def claims(self) -> frozenset[Claim]:
        """A second cleaning changes nothing; tags are not touched."""
        return frozenset({"idempotent", "spares important"})

    def _clean(self, piece: Prose) -> Prose:
        if self.sources is not None and piece.source not in self.sources:
            return piece
        cleaned = self.clean(piece.text)
        return piece if cleaned == piece.text else Prose(cleaned, piece.source)

    def _once(self, text: str) -> str:
        """All rules once. Loops go first, so that a loop does not hide that the text was cut off."""
        hidden, quotes = hide_quotes(without_bold(text))
        hidden = plain_line(hidden)
        if self.loops:
            hidden = cut_phrase_loops(hidden)
        sentences = split_sentences(hidden)
        if self.loops:
            sentences = [cut_item_loops(sentence) for sentence in without_repeats(sentences)]
        if self.unfinished:
            sentences = drop_unfinished(sentences)
        mended: list[str] = []
        for sentence in sentences:
            kept = _mend(sentence, not mended, self.meta, self.hedges, self.lead_ins)
            if kept:
                mended.append(kept)
        return show_quotes(" ".join(mended), quotes)


@lru_cache(
    maxsize=1 << 13
)  # Models say the same sentences again and again; a second round meets them all again.
def _mend(sentence: str, first: bool, meta: bool, hedges: bool, lead_ins: bool) -> str:
    """One sentence by the rules that look at one sentence; empty when it goes."""
    if meta:
        if is_meta(sentence, first=first):
            return ""
        sentence = cut_meta_clauses(sentence)
    if hedges:
        sentence = rewrite_hedges(sentence)
    return cut_mentions(cut_lead_in(sentence, first=first)) if lead_ins else sentence
