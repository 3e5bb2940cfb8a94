"""Left and right exchanged, as a mirror does: "his left arm", "turning right", "clockwise".

Which occurrences speak of a side is told by the words around them (`captionkit.prose.sides_context`). Those
words are read in a spelling in which every `right` is a `left` and every `counterclockwise` a `clockwise`: so
the decision is the same before and after a swap, and a second swap undoes the first, whatever the rules say.
"""

from __future__ import annotations

import re

from captionkit.prose.quotes import CLOSE, OPEN, hide_quotes
from captionkit.prose.sides_context import Words, names_a_side, tag_names_a_side

_PAIRS = (("left", "right"), ("clockwise", "counterclockwise"))
_SPELLINGS = [(spell(a), spell(b)) for a, b in _PAIRS for spell in (str.lower, str.capitalize, str.upper)]
_OTHER = {**dict(_SPELLINGS), **{b: a for a, b in _SPELLINGS}}
_AS_LEFT = {b: a for a, b in _SPELLINGS}

# Spellings such as `lEFT` are left alone: they have no twin. The expression begins with letters rather than
# with what may stand before them: so it runs through a text three times as fast.
_SIDE = re.compile(
    r"(?:(?P<side>left|right|Left|Right|LEFT|RIGHT)"
    r"(?P<compound>(?i:most|wards?|facing|sided?|hand|handed|handers?|handedness))?"
    r"|(?P<turn>(?:counter)?clockwise|C(?:lockwise|ounterclockwise)|(?:COUNTER)?CLOCKWISE))"
    r"(?![^\W_]|\.\w)"
)
_BEFORE_SIDE = re.compile(r"(?<![^\W_])(?:top|bottom|upper|lower)\Z", re.IGNORECASE)
_BEFORE_NO_TURN = re.compile(r"(?:counter|anti)[-_ ]\Z", re.IGNORECASE)
_NO_TWIN = re.compile(r"(?<![^\W_])(?:counter[-_ ]clockwise|anti[-_ ]?clockwise)(?![^\W_])", re.IGNORECASE)
_HIDDEN = re.compile(f"{OPEN}([0-9]+){CLOSE}")
_TOKEN = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*|[^\w\s]|\n")
_WINDOW = 60  # Characters on each side that may hold the few words a decision looks at.


def swap_sides(text: str) -> str:
    """The text as it is true of the mirrored picture; quotations stay. A second swap gives the text back.

    >>> swap_sides("To the left, a man raises his right arm. Nothing is left; she left the room.")
    'To the right, a man raises his left arm. Nothing is left; she left the room.'
    >>> swap_sides("LEFT-handed, right behind a sign that says 'KEEP LEFT'")
    "RIGHT-handed, right behind a sign that says 'KEEP LEFT'"
    """
    return _swapped(text, tag=False)


def swap_tag_sides(name: str) -> str:
    """A tag's name as it is true of the mirrored picture, underscores and all.

    >>> [swap_tag_sides(name) for name in ("left_arm_up", "facing right", "left_4_dead", "right_angle")]
    ['right_arm_up', 'facing left', 'left_4_dead', 'right_angle']
    """
    return _swapped(name, tag=True)


def speaks_of_sides(text: str) -> bool:
    """Whether any word outside quotations names a side or a sense of turning.

    >>> speaks_of_sides("A cat on the left."), speaks_of_sides("A plate with nothing left.")
    (True, False)
    """
    if not _may_speak(text):
        return False
    return any(side for _, side in find_sides(text)) or without_twin(text) is not None


def quotation(text: str) -> str | None:
    """The first quotation of a text that holds a letter or a number; None without one.

    >>> quotation("A sign reads 'EXIT'."), quotation("The dogs' tails.")
    ("'EXIT'", None)
    """
    quotes = hide_quotes(text)[1]
    return next((quote for quote in quotes if any(letter.isalnum() for letter in quote)), None)


def without_twin(text: str) -> str | None:
    """The first word for a sense of turning that no other would lead back to; None without one.

    Only `clockwise` and `counterclockwise` are exchanged. Were `anticlockwise` made `clockwise` too, a second
    swap could not tell which it was.

    >>> without_twin("It turns anti-clockwise."), without_twin("It turns counterclockwise.")
    ('anti-clockwise', None)
    """
    found = _NO_TWIN.search(text) if "lockwise" in text or "LOCKWISE" in text else None
    return found.group() if found is not None else None


