"""The captions of one draw, word by word, with what became of each, followed from step to step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import groupby

from captionkit.fate import Cause, Fate, cause_of
from captionkit.record import Caption, Prose, Step

MAX_WORDS = 1500
"""A longer caption is compared as a whole: comparing costs the square of its words."""


@dataclass(frozen=True, slots=True)
class MarkedWords:
    """Words beside one another that share one fate."""

    text: str
    fate: Fate = Fate.KEPT
    cause: Cause | None = None
    """Who dropped or added them; None for words that were kept."""


@dataclass(frozen=True, slots=True)
class MarkedProse:
    """One caption, and what became of its words."""

    source: str
    words: tuple[MarkedWords, ...]

    @property
    def dropped(self) -> bool:
        """Whether nothing of it is in the text."""
        return all(words.fate is Fate.DROPPED for words in self.words)


class ProseMarks:
    """The captions on their way through the steps. It changes while a draw is followed, and is then read
    once."""

    def __init__(self, prose: Iterable[Prose]) -> None:
        self._pieces = [(piece.source, [MarkedWords(word) for word in piece.text.split()]) for piece in prose]

    def follow(self, step: Step) -> None:
        """Take note of what a step did to the captions."""
        if step.before.prose != step.after.prose:
            self._become(step.after.prose, cause_of(step))

    def result(self, caption: Caption, last: str) -> tuple[MarkedProse, ...]:
        """Every caption of the record, those that left too. What no step accounts for is put down to
        `last`."""
        self._become(caption.prose, Cause(last, ""))
        return tuple(MarkedProse(source, tuple(_joined(words))) for source, words in self._pieces if words)

    def _become(self, prose: tuple[Prose, ...], cause: Cause) -> None:
        partners = self._partners(prose)
        for at, (source, words) in enumerate(self._pieces):
            new = prose[partners[at]].text.split() if at in partners else []
            if new != _alive(words):
                self._pieces[at] = source, list(_compared(words, new, cause))
        for index, piece in enumerate(prose):
            if index not in partners.values():
                new_words = [MarkedWords(word, Fate.ADDED, cause) for word in piece.text.split()]
                self._pieces.append((piece.source, new_words))

    def _partners(self, prose: tuple[Prose, ...]) -> dict[int, int]:
        """Which caption became which: first those of the same words, then in order those of one source."""
        left = {at for at, (_, words) in enumerate(self._pieces) if _alive(words)}
        partners: dict[int, int] = {}
        for same_words in (True, False):
            for index, piece in enumerate(prose):
                if index in partners.values():
                    continue
                for at in sorted(left):
                    source, words = self._pieces[at]
                    if source == piece.source and (not same_words or _alive(words) == piece.text.split()):
                        partners[at] = index
                        left.discard(at)
                        break
        return partners


def _alive(words: list[MarkedWords]) -> list[str]:
    return [word.text for word in words if word.fate is not Fate.DROPPED]


def _compared(words: list[MarkedWords], new: list[str], cause: Cause) -> Iterator[MarkedWords]:
    """The words after a step that left `new` of them; words that had left before keep their place."""
    alive = [at for at, word in enumerate(words) if word.fate is not Fate.DROPPED]
    old = [words[at].text for at in alive]
    come: dict[int, list[str]] = {}
    stay: set[int] = set()
    for kind, a, b, c, d in _opcodes(old, new):
        if kind == "equal":
            stay.update(alive[a:b])
        else:
            come.setdefault(alive[b] if b < len(alive) else len(words), []).extend(new[c:d])
    for at, word in enumerate(words):
        yield from (MarkedWords(text, Fate.ADDED, cause) for text in come.get(at, []))
        if word.fate is Fate.DROPPED or at in stay:
            yield word
        elif word.fate is not Fate.ADDED:  # What came and went is neither in the record nor in the text.
            yield MarkedWords(word.text, Fate.DROPPED, cause)
    yield from (MarkedWords(text, Fate.ADDED, cause) for text in come.get(len(words), []))


def _opcodes(old: list[str], new: list[str]) -> list[tuple[str, int, int, int, int]]:
    if not new or max(len(old), len(new)) > MAX_WORDS:
        return [("replace", 0, len(old), 0, len(new))]
    return SequenceMatcher(None, old, new, autojunk=False).get_opcodes()  # type: ignore[return-value]


def _joined(words: list[MarkedWords]) -> Iterator[MarkedWords]:
    for (fate, cause), run in groupby(words, key=lambda word: (word.fate, word.cause)):
        yield MarkedWords(" ".join(word.text for word in run), fate, cause)
