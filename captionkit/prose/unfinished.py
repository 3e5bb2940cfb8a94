"""A last sentence that was cut off when the model ran out of tokens."""

from __future__ import annotations

import re

_FINISHED = re.compile(r"[.!?…][\"'”\u2019)\]\ue001*]*$|[\"”\ue001]$")
_DANGLING = re.compile(
    r"(?:[,;:(-]|\b(?:(?-i:a)|an|the|and|or|but|of|in|on|at|to|with|for|from|by|as|is|are|was|were|which|that|while|their|his"
    r"|her|its|this|there|there's|into|near|behind|between|has|have|who|whose|such|wearing))$",
    re.IGNORECASE,
)
# Words no text ends with: not `a place to sit on` or `the hat is his`.
_OPEN_END = re.compile(
    r"(?:[\s,;:(-]|\b(?:(?-i:a)|an|the|and|or|but|of|with|from|which|while|their|its|into|whose))+$",
    re.IGNORECASE,
)
_LIST = 7  # Commas. What stands before the last one of a long list is whole.
_LONG = (
    60  # Words. No caption this long ends without an end mark on purpose; shorter ones by people often do.
)


def drop_unfinished(sentences: list[str]) -> list[str]:
    """The sentences without a last one that was cut off.

    Without an end mark it counts as cut off when it breaks off in the middle ("and the", an open quotation)
    or when the whole text is long. Where it is the only sentence, or a list of many items, it is cut back to
    its last comma instead; without a comma, to its last whole word.

    >>> drop_unfinished(["A leaf lies on a table.", "At the bottom, there is a"])
    ['A leaf lies on a table.']
    >>> drop_unfinished(["A dog runs.", "It is happy"])
    ['A dog runs.', 'It is happy']
    >>> drop_unfinished(["A man wears a red shirt and the"])
    ['A man wears a red shirt.']
    """
    if not sentences or _FINISHED.search(sentences[-1]):
        return sentences
    last = sentences[-1]
    long = sum(sentence.count(" ") + 1 for sentence in sentences) >= _LONG
    if not (long or _DANGLING.search(last) or _open_quote(last)):
        return sentences
    head, comma, _ = last.rpartition(", ")
    if comma and head.strip() and (len(sentences) == 1 or last.count(", ") >= _LIST):
        return [*sentences[:-1], head + "."]
    if len(sentences) > 1:
        return sentences[:-1]
    whole = _OPEN_END.sub("", last)
    if whole == last or " " not in whole:
        return sentences
    while (dangling := _DANGLING.search(whole)) is not None and dangling.start() > 0:
        whole = whole[: dangling.start()].rstrip()
    return [whole + "."]


def _open_quote(sentence: str) -> bool:
    """Whether a quotation opens that never closes; closed ones are hidden by now."""
    return '"' in sentence or "“" in sentence or re.search(r"(?<!\w)'(?=\w)", sentence) is not None