def find_sides(text: str, *, tag: bool = False) -> list[tuple[re.Match[str], bool]]:
    """Every left, right and clockwise of a text, in order, and whether it speaks of a side.

    >>> [(word.group(), side) for word, side in find_sides("Left of the door is all that is left.")]
    [('Left', True), ('left', False)]
    """
    found = [word for word in _SIDE.finditer(text) if _stands_alone(text, word)]
    plain, spans = _in_plain(text, found)
    quoted = [] if tag else _quoted(plain)
    return [
        (word, not any(a <= start < b for a, b in quoted) and _is_side(plain, start, end, word, tag))
        for word, (start, end) in zip(found, spans, strict=True)
    ]


def _swapped(text: str, *, tag: bool) -> str:
    if not _may_speak(text):
        return text
    parts: list[str] = []
    end = 0
    for word, is_side in find_sides(text, tag=tag):
        if is_side:
            parts += text[end : word.start()], _with_other(word, _OTHER)
            end = word.end()
    return "".join(parts) + text[end:]


def _stands_alone(text: str, word: re.Match[str]) -> bool:
    """Whether it is no part of another word, such as `bright` or `counter-clockwise`; `topright` is two."""
    before = text[max(0, word.start() - 8) : word.start()]
    if word["turn"] is not None:
        return not before[-1:].isalnum() and _BEFORE_NO_TURN.search(before) is None
    return not before[-1:].isalnum() or _BEFORE_SIDE.search(before) is not None


def _in_plain(text: str, found: list[re.Match[str]]) -> tuple[str, list[tuple[int, int]]]:
    """The text in which every side is a left, and where those words begin and end in it."""
    parts: list[str] = []
    spans: list[tuple[int, int]] = []
    end = length = 0
    for word in found:
        as_left = _with_other(word, _AS_LEFT)
        start = length + word.start() - end
        parts += text[end : word.start()], as_left
        end, length = word.end(), start + len(as_left)
        spans.append((start, length))
    return "".join(parts) + text[end:], spans


def _may_speak(text: str) -> bool:
    """A quick look: most words and most tags hold none of these."""
    small = text.lower()
    return "left" in small or "right" in small or "clockwise" in small


def _with_other(word: re.Match[str], others: dict[str, str]) -> str:
    """The word with `left` or whichever stands in it replaced by another, if that has one."""
    group = "side" if word["side"] is not None else "turn"
    start, end = word.start(group) - word.start(), word.end(group) - word.start()
    whole = word.group()
    return whole[:start] + others.get(whole[start:end], whole[start:end]) + whole[end:]


def _is_side(plain: str, start: int, end: int, word: re.Match[str], tag: bool) -> bool:
    if word.group() != word["side"] or plain[max(0, start - 1) : start].isalnum():
        return True  # `clockwise`, `leftmost` and `topright` speak of nothing else.
    before = _TOKEN.findall(plain[max(0, start - _WINDOW) : start].lower())[:-5:-1]
    after = _TOKEN.findall(plain[end : end + _WINDOW].lower())[:4]
    names = tag_names_a_side if tag else names_a_side
    return names(_four(before), _four(after))


def _four(words: list[str]) -> Words:
    one, two, three, four = (*words, "", "", "", "")[:4]
    return one, two, three, four


def _quoted(text: str) -> list[tuple[int, int]]:
    """Where the quotations of a text begin and end."""
    if OPEN in text or CLOSE in text:
        return [(0, len(text))]  # It holds the very characters that stand for quotations; no caption does.
    hidden, quotes = hide_quotes(text)
    spans: list[tuple[int, int]] = []
    longer = 0  # By how much the text is longer than the hidden one, up to here.
    for mark in _HIDDEN.finditer(hidden):
        quote = quotes[int(mark.group(1))]
        start = mark.start() + longer
        spans.append((start, start + len(quote)))
        longer += len(quote) - len(mark.group())
    return spans
