"""Rules at work on a text: first on the whole of it, then on its row of sentences, then in each sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, final

from captionkit.prose.loops import cut_item_loops, cut_phrase_loops, without_repeats
from captionkit.prose.markup import joined_lines, without_bold, without_emphasis
from captionkit.prose.quotes import CLOSE, OPEN, hide_quotes, show_quotes
from captionkit.prose.rules import CleaningRule
from captionkit.prose.sentence_rules import SentenceRules
from captionkit.prose.sentences import split_sentences
from captionkit.prose.unfinished import drop_unfinished

_MOST_ROUNDS = 20  # Every round takes words away; hardly any text needs a third.
_MOST_REMEMBERED = 1 << 13

# The procedures by their names, by what they work on.
_QUOTED: dict[str, Callable[[str], str]] = {"remove bold": without_bold}
_LINES: dict[str, Callable[[str], str]] = {"remove emphasis": without_emphasis, "join lines": joined_lines}
_WORDS: dict[str, Callable[[str], str]] = {"cut phrase loops": cut_phrase_loops}
_ROW: dict[str, Callable[[list[str]], list[str]]] = {
    "drop repeats": without_repeats,
    "cut item loops": lambda sentences: list(map(cut_item_loops, sentences)),
    "drop unfinished": drop_unfinished,
}


@dataclass(frozen=True)
class Change:
    """What one rule did."""

    rule: str
    """Its name."""
    before: str
    """The sentence, or for rules about lines, loops and ends the whole text, that it met."""
    after: str
    """What it left; empty where a sentence went."""


@final
class Cleaner:
    """A list of rules, ready to work; pickled as its rules.

    Whatever their order in the list, markup goes first and loops next, so that a loop does not hide that the
    text was cut off. Among rules that look at the same thing the order of the list counts.
    """

    __slots__ = ("_lines", "_memory", "_quoted", "_row", "_rules", "_sentence", "_words")

    def __init__(self, rules: Iterable[CleaningRule]) -> None:
        self._rules = tuple(rules)
        self._quoted = _procedures(self._rules, _QUOTED)
        self._lines = _procedures(self._rules, _LINES)
        self._words = _procedures(self._rules, _WORDS)
        self._row = _procedures(self._rules, _ROW)
        # By whether the sentence opens the caption. Models say the same sentences again and again, and a
        # second round meets them all again.
        self._sentence = (SentenceRules(self._rules, first=False), SentenceRules(self._rules, first=True))
        self._memory: tuple[dict[str, str], dict[str, str]] = ({}, {})

    def __reduce__(self) -> tuple[type[Cleaner], tuple[tuple[CleaningRule, ...]]]:
        return Cleaner, (self._rules,)

    def clean(self, text: str, told: list[Change] | None = None) -> str:
        """One text, cleaned until nothing changes any more; what every rule did is put into `told`."""
        if OPEN in text or CLOSE in text:
            return text  # It holds the very characters that stand for quotations here; no caption does.
        for _ in range(_MOST_ROUNDS):
            cleaned = self._once(text, told)
            if cleaned == text:
                break
            text = cleaned
        return text

    def _once(self, text: str, told: list[Change] | None) -> str:
        """All rules once; those of a sentence until they leave it alone."""
        hidden, quotes = hide_quotes(_passed(text, self._quoted, told, []))
        hidden = " ".join(_passed(hidden, self._lines, told, quotes).split())
        hidden = _passed(hidden, self._words, told, quotes)
        sentences = split_sentences(hidden)
        for name, procedure in self._row:
            changed = procedure(sentences)
            if told is not None and changed != sentences:
                told.append(_change(name, " ".join(sentences), " ".join(changed), quotes))
            sentences = changed
        mended: list[str] = []
        for sentence in sentences:
            opens = not mended
            kept = self._memory[opens].get(sentence) if told is None else None
            if kept is None:
                kept = self._mended(sentence, opens, quotes, told)
            if kept:
                mended.append(kept)
        return show_quotes(" ".join(mended), quotes)

    def _mended(self, sentence: str, opens: bool, quotes: list[str], told: list[Change] | None) -> str:
        """One sentence after the rules that look at one; empty when it goes."""
        steps: list[tuple[str, str, str]] | None = None if told is None else []
        kept = self._sentence[opens].apply(sentence, steps)
        if told is not None and steps is not None:
            told += [_change(*step, quotes) for step in steps]
        memory = self._memory[opens]
        if len(memory) >= _MOST_REMEMBERED:
            memory.clear()
        memory[sentence] = memory[kept] = kept  # The rules leave what they left alone.
        return kept


def _procedures(rules: Iterable[CleaningRule], known: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple((rule.name, known[rule.action]) for rule in rules if rule.action in known)


def _passed(text: str, procedures: Any, told: list[Change] | None, quotes: list[str]) -> str:
    """The text after some procedures."""
    for name, procedure in procedures:
        changed = procedure(text)
        if told is not None and changed != text:
            told.append(_change(name, text, changed, quotes))
        text = changed
    return text


def _change(rule: str, before: str, after: str, quotes: list[str]) -> Change:
    return Change(rule, show_quotes(before, quotes), show_quotes(after, quotes))
