"""Where one sentence ends and the next begins."""

from __future__ import annotations

import re

_ABBREVIATIONS = {
    *("mr", "mrs", "ms", "dr", "prof", "st", "sr", "jr", "rev", "hon", "gen", "col", "sgt", "capt", "lt"),
    *("vs", "etc", "approx", "vol", "fig", "inc", "ltd", "co", "corp", "dept", "e.g", "i.e"),
}
# An end mark, closing quotes or brackets behind it, then space. What follows may open with a quote.
_END = re.compile(r"""[.!?]+["'”\u2019)\]]*\s+(?=["'“\u2018(\[]*[^\sa-z])|\n+""")


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, each with its end mark, without the space between them.

    An abbreviation (`Dr.`, `e.g.`), a single capital letter (`J. Smith`), a number that opens a list (`1. A
    man`) and a mark before a small letter do not end a sentence; a line break does.

    >>> split_sentences("Dr. Who waits. 'Stop!' says the sign. It is 3.5 m tall")
    ['Dr. Who waits.', "'Stop!' says the sign.", 'It is 3.5 m tall']
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
        return text[start : dot - len(word)].rstrip()[-1:] in ("", ":")
    return (len(bare) == 1 and bare.isupper() and bare != "I") or bare.lower() in _ABBREVIATIONS
