"""What a sentence says is not there: the things behind "no", "without", "not wearing a", and before "is not
visible"."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass


def _any(words: str) -> str:
    """One of some words or phrases, which `/` parts."""
    return "(?:" + "|".join(words.split("/")) + ")"


_BEFORE_A_THING = _any(
    "an?/any/his/her/its/their/single/visible/actual/such/discernible/apparent/obvious/clear/signs? of/"
    "traces? of"
)
_HAVE = _any(
    "ha(?:ve|s|ving)/wear(?:s|ing)?/contain(?:s|ing)?/includ(?:e|es|ing)/featur(?:e|es|ing)/show(?:s|ing)?/"
    "depict(?:s|ing)?/hold(?:s|ing)?/carr(?:y|ies|ying)/possess(?:es|ing)?/see(?:ing)?"
)
_STANDS = _any(
    "stand/sit/lie/walk/run/look/hold/lean/rest/fly/ride/play/wear/smile/sleep/eat/drink/wait/stare"
)
_VERBS = rf"(?:is|are|was|were|has|have|had|{_STANDS}(?:s|ing))"
_PLACES = _any(
    "in/on/at/of/to/from/around/near/behind/beside/under/over/inside/outside/between/by/for/into/onto/"
    "beneath/above/below/against/along/across/through/being/currently"
)
_SEEN = _any("visible/present/seen/shown/depicted/here/anywhere/nearby/in sight/in view/at all")
_PICTURE = _any(
    "image/picture/photo/photograph/scene/frame/shot/illustration/drawing/painting/view/composition"
)
_BODY = _any("head/face/body/hands?/neck/feet/eyes/ears?/back")
_NEVER = _any(
    "currently/actually/really/even/yet/being/visibly/clearly/(?:appear|seem|appearing) to be/either"
)

_ANY = re.compile(r"no[t ]|less\b|lack|without|absent|missing|neither|devoid|free of|nowhere|zero|never")
_OF_THINGS = re.compile(
    rf"\b(?:no|zero|without(?: (?:wearing|having|showing))?|lack(?:s|ing)?|devoid of|(?:is|are) free of|"
    rf"not {_HAVE}|(?:is|are|was|were|it|neither) not(?= an? )|not(?= any )|neither(?= an? ))\b "
    r"(?!one\b|longer\b|doubt\b)"
)
_OF_DOING = re.compile(rf"\b(?:not|never|neither) (?:{_NEVER} )*")
_LESS = re.compile(
    r"\b(hat|shirt|sleeve|tail|hair|wing|beard|shoe|tooth|leaf|cloud|glove|helmet|horn|sock|strap)-?less\b"
)
_ABSENT = re.compile(
    r"(?:^(?:and |but |while )?|, (?:and |but |while )?| and | but | while )"
    r"(?:(?:the|an?|any|his|her|its|their|\w+'s) )*"
    r"(?P<what>[^,]{1,60}?) (?:is|are) (?:absent|missing|nowhere to be seen|"
    r"not (?:there|visible|present|in view|in sight|seen|shown|depicted|pictured))\b"
)
_JOINT = _any("but/while/and/as/though/although/however/so/because/since/whereas/when/yet/which/where")
_END = re.compile(
    rf"[.;:!?()\ue000\u2014]| - | -- |,? {_JOINT}\b|,? (?:that|who|whose|whom)\b|"
    r", (?:\w+ing|possibly|perhaps|probably|likely|maybe|suggestive)\b"
)
_NARROWING = {"that", "who", "whose", "whom", "which", "where"}
_ONLY_SOME = re.compile(r"\b(?:that|who|whose|whom|which|where|with|like|more|than|enough|else)\b")
_VOID = re.compile(
    r"\b(?:except|other than|apart from|aside from|besides|beyond|whether|if|unless|would|might|could|only|"
    r"just|merely|simply|no (?:one|man|woman|person) (?:is )?without|not without|nobody)\b"
)
_LIST = re.compile(r",? (?:or|nor) |, ")
_LONGEST = 4  # Words of a thing in a list.
_TAIL = re.compile(rf" (?=(?:{_VERBS}|{_PLACES}|{_SEEN})\b)")
_VERB = re.compile(rf" {_VERBS}\b")
_SAYS_NOTHING = re.compile(
    rf"(?: (?:(?:is|are|was|were|can be|to be|being) )?{_SEEN}| (?:is|are|was|were) there|"
    rf" (?:in|within|of) (?:the|this) {_PICTURE}|"
    rf" (?:on|in|around|over) (?:his|her|its|their|the)(?: own)? {_BODY}|"
    r" (?:on|in|around|over) (?:him|her|it|them))*\Z"
)
_FAR = 300
"""Characters behind a word of denial up to which its part of the sentence must have ended; that of no real
caption is over 100. What loops ("no no no ...") never ends, and says nothing."""
_LEADING = re.compile(rf"(?:{_BEFORE_A_THING} )*")


@dataclass(frozen=True, slots=True)
class Negated:
    """Something that a sentence denies."""

    what: str
    """The thing, without article: "dog", "red hat", "smiling"."""
    words: str
    """What stands there, as far as it belongs to it."""
    start: int
    """Where these words begin in the sentence."""
    end: int
    """Where they end."""
    doing: bool
    """Whether it is behind "not", where verbs and adjectives stand."""


def negated(sentence: str) -> Iterator[Negated]:
    """What a sentence in small letters and without short forms denies: whole things only.

    "No red car" says nothing about cars, "no dog in the yard" nothing about the picture, "no people except
    two" and "whether there is no dog" nothing that is sure.

    >>> [one.what for one in negated("there are no dogs or visible cats in the picture, and no red car.")]
    ['dogs', 'cats', 'red car']
    >>> [one.what for one in negated("the man is not smiling and wears no hat in the yard.")]
    ['smiling']
    """
    if not _ANY.search(sentence) or _VOID.search(sentence):
        return
    for pattern, doing in ((_OF_THINGS, False), (_OF_DOING, True)):
        for trigger in pattern.finditer(sentence):
            yield from _behind(sentence, trigger.start(), trigger.end(), doing=doing)
    for found in _ABSENT.finditer(sentence):
        if not found["what"].startswith("no "):
            yield Negated(found["what"], found.group().strip(" ,"), found.start(), found.end(), False)
    for found in _LESS.finditer(sentence):
        yield Negated(found[1], found.group(), found.start(), found.end(), False)


def _behind(sentence: str, start: int, begin: int, *, doing: bool) -> Iterator[Negated]:
    """The things behind a word of denial, up to where its part of the sentence ends."""
    stop = _END.search(sentence, begin, begin + _FAR)
    if stop is None and len(sentence) > begin + _FAR:
        return
    end = len(sentence) if stop is None else stop.start()
    parts, tail, end = _parts(sentence, begin, end)
    words = sentence[start:end].rstrip(" ,")
    if tail and doing and len(parts) == 1:
        yield Negated(parts[0] + tail, words, start, end, doing)  # "not looking at viewer" as one thing.
    without = sentence.startswith(("without", "lacking"), start) and _VERB.match(tail)
    if not without and not _SAYS_NOTHING.match(tail):
        return  # "No dog in the yard".
    if stop is not None and end == stop.start() and stop.group().strip() in _NARROWING:
        del parts[-1]  # "No dog that barks".
    described = False
    for part in parts:
        found = _LEADING.match(part)
        begins = found.end() if found else 0
        thing = part[begins:].strip()
        # "No other dogs or cats": what describes the dogs may belong to the cats as well.
        if thing and not _ONLY_SOME.search(thing) and not (described and not begins):
            yield Negated(thing, words, start, end, doing)
        described = described or " " in thing


def _parts(sentence: str, begin: int, end: int) -> tuple[list[str], str, int]:
    """The things of a list, what follows on the last of them, and where that ends.

    Commas make a list only before an "or": "no dog, a cat" is none. What follows on a thing, such as "on the
    table", ends the list: a later "or" belongs to it.
    """
    marks = list(_LIST.finditer(sentence, begin, end))
    cuts = [begin, *(mark.end() for mark in marks)]
    ends = [*(mark.start() for mark in marks), end]
    kept = 0
    parts: list[str] = []
    tail = ""
    for index, (at, to) in enumerate(zip(cuts, ends, strict=True)):
        part = sentence[at:to]
        if index and part.count(" ") >= _LONGEST and not _TAIL.search(part):
            break
        found = _TAIL.search(part)
        parts.append(part if found is None else part[: found.start()])
        if index == 0 or marks[index - 1].group().strip(", "):
            kept, tail, end = index + 1, "" if found is None else part[found.start() :], to
        if found is not None:
            break
    return parts[:kept], tail, end
