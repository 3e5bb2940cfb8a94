"""How many people or animals a caption begins with, against tags such as `solo`, `1girl` and `no humans`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

_NUMBERS = {
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
}
_MANY = 0  # More than one, nobody said how many.
_GIRLS = r"(?:girls|women|females|ladies|schoolgirls)"
_BOYS = r"(?:boys|men|males|guys|schoolboys)"
_PEOPLE = r"(?:people|persons|individuals|humans|children|kids|adults|teenagers|couples)"
_BEINGS = r"(?:characters|figures|animals|creatures)"
# Only what the caption is about: a number later on may count people on a poster. A noun follows the number at
# once, or behind adjectives.
_PICTURE = r"(?:image|picture|photo|photograph|scene|illustration|drawing|artwork)"
_NUMBER = (
    r"(?:two|three|four|five|six|seven|eight|nine|ten|[2-9]|10|"
    r"an? (?:large |small )?(?:group|crowd|pair|trio) of)"
)
_LEAD_IN = (
    rf"(?:(?:the|this|an?) {_PICTURE} (?:shows|showcases|depicts|features|captures|contains|is of|of),? |"
    rf"in (?:the|this) {_PICTURE}, |there are |we see |exactly |only )*"
)
# Only what the caption is about: a number later on may count people on a poster.
_SUBJECT = re.compile(
    rf"^{_LEAD_IN}(?P<number>{_NUMBER})(?: (?!and\b|of\b|other\b|more\b)[a-z-]+){{0,3}}? "
    rf"(?:(?P<girls>{_GIRLS})|(?P<boys>{_BOYS})|(?P<people>{_PEOPLE})|(?P<beings>{_BEINGS}))\b(?!')"
    r"(?! (?:on|in) (?:the|a) (?:poster|screen|painting|picture|photo|wall))(?! (?:\w+ )?(?:shoes|clothing))"
)
_OF_TAG = re.compile(r"(?P<number>[1-9])(?P<more>\+?)\s?(?P<what>girl|boy|other)s?")


def other_count(sentence: str, phrases: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The tags whose number the first sentence of a caption, in small letters, contradicts, and its words.

    Only numbers from two on: "a girl" does not say that there is no other one.

    >>> list(other_count("two girls are sitting.", {"1girl": "1girl", "solo": "solo", "2girls": "2girls"}))
    [('1girl', 'two girls'), ('solo', 'two girls')]
    """
    if (found := _SUBJECT.match(sentence)) is None:
        return
    number = _number(found["number"])
    words = sentence[found.start("number") : found.end()]
    kind = str(found.lastgroup)
    for name, phrase in phrases.items():
        if _denies(phrase, number, kind):
            yield name, words


def _number(text: str) -> int:
    if text.endswith(" of"):
        return {"pair": 2, "trio": 3}.get(text.split()[-2], _MANY)
    return _NUMBERS.get(text) or int(text)


def _denies(phrase: str, number: int, kind: str) -> bool:
    """Whether so many of a kind do not go with a tag."""
    if phrase == "solo":
        return True
    if phrase == "no humans":
        return kind != "beings"
    if phrase in ("duo", "trio"):
        wanted = 2 if phrase == "duo" else 3
        return number > wanted
    if (found := _OF_TAG.fullmatch(phrase)) is None or found["what"] == "other":
        return False
    if kind != found["what"] + "s":
        return False
    wanted = int(found["number"])
    if number == _MANY:
        return wanted == 1 and not found["more"]
    return number < wanted or (number > wanted and not found["more"])
