"""Where words are cut from the beginning of a sentence, the next one gets its capital; none is ever taken."""

from __future__ import annotations

import re

_FIRST_WORD = re.compile(r"[\s\"'“\u2018(\[]*([^\W\d_])([^\W\d_]*)")


def with_capital(sentence: str) -> str:
    """The sentence with a capital at its beginning, unless its first word has capitals of its own (`iPhone`).

    >>> with_capital("a man in Paris"), with_capital("iPhone cases"), with_capital("étagères")
    ('A man in Paris', 'iPhone cases', 'Étagères')
    """
    found = _FIRST_WORD.match(sentence)
    if found is None or (found[2] and not found[2].islower()):
        return sentence
    at = found.start(1)
    capital = sentence[at].upper()
    return sentence[:at] + capital + sentence[at + 1 :] if len(capital) == 1 else sentence
