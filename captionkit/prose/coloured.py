"""Things that a caption gives another colour than a tag does."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from captionkit.prose.word_forms import numbers

_FAMILIES = {
    "red": ("red", "crimson", "scarlet", "maroon"),
    "orange": ("orange", "ginger", "auburn", "peach"),
    "yellow": ("yellow", "golden", "gold", "blonde", "blond"),
    "green": ("green", "olive"),
    "aqua": ("aqua", "teal", "turquoise", "cyan"),
    "blue": ("blue", "navy"),
    "purple": ("purple", "violet", "lavender"),
    "pink": ("pink", "magenta"),
    "brown": ("brown", "tan", "beige", "chestnut"),
    "white": ("white", "cream", "ivory"),
    "grey": ("grey", "gray", "silver"),
    "black": ("black",),
}
_FAMILY = {colour: family for family, colours in _FAMILIES.items() for colour in colours}
_MAY_BE = [
    *({"red", "orange"}, {"red", "pink"}, {"red", "brown"}, {"red", "purple"}, {"orange", "yellow"}),
    *({"orange", "brown"}, {"orange", "pink"}, {"yellow", "brown"}, {"yellow", "green"}, {"yellow", "white"}),
    *({"green", "aqua"}, {"aqua", "blue"}, {"blue", "purple"}, {"blue", "grey"}, {"blue", "black"}),
    *({"purple", "pink"}, {"brown", "white"}, {"brown", "black"}, {"brown", "grey"}, {"white", "grey"}),
    *({"grey", "black"}, {"purple", "black"}, {"pink", "white"}, {"aqua", "grey"}, {"green", "brown"}),
]
"""What one calls so, another may call so. Dark blue passes for black, and fur is full of such."""
_SHADES = {"light", "dark", "pale", "bright", "deep", "vibrant", "vivid", "soft", "rich"}
_JOINTS = {"and", ",", "or", "with", "-"}
_TOKEN = re.compile(r"[\w']+|[^\w\s]")
_ENDS_A_THING = {
    *(
        "is",
        "are",
        "was",
        "were",
        "has",
        "have",
        "in",
        "on",
        "at",
        "of",
        "to",
        "with",
        "and",
        "or",
        "near",
        "next",
    ),
    *(
        "behind",
        "beside",
        "under",
        "over",
        "from",
        "by",
        "that",
        "which",
        "who",
        "while",
        "as",
        "for",
        "but",
        "into",
    ),
    *("parked", "visible", "between", "against", "around", "through", "along", "across", "above", "below"),
}


def other_colours(sentences: Sequence[str], phrases: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The tags, such as `blue car`, of whose thing the sentences say another colour only, and their words.

    A thing that another tag has in the caption's colour, and colours that pass for each other, deny nothing.

    >>> list(other_colours(["a red car and a blue bus."], {"blue_car": "blue car", "red_bus": "red bus"}))
    [('blue_car', 'red car'), ('red_bus', 'blue bus')]
    >>> list(other_colours(["a red and blue car near a navy bus."], {"a": "blue car", "b": "black bus"}))
    []
    """
    wanted = {name: (colour, thing) for name, phrase in phrases.items() for colour, thing in _split(phrase)}
    if not wanted:
        return
    read = [_TOKEN.findall(sentence) for sentence in sentences]
    tagged = {(_FAMILY[colour], thing) for colour, thing in wanted.values()}
    for name, (colour, thing) in wanted.items():
        said: dict[str, str] = {}
        for tokens in read:
            for form in numbers(thing):
                said.update(_said(tokens, form.split(" ")))
        family = _FAMILY[colour]
        if said and not any(
            one == family or {one, family} in _MAY_BE or (one, thing) in tagged for one in said
        ):
            yield name, next(iter(said.values()))


def _split(phrase: str) -> Iterator[tuple[str, str]]:
    """The colour of a tag and its thing, if it has both."""
    colour, _, thing = phrase.partition(" ")
    if colour in _FAMILY and thing and thing.split(" ")[0] not in _FAMILY and thing != "theme":
        yield colour, thing


def _said(tokens: list[str], thing: list[str]) -> Iterator[tuple[str, str]]:
    """The families of the colours that one sentence gives a thing, each with its words."""
    length = len(thing)
    for at in range(len(tokens) - length + 1):
        if tokens[at : at + length] != thing:
            continue
        end = at + length
        begin, before = _colours(tokens, at - 1, -1)
        follows = tokens[end] if end < len(tokens) else "."
        if follows in _ENDS_A_THING or not follows[0].isalnum():
            for family in before:
                yield family, " ".join(tokens[begin + 1 : end])
        if follows in ("is", "are"):
            stop, behind = _colours(tokens, end + 1, 1)
            for family in behind:
                yield family, " ".join(tokens[at:stop])


def _colours(tokens: list[str], at: int, step: int) -> tuple[int, list[str]]:
    """The families of a run of colours that begins at a place, and the place beyond the last of them."""
    found: list[str] = []
    beyond = at
    while 0 <= at < len(tokens):
        if tokens[at] in _FAMILY:
            found.append(_FAMILY[tokens[at]])
            beyond = at + step
        elif tokens[at] not in _SHADES and not (found and tokens[at] in _JOINTS):
            break
        at += step
    return beyond, found
