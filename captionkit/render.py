"""From caption to text: separators, spelling, the token budget."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from captionkit.policy import Config
from captionkit.prose.sentences import split_sentences
from captionkit.record import Caption, Prose, Source, Tag

CONTROL_LITERALS = ("<|startoftext|>", "<|endoftext|>")
"""Texts that CLIP's tokenizer reads as its begin and end marks wherever they stand."""

Counter = Callable[[str], int]
"""How many tokens a text has, without the begin and end marks."""

_ENDS = ".!?\"'”\u2019"  # A caption may end in a quoted sentence.
_WORDLIKE = re.compile(r"[^\W_]{2}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_PIECES = re.compile(r"[^\W\d_]+|\d|_|[^\w\s]+")


class Renderer(Config):
    """How a caption is written out, and how long it may become."""

    tag_separator: str = ", "
    """Stands between two tags."""
    part_separator: str = ", "
    """Stands between tags and caption; after a part that ends a sentence a space stands there instead."""
    underscores: Literal["space", "keep"] = "space"
    """Whether `red_fox` is written `red fox`. An emoticon, where no two letters or digits meet (`^_^`), keeps
    its."""
    max_tokens: Annotated[int, Field(strict=True, ge=1)] | None = None
    """The token budget, begin and end marks not counted; left out means no limit. Over it, whole sentences
    and whole tags leave from the end of the text on, important tags after all others; never half of one."""
    strip_literals: tuple[Annotated[str, Field(min_length=1)], ...] = CONTROL_LITERALS
    """Taken out of tags and captions, whatever their case: a tokenizer would read them as control tokens."""

    def text(self, caption: Caption) -> str:
        """The caption as one line of text."""
        text = self._join(caption)
        return self._without_literals(caption) if self._has_literal(text) else text

    def _join(self, caption: Caption) -> str:
        tags = self.tag_separator.join([name for tag in caption.tags if (name := self.spell(tag.name))])
        prose = " ".join([text for piece in caption.prose if (text := _one_line(piece.text))])
        first, second = (prose, tags) if caption.source is Source.BOTH_CAPTION_FIRST else (tags, prose)
        if not (first and second):
            return first or second
        return first + (" " if first[-1] in _ENDS else self.part_separator) + second

    def spell(self, name: str) -> str:
        """A tag's name as it is written.

        >>> [Renderer().spell(name) for name in ("red_fox", "^_^", "9_6")]
        ['red fox', '^_^', '9_6']
        """
        name = name if name.isprintable() else _one_line(name)
        if "_" in name and self.underscores == "space" and _WORDLIKE.search(name):
            return name.replace("_", " ")
        return name

    def fit(self, caption: Caption, count: Counter) -> Caption:
        """The caption with as many whole tags and sentences, from the end on, left out as the budget asks."""
        if self.max_tokens is None or count(self.text(caption)) <= self.max_tokens:
            return caption
        units = _units(caption)
        leaving = [unit for unit in reversed(units) if not unit.important]
        leaving += [unit for unit in reversed(units) if unit.important]
        # What leaves with k units is part of what leaves with k + 1, so the count is looked up by halving.
        low, high = 1, len(leaving)
        while low < high:
            middle = (low + high) // 2
            if count(self.text(_without(caption, leaving[:middle]))) <= self.max_tokens:
                high = middle
            else:
                low = middle + 1
        return _without(caption, leaving[:high])

    def _has_literal(self, text: str) -> bool:
        return bool(self.strip_literals) and _literals(self.strip_literals).search(text) is not None

    def _strip(self, text: str) -> str:
        """The text without the literals; taking one out can put another together, so it goes on until none is
        left."""
        while self._has_literal(text):
            text = " ".join(_literals(self.strip_literals).sub("", text).split())
        return text

    def _without_literals(self, caption: Caption) -> str:
        """The text with the literals gone from every tag and caption; those that were nothing else go
        whole."""
        names = [name for tag in caption.tags if (name := self._strip(tag.name))]
        texts = [text for piece in caption.prose if (text := self._strip(piece.text))]
        bare = Caption(tuple(map(Tag, names)), tuple(map(Prose, texts)), caption.source)
        return self._strip(self._join(bare))


def _one_line(text: str) -> str:
    """The text with line ends, control characters and rows of spaces as one space."""
    return " ".join(_CONTROL.sub(" ", text).split())


class _Unit(NamedTuple):
    """What leaves as a whole: a tag, or one sentence of a caption."""

    part: Literal["tag", "prose"]
    at: int
    sentence: int = 0
    important: bool = False


def _units(caption: Caption) -> list[_Unit]:
    """All tags and sentences, in the order of the text."""
    tags = [_Unit("tag", i, important=tag.name in caption.important) for i, tag in enumerate(caption.tags)]
    prose = [
        _Unit("prose", index, sentence)
        for index, piece in enumerate(caption.prose)
        for sentence in range(len(split_sentences(piece.text)))
    ]
    return prose + tags if caption.source is Source.BOTH_CAPTION_FIRST else tags + prose


def _without(caption: Caption, leaving: list[_Unit]) -> Caption:
    """The caption without the units that leave."""
    tags = {unit.at for unit in leaving if unit.part == "tag"}
    sentences = {(unit.at, unit.sentence) for unit in leaving if unit.part == "prose"}
    prose = []
    for index, piece in enumerate(caption.prose):
        kept = [s for i, s in enumerate(split_sentences(piece.text)) if (index, i) not in sentences]
        if kept:
            prose.append(Prose(" ".join(kept), piece.source))
    kept_tags = tuple(tag for index, tag in enumerate(caption.tags) if index not in tags)
    return Caption(kept_tags, tuple(prose), caption.source, caption.important)


@lru_cache(maxsize=64)
def _literals(literals: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, literals)), re.IGNORECASE)


def estimate_tokens(text: str) -> int:
    """About how many tokens CLIP's tokenizer makes of a text, rather too many than too few.

    CLIP splits a text into runs of letters, single digits and runs of other marks; common words are one
    token, rare ones several. We take one token for every begun five letters, and for letters outside ASCII
    one for each byte. Measured against CLIP's own vocabulary: 14 % too many on the tags of 75 posts of e621
    (one post at worst 3 % too few), 24 to 27 % too many on captions by models (never too few).

    >>> estimate_tokens("a red fox, 2 velociraptors")
    8
    """
    total = 0
    for piece in _PIECES.findall(text):
        total += -(-len(piece) // 5) if piece.isascii() else len(piece.encode("utf-8", "surrogatepass"))
    return total
