"""One record of the gallery as values that the page's script reads: the picture, what is known, its draws.

Everything here is lists and numbers, since a page holds thousands of them. A card is
    {i: id, n: file name, p: picture as base64, s: [width, height], e: why there is no picture,
     t: [tag ...], c: [[source, text] ...], f: may be mirrored, v: what forbids it, d: [draw ...]}
and a draw is
    {m: mirrored, w: why (mirroring), o: source, x: tokens,
     a: words before, z: words behind, r: captions stand before the tags,
     g: [[name, fate, important, cause, name before] ...], p: [[[text, fate, cause] ...] ...],
     q: [[how many, cause] ...] where no tag is left}
Names, causes and sources are numbers of `Names`. Fates are places in `FATES`.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable
from typing import Any

from captionkit.fate import Cause, Fate
from captionkit.marked import Marked, marked
from captionkit.marked_prose import MarkedProse
from captionkit.marked_tags import MarkedTag
from captionkit.page.names import Names
from captionkit.pictures import Thumbnail
from captionkit.pipeline import CaptionPipeline
from captionkit.record import Record

FATES = (Fate.KEPT, Fate.DROPPED, Fate.ADDED, Fate.RENAMED)

MAX_LETTERS = 2000
"""Of one caption, so many letters are shown."""


class Cards:
    """Makes the cards of one page, which share the texts that recur."""

    def __init__(
        self,
        pipeline: CaptionPipeline,
        count: Callable[[str], int],
        *,
        draws: int,
        epoch: int,
        samples: int | None,
    ) -> None:
        self.names = Names()
        self.causes = Names()
        self._pipeline = pipeline
        self._count = count
        self.draws = draws
        self._epoch, self._samples = epoch, samples

    def card(self, record: Record) -> dict[str, Any]:
        """The card of a record, still without its picture."""
        drawn = [
            marked(self._pipeline, record, epoch=self._epoch, draw=draw, samples=self._samples)
            for draw in range(self.draws)
        ]
        card: dict[str, Any] = {
            "i": record.id,
            "t": [self._name(tag.name) for tag in record.tags],
            "c": [[piece.source, _short(piece.text)] for piece in record.prose],
            "f": int(self._pipeline.may_flip(record)),
            "d": [self._draw(one) for one in drawn],
        }
        if record.image is not None:
            card["n"] = record.image
        if not card["f"] and drawn:
            flip = drawn[0].flip
            card["v"] = [flip.forbidden_by or "", flip.reason]
        return card

    def _draw(self, one: Marked) -> dict[str, Any]:
        draw: dict[str, Any] = {
            "o": self.causes.number(one.rendered.source),
            "x": self._count(one.rendered.text),
            "p": [words for piece in one.prose if (words := self._prose(piece))],
        }
        if one.flip.mirrored:
            draw["m"] = 1
            draw["w"] = one.flip.reason
        if one.before:
            draw["a"] = one.before
        if one.after:
            draw["z"] = one.after
        if not one.tags_first:
            draw["r"] = 1
        if any(tag.fate is not Fate.DROPPED for tag in one.tags):
            draw["g"] = [self._tag(tag) for tag in one.tags]
        elif one.tags:
            causes = Counter(self._cause(tag.cause) for tag in one.tags)
            draw["q"] = [[number, cause] for cause, number in causes.items()]
        return draw

    def _tag(self, tag: MarkedTag) -> list[int | None]:
        """Its name, fate, whether it is important, the cause, and the name it had."""
        told = [self._name(tag.name), FATES.index(tag.fate), int(tag.important), self._cause(tag.cause)]
        # The name it had may be number 0, which must not be trimmed.
        return _trimmed(*told) if tag.was is None else [*told, self._name(tag.was)]

    def _prose(self, piece: MarkedProse) -> list[Any]:
        """The words of a caption; of one that left as a whole, only the step that took most of it."""
        if not piece.dropped:
            return [
                _trimmed(_short(words.text), FATES.index(words.fate), self._cause(words.cause))
                for words in piece.words
            ]
        letters: Counter[int | None] = Counter()
        for words in piece.words:
            letters[self._cause(words.cause)] += len(words.text)
        return [["", 1, letters.most_common(1)[0][0]]]

    def _name(self, name: str) -> int:
        return self.names.number(self._pipeline.text.spell(name))

    def _cause(self, cause: Cause | None) -> int | None:
        return None if cause is None else self.causes.number(str(cause))


def with_picture(card: dict[str, Any], picture: Thumbnail) -> dict[str, Any]:
    """The card with its picture."""
    data = base64.b64encode(picture.data).decode("ascii")
    return card | {"p": data, "s": [picture.width, picture.height]}


def _trimmed(*values: Any) -> list[Any]:
    """The values without those at the end that say nothing; the first stays."""
    kept = list(values)
    while len(kept) > 1 and kept[-1] in (None, 0):
        kept.pop()
    return kept


def _short(text: str) -> str:
    return text if len(text) <= MAX_LETTERS else text[:MAX_LETTERS] + " …"
