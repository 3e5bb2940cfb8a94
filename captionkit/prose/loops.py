"""A model that repeats itself: words and phrases over and over, the same sentence again, a list without
end."""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import cycle

_NUMBER = re.compile(r"^\d+[.)]\s*")
_MARKS = ".,;:!?"
_NO_MARKS = str.maketrans("", "", _MARKS)
_LONGEST_PERIOD = 16  # Words. Longer repetitions are whole sentences, which are compared as such.

# How many words must equal those a period later: two more rounds of a short phrase, one of a long.
_ENOUGH_ZEROS = [bytes(2 * period if period < 4 else period) for period in range(_LONGEST_PERIOD + 1)]


def cut_phrase_loops(text: str) -> str:
    """The text with phrases that follow on themselves said once.

    Three times running is a loop, from four words on twice.

    >>> cut_phrase_loops("text that reads NATURE NATURE NATURE NATURE")
    'text that reads NATURE'
    """
    folded = text.lower().translate(_NO_MARKS).split(" ")
    periods = _periods_to_look_at(folded)
    if not periods:
        return text
    words = text.split(" ")
    for period in periods:
        words, folded = _without_period(words, folded, period)
    return " ".join(words)


def _periods_to_look_at(folded: list[str]) -> list[int]:
    """The periods at which there may be a loop: none is missed, hardly any is there in vain.

    Every word becomes a byte and the text one large number; where it equals itself, shifted by the period,
    there are zeros in a row. That takes a few operations per period, however long the text is.
    """
    # Beyond 255 different words some share a byte, which only makes for a closer look in vain. No byte is
    # zero, so that the end, which has nothing after it to be compared with, shows no zeros.
    codes: defaultdict[str, int] = defaultdict(cycle(range(1, 256)).__next__)
    row = int.from_bytes(bytes(map(codes.__getitem__, folded)), "little")
    if len(codes) == len(folded):
        return []
    length = len(folded)
    return [
        period
        for period in range(1, min(_LONGEST_PERIOD, length // 2) + 1)
        if _ENOUGH_ZEROS[period] in (row ^ (row >> 8 * period)).to_bytes(length, "little")
    ]


def _without_period(words: list[str], folded: list[str], period: int) -> tuple[list[str], list[str]]:
    """The words with every loop of this period cut to its first round, with the end mark of its last."""
    enough = len(_ENOUGH_ZEROS[period])
    words = list(words)
    gone: set[int] = set()
    run = 0
    for index in range(len(folded) - period + 1):
        if index + period < len(folded) and folded[index] == folded[index + period] and folded[index]:
            run += 1
            continue
        if run >= enough and (
            run >= 2 * period or not _ends_inside(words[index - run : index - run + period])
        ):
            # `run` words are followed by their like: as many, in whole rounds, can go.
            first, rounds = index - run + period, run - run % period
            gone.update(range(first, first + rounds))
            words[first - 1] = _with_end_of(words[first - 1], words[first - 1 + rounds])
        run = 0
    if not gone:
        return words, folded
    kept = [index for index in range(len(words)) if index not in gone]
    return [words[index] for index in kept], [folded[index] for index in kept]


def _with_end_of(word: str, other: str) -> str:
    """The word with the other's marks behind it; its own capitals stay."""
    return word.rstrip(_MARKS) + other[len(other.rstrip(_MARKS)) :]


def _ends_inside(words: list[str]) -> bool:
    """Whether a sentence ends among the words: said twice on both sides of a full stop is good style.

    As in "towards the tall tower. The tall tower is ..."
    """
    return any(word[-1:] in (".", "!", "?") for word in words)


def cut_item_loops(sentence: str) -> str:
    """The sentence with a list that goes round in circles cut to its different items.

    A list of eight items or more of which at least half have stood there before counts as one.

    >>> cut_item_loops("Signs: A, B, A, B, B, A, A, B, C.")
    'Signs: A, B, A, C.'
    """
    items = sentence.split(", ")
    if len(items) < 8:
        return sentence
    bare = [item.rstrip(".").casefold() for item in items]
    if 2 * len(set(bare)) > len(bare):
        return sentence
    first = dict(zip(reversed(bare), reversed(items), strict=True))
    end = "." if sentence.endswith(".") else ""
    return ", ".join(item.rstrip(".") for item in (first[name] for name in dict.fromkeys(bare))) + end


def without_repeats(sentences: list[str]) -> list[str]:
    """The sentences without those that were said before; short ones (`Yes.`) may come again later.

    A number in front does not make a sentence a new one.

    >>> without_repeats(["1. A person is walking.", "2. A person is walking.", "Yes.", "He nods.", "Yes."])
    ['1. A person is walking.', 'Yes.', 'He nods.', 'Yes.']
    """
    kept: list[str] = []
    said: set[str] = set()
    for sentence in sentences:
        bare = _NUMBER.sub("", sentence)
        again = bare in said if bare.count(" ") >= 3 else kept[-1:] == [sentence]
        if not again:
            kept.append(sentence)
        said.add(bare)
    return kept
