"""`might be`, `may be` and `could be` as statements, where it is sure whether one or many are spoken of."""

from __future__ import annotations

import re

TO_BE = {"be": ("is", "are"), "have": ("has", "have"), "have been": ("was", "were")}
"""A form of to be, to have, and have been: for one, for many."""
ADVERB = (
    r"(?:(?:very |quite |most )?(?:possibly|perhaps|probably|presumably|apparently|seemingly|maybe|likely))"
)
_PLURAL = r"(?:[a-z-]*men|children|people|police|feet|teeth|mice|geese)"
_ARTICLE = r"(?:the|an?|this|that|his|her|its|their)"
_MODAL = re.compile(
    rf"""\b(?:(?P<many>they|we|you|these|those|{_ARTICLE}\s{_PLURAL})
        |(?P<noun>(?!that\s){_ARTICLE}\s(?!{_PLURAL}\b)[a-z-]*[a-rt-z])
        |(?P<one>it|he|she|this|some(?:one|body|thing))|(?P<there>there)|(?P<which>that|which|who))
    \s(?:might|may|could)\s(?:{ADVERB.replace(" ", chr(92) + "s")}\s)?(?P<what>be|have\sbeen)\b
    (?!\s(?:said|argued)\b)""",
    re.IGNORECASE | re.VERBOSE,
)
_MANY = re.compile(
    r"\s(?:also\s|at\sleast\s|about\s|only\s|around\s)?(?!(?:an?|one)\s(?!few|couple|number))"
    r"(?:several|many|few|a\s(?:few|couple|number)|multiple"
    r"|various|numerous|other|more|two|three|four|five|six|seven|eight|nine|ten|[2-9]|\d\d+"
    rf"|(?:[a-z-]+\s)?(?:[a-z-]+[^\W_suiaS]s|{_PLURAL}))\b",
    re.IGNORECASE,
)
"""What follows `there are`, not `there is`."""
_SEVERAL = re.compile(rf"\b(?:[a-z-]+[^\W_suiaS]s|{_PLURAL}|and)\b", re.IGNORECASE)
"""A sign that more than one is spoken of."""
_A_THING = re.compile(r"\ban?\s(?:(?!of\b|in\b|on\b|with\b)[\w-]+,?\s){1,3}\Z", re.IGNORECASE)


def say_surely(sentence: str) -> str:
    """The sentence with its modal doubts as statements.

    >>> say_surely("It might be a fox. The men could be brothers. There may be birds.")
    'It is a fox. The men are brothers. There are birds.'
    >>> say_surely("Two men in the water, who may be swimming. The lights of the house may be on.")
    'Two men in the water, swimming. The lights of the house may be on.'
    """
    return _MODAL.sub(_surely, sentence).replace(",  ", ", ")


def many_follow(text: str, at: int) -> bool:
    """Whether what stands at this place after `there are` is more than one.

    >>> many_follow("There are several birds", 9), many_follow("There is a bus", 8)
    (True, False)
    """
    return _MANY.match(text, at) is not None


def words_before(found: re.Match[str], count: int) -> list[str]:
    """The last `count` words before a match, in small letters."""
    return found.string[max(0, found.start() - 15 * count) : found.start()].lower().split()[-count:]


def _surely(found: re.Match[str]) -> str:
    """`it might be` -> `it is`, `they may have been` -> `they were`; where the number is not sure, `, which
    may be` -> `,`, or it stays."""
    one = _is_one(found)
    if one is None:
        # "Two men in the water, who may be swimming": without the verb it fits one and many.
        in_commas = found["which"] is not None and found.string[: found.start()].endswith(", ")
        return "" if in_commas else found.group()
    subject = found["many"] or found["noun"] or found["one"] or found["there"] or found["which"]
    return f"{subject} {TO_BE[' '.join(found['what'].split()).lower()][0 if one else 1]}"


def _is_one(found: re.Match[str]) -> bool | None:
    """Whether the subject is one; None where that cannot be told."""
    if found["many"] is not None:
        return False
    if found["there"] is not None:
        return not many_follow(found.string, found.end())
    if found["which"] is not None:
        a_thing = re.match(r"\san?\s", found.string[found.end() :]) is not None
        before = found.string[: found.start()]
        if a_thing or _A_THING.search(before) or not _SEVERAL.search(before):
            return True
        return False if _SEVERAL.fullmatch("".join(words_before(found, 1))) else None
    # "The lights of the house may be on": a noun is the subject for sure only where it begins a clause.
    if found["noun"] is not None and not re.search(
        r"(?:\A|[,;:(]|[,;]\s(?:and|but|while|as)|\b(?:that|suggests?|suggesting|indicating))\s*\Z",
        found.string[: found.start()],
    ):
        return None
    return True
