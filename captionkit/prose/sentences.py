"""Where one sentence ends and the next begins."""

from __future__ import annotations

import re

_TITLES = {
    *("mr", "mrs", "ms", "dr", "prof", "st", "mt", "ft", "rev", "hon", "gen", "col", "sgt", "capt", "lt"),
    *("vs", "approx", "ca", "vol", "fig", "e.g", "i.e"),
}
"""A sentence never ends behind these."""
_ENDINGS = {"etc", "inc", "ltd", "co", "corp", "dept", "jr", "sr", "ave", "blvd"}
"""A sentence may end behind these, and behind `U.S.` and `p.m.`: what follows tells."""
_GAP = 100  # Spaces at most that are looked over.
_DOTTED = re.compile(r"[^\W\d_](?:\.[^\W\d_])+")
# Words that begin a sentence far more often than they go on with a name.
_OPENER = re.compile(
    r"\s+(?:The|An?|This|That|These|Those|There|It|He|She|They|We|You|I|His|Her|Its|Their|One|Two|Some|In|On|At|To"
    r"|From|Behind|Beside|Below|Above|Near|Next|Under|Over|With|While|Both|Another|Overall|Possibly|Perhaps|No)\b(?!\.)"
)
# An end mark, closing quotes or brackets behind it, then space. What follows may open with a quote. Marks are
# looked at from the first of them on only: a model that loops may write a hundred thousand.
_END = re.compile(r"""[.!?](?<![.!?]{2})[.!?]*["'”\u2019)\]]*\s+(?=["'“\u2018(\[]*[^\sa-z])|\n+""")


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, each with its end mark, without the space between them.

    An abbreviation (`Dr.`, `U.S.`, `No. 7`), a single capital letter (`J. Smith`), a number that opens a list
    (`1. A man`) and a mark before a small letter do not end a sentence; a line break does. After `etc.` and
    `U.S.` a sentence ends where a word follows that opens one.

    >>> split_sentences("Dr. Who waits. 'Stop!' says the sign. It is 3.5 m tall")
    ['Dr. Who waits.', "'Stop!' says the sign.", 'It is 3.5 m tall']
    >>> split_sentences("A U.S. Army truck is in the U.S. The sky is grey.")
    ['A U.S. Army truck is in the U.S.', 'The sky is grey.']
    """
    sentences = []
    start = 0
    for end in _END.finditer(text):
        if end.group()[0] == "." and _goes_on(text, start, end.start()):
            continue
        if sentence := text[start : end.end()].strip():
            sentences.append(sentence)
        start = end.end()
    if rest := text[start:].strip():
        sentences.append(rest)
    return sentences


def _goes_on(text: str, start: int, dot: int) -> bool:
    """Whether the dot belongs to the word before it."""
    word = text[max(start, text.rfind(" ", start, dot) + 1) : dot]
    # Longer than any abbreviation with its opening marks; most words that end sentences are not.
    if len(word) > 8:
        return False
    bare = word.lstrip("(\"'“\u2018[")
    if bare.isdigit():
        # `1. A man` and `in order: 1. A man`, but not `there are 3. The next`.
        before = dot - len(word)
        return text[max(start, before - _GAP) : before].rstrip()[-1:] in ("", ":")
    if bare.lower() == "no":
        return text[dot + 1 : dot + 3].strip()[:1].isdigit()
    dotted = _DOTTED.fullmatch(bare) is not None and bare.lower() not in _TITLES
    if dotted or bare.lower() in _ENDINGS:
        return _OPENER.match(text, dot + 1) is None
    return (len(bare) == 1 and bare.isupper() and bare != "I") or bare.lower() in _TITLES
