"""Where words are cut from the beginning of a sentence, the next one gets its capital; none is ever taken."""

from __future__ import annotations

import re

_FIRST_WORD = re.compile(r"[\s\"'“\u2018(\[]*([a-z]+)(?![A-Z\w])")


def with_capital(sentence: str) -> str:
    """The sentence with a capital at its beginning, unless its first word has capitals of its own (`iPhone`).

    >>> with_capital("a man in Paris"), with_capital("iPhone cases")
    ('A man in Paris', 'iPhone cases')
    """
    found = _FIRST_WORD.match(sentence)
    if found is None:
        return sentence
    at = found.start(1)
    return sentence[:at] + sentence[at].upper() + sentence[at + 1 :]
