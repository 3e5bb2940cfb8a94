"""Whether a caption denies what the tags say.

Made for precision: what is listed should be wrong, and much that is wrong is not found. A tag that a caption
also affirms somewhere is never denied. What stands in quotation marks is written in the picture.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from captionkit.prose.coloured import other_colours
from captionkit.prose.counted import other_count
from captionkit.prose.negated import negated
from captionkit.prose.quotes import hide_quotes
from captionkit.prose.sentences import split_sentences
from captionkit.prose.word_forms import bare, numbers, verb_forms
from captionkit.record import fold

How = Literal["negated", "count", "exclusive", "colour"]

_NO_WORD = re.compile(r"[^\w'-]+")
_NO_TIME = re.compile(
    r"\b(?:night|day)[ -](?:stand|gown|table|dress|shirt|club|owl|cap|bag|bed|pack|dream|planner)(?:e?s)?\b"
    r"|\b(?:night vision|day care)\b|'s (?:day|night)\b|\b(?:good|opening) night\b"
    r"|\bto an outdoor\b|\b(?:to|of) the outdoors\b"
)
"""A night stand says nothing of the time, a window to the outdoors nothing of where one is."""
_NOT = re.compile(r"\bcan(?:not| not|'t)\b|n't\b")


@dataclass(frozen=True, slots=True)
class Denial:
    """A tag that a caption denies."""

    tag: str
    """The tag as it was given."""
    how: How
    """In which way: "there is no dog", "two girls" against `solo`, "at night" against `day`, "red car"
    against `blue_car`."""
    words: str
    """The words of the caption that deny it, in small letters."""


def denied_tags(
    text: str, tags: Iterable[str], *, exclusive: Sequence[Iterable[str]] = ()
) -> tuple[Denial, ...]:
    """The tags that a caption denies, in their order, each once.

    `exclusive` are groups of tags of which a picture has at most one, such as `("day", "night", "dusk")`.

    >>> denied_tags("Two girls sit on a red bench. There is no dog.", ["solo", "dog", "blue_bench"])[1]
    Denial(tag='dog', how='negated', words='no dog')
    >>> [one.how for one in denied_tags("Two girls on a red bench at night.", ["1girl", "blue_bench"])]
    ['count', 'colour']
    >>> denied_tags("A dog. Its collar has no bell and no red tag.", ["dog", "tag", "collar"])
    ()
    """
    names = list(dict.fromkeys(tags))
    if not names or not text.strip():
        return ()
    caption = _Caption(text)
    phrases = {name: bare(fold(name)) for name in names}
    groups = [[bare(fold(member)) for member in group] for group in exclusive]
    found: dict[str, Denial] = {}
    for name, how, words in (
        *_negated(caption, phrases),
        *_miscounted(caption, phrases),
        *_excluded(caption, phrases, groups),
        *_miscoloured(caption, phrases),
    ):
        found.setdefault(name, Denial(name, how, words))
    return tuple(found[name] for name in names if name in found)


class _Caption:
    """A caption, read: its sentences, what they deny, and the words of all the rest."""

    __slots__ = ("_runs", "denied", "left", "scene", "sentences")

    def __init__(self, text: str) -> None:
        plain = hide_quotes(text)[0].replace("\u2019", "'").replace("_", " ")
        self.sentences = [_plain(sentence) for sentence in split_sentences(plain)]
        self.denied = [list(negated(sentence)) for sentence in self.sentences]
        self.left: list[str] = []
        for sentence, denied in zip(self.sentences, self.denied, strict=True):
            left = list(sentence)
            for one in denied:
                left[one.start : one.end] = "." * (one.end - one.start)
            self.left.append("".join(left))
        self.scene = [_NO_TIME.sub(".", sentence) for sentence in self.left]
        self._runs: dict[tuple[int, bool], frozenset[str]] = {}

    def affirms(self, forms: Iterable[str], *, of_scene: bool = False) -> str | None:
        """The first of some phrases that stands in the caption outside of what it denies; ``of_scene``: and
        outside of words that sound like time or place and are none."""
        return next((form for form in forms if form in self._runs_of(form.count(" ") + 1, of_scene)), None)

    def _runs_of(self, length: int, of_scene: bool) -> frozenset[str]:
        """All runs of so many words, whatever marks stand between them."""
        if (length, of_scene) not in self._runs:
            runs: set[str] = set()
            for sentence in self.scene if of_scene else self.left:
                words = [word for word in _NO_WORD.split(sentence) if word]
                runs.update(" ".join(words[at : at + length]) for at in range(len(words) - length + 1))
            self._runs[length, of_scene] = frozenset(runs)
        return self._runs[length, of_scene]


def _plain(sentence: str) -> str:
    """A sentence in small letters, single spaces and without short forms of "not"."""
    small = " ".join(sentence.lower().split())
    return _NOT.sub(lambda found: "can not" if found.group().startswith("can") else " not", small)


def _forms(phrase: str) -> frozenset[str]:
    return numbers(phrase) | (verb_forms(phrase) if " " not in phrase else frozenset())


_Found = Iterator[tuple[str, How, str]]


def _negated(caption: _Caption, phrases: dict[str, str]) -> _Found:
    things = {
        one.what: one for denied in reversed(caption.denied) for one in reversed(denied) if not one.doing
    }
    doings = {one.what: one for denied in reversed(caption.denied) for one in reversed(denied) if one.doing}
    if not things and not doings:
        return
    for name, phrase in phrases.items():
        hits = [things[form] for form in numbers(phrase) if form in things]
        if not hits and doings:
            hits = [doings[form] for form in _forms(phrase) if form in doings]
        if hits and not caption.affirms(_forms(phrase)):
            yield name, "negated", hits[0].words


def _miscounted(caption: _Caption, phrases: dict[str, str]) -> _Found:
    first = caption.left[0] if caption.left else ""
    for name, words in other_count(first, phrases):
        yield name, "count", words


def _excluded(caption: _Caption, phrases: dict[str, str], groups: Sequence[Sequence[str]]) -> _Found:
    here = set(phrases.values())
    for name, phrase in phrases.items():
        for group in groups:
            if phrase not in group or caption.affirms(_forms(phrase)):
                continue
            others = [member for member in group if member not in here]
            said = (caption.affirms(numbers(one), of_scene=True) for one in others)
            if (words := next(filter(None, said), None)) is not None:
                yield name, "exclusive", words


def _miscoloured(caption: _Caption, phrases: dict[str, str]) -> _Found:
    for name, words in other_colours(caption.left, phrases):
        yield name, "colour", words
