"""What no rule may touch inside a sentence: names, numbers, quotations and words that are not plain ASCII."""

from __future__ import annotations

import re

from captionkit.prose.quotes import CLOSE, OPEN

# Punctuation beyond ASCII (dashes, curly quotes) is no word, signs such as an emoji or a degree are.
_WORD = re.compile(rf"{OPEN}[0-9]+|(?:[^\W_]|[^\x00-\x7f\u2000-\u206f{OPEN}{CLOSE}])+")
_SIGN = re.compile(r"[A-Z\d]|[^\x00-\x7f]")
"""Without a capital, a digit or a letter beyond ASCII nothing is precious; a hidden quotation has one."""
_NOT_NAMES = {"I"}


def keeps_precious(before: str, after: str) -> bool:
    """Whether all that is precious in a sentence still stands in it, to the letter and in its order.

    Names are known by their capitals, so the capital that opens the sentence says nothing.

    >>> keeps_precious("It appears to be Emma Watson.", "It is Emma Watson.")
    True
    >>> keeps_precious("Snow, creating a sense of Christmas.", "Snow.")
    False
    """
    if before[:1].isascii() and before[:1].isalpha() and _SIGN.search(before, 1) is None:
        return True
    words = _WORD.findall(before)
    found = _WORD.findall(after)
    if found and found[0] not in words:  # The beginning was cut, and the next word got its capital.
        found[0] = found[0][:1].lower() + found[0][1:]
    left = iter(found)
    return all(word in left for at, word in enumerate(words) if _is_precious(word, opens=at == 0))


def _is_precious(word: str, *, opens: bool) -> bool:
    if not word.isascii() or not word.isalpha():
        return True
    return word not in _NOT_NAMES and not (word[1:] if opens else word).islower() and len(word) > opens
