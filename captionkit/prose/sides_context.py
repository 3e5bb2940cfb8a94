"""Whether a `left` names a side, told by the words around it: "his left arm", not "he left the room".

The rules never see whether a word was left or right, nor which its neighbours were: every one reads `left`.
So "left now" is judged like "right now", and what is swapped is judged alike afterwards.
"""

from __future__ import annotations

from typing import TypeAlias

from captionkit.prose import sides_words as w

Words: TypeAlias = tuple[str, str, str, str]
"""Four words or marks beside the word in question, small, the nearest first; "" where the text ends."""

SIDE = "left"


def names_a_side(before: Words, after: Words) -> bool:
    """Whether a `left` between these words names a side, in a caption."""
    known = _by_phrase(before, after)
    if known is None:
        known = _by_determiner(before, after)
    return known if known is not None else _bare(before, after)


def tag_names_a_side(before: Words, after: Words) -> bool:
    """The same in a tag's name, which says little: it does unless it is known not to."""
    known = _by_phrase(before, after)
    if known is not None:
        return known
    if after[0] in ("(", "?", "!") or (after[0] in w.EXACTLY or after[0] in ("in", "out", "alone", "open")):
        return False  # `left_(game)` is a name, `left_behind` no side.
    if before[0] in w.IS or before[0] in w.HAS:
        return after[0] in w.PARTS
    return not (after[0] == "" and any(word in ("no", "nothing", "only") for word in before))


def _by_phrase(before: Words, after: Words) -> bool | None:
    """Phrases that settle it, whatever else stands around."""
    if after[0] == "-" and after[1] in w.NOT_AFTER_HYPHEN:
        return False
    if after[0] == "-" and (after[1] in w.PARTS or after[1] in w.AFTER_HYPHEN or after[1] == SIDE):
        return True
    if before[0] == "-" and (before[1] in w.PLACES or before[1] in w.MODIFIERS or SIDE in before[1:]):
        return True
    if after[0] in w.QUALITIES or (after[0].isdigit() and after[1] != "/"):
        return False
    if after[:2] in w.NOT_BEFORE or (after[0] == "half" and after[1] in w.HALVED):
        return False
    if after[0] == "of" and after[1] in ("center", "centre", "middle"):
        return True
    if before[0] in ("all", *w.QUOTING):
        return False
    if after[0] in w.JOINTS and SIDE in (after[1:2] if before[0] in w.IS else after[1:3]):
        return True
    if before[0] in w.JOINTS and (SIDE in before[1:3] or before[1] in w.PLACES):
        return after[0] not in w.EXACTLY_AFTER_JOINT or None
    return None


def _by_determiner(before: Words, after: Words) -> bool | None:
    """The left ..., his left ..., the man's far left ..."""
    index = 0
    while index < 3 and before[index] in w.MODIFIERS:
        index += 1
    word = before[index]
    if word in w.DETERMINERS or (word.endswith(("'s", "\u2019s", "s'")) and word not in w.IS):
        if after[0] == "to" and index < 3 and before[index + 1] in w.HAS:
            return False  # "Has the right to vote".
        # "The other left the room", "another left behind".
        rest = after[0] in w.DETERMINERS or after[0] in w.LEFT_THUS
        return not (before[0] in w.SUBJECTS and rest)
    return None


def _bare(before: Words, after: Words) -> bool:
    """Without an article: by the word before, and by what follows."""
    one, following = before[0], after[0]
    if one in w.PLACES:  # "Further left behind the house", but "curled up right against it".
        return one not in w.VAGUE_PLACES or following not in w.EXACTLY
    if one in w.PREPOSITIONS:
        verb = one == "to" and following in w.DETERMINERS  # "To right the boat".
        return not verb and following not in w.EXACTLY and not _in_the_middle(after)
    if one in w.POSTURES:
        return following not in w.EXACTLY and following not in ("in", "at", "with", *w.DETERMINERS)
    if one in w.VERBS and before[1] not in w.COUNTS:  # "Few steps left" counts what remains.
        return _with_a_verb(one, after)
    if following in w.PARTS:
        return True
    if following in w.MODIFIERS and after[1] in w.PARTS:
        return True
    if following == "of":
        return w.REST.isdisjoint(before)
    if one in w.MARKS:
        return _after_a_mark(one, after)
    return False


def _with_a_verb(verb: str, after: Words) -> bool:
    """She turns left at the corner; not: she looks right at the camera, she walks right to the door."""
    if after[0] in w.EXACTLY_AFTER_VERB or _in_the_middle(after) or _at_the_viewer(after):
        return False
    return not (verb in w.MOTIONS and after[0] == "to" and after[1] in w.DETERMINERS)


def _after_a_mark(mark: str, after: Words) -> bool:
    """Left: a cat. A boy (left) and a girl, right, play."""
    following = after[0]
    if following in w.STOPS:
        return following not in ("", ".") or mark in (",", "(")
    plain = following not in w.EXACTLY and following not in w.DETERMINERS
    return plain and after[1] in w.PARTS and mark in ("", ".", "\n", ",", ":")


def _in_the_middle(after: Words) -> bool:
    return after[0] in ("in", "at", "on") and not w.MIDDLES.isdisjoint(after[1:3])


def _at_the_viewer(after: Words) -> bool:
    return after[0] in ("at", "into", "toward", "towards") and not w.VIEWERS.isdisjoint(after[1:3])
