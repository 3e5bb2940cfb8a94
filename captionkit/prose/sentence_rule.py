"""One rule for one sentence, compiled: where a pattern matches, the sentence goes or some words do."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import final

from captionkit.prose.capitals import with_capital
from captionkit.prose.hedges import say_is
from captionkit.prose.modals import say_surely
from captionkit.prose.precious import keeps_precious
from captionkit.prose.rules import CleaningRule

_PROCEDURES: dict[str, Callable[[str], str]] = {"say is": say_is, "say surely": say_surely}


@final
class SentenceRule:
    """A rule ready to work. What would damage a name or a number, it leaves alone: see `keeps_precious`.

    >>> from captionkit.prose.rulebook import library_rules
    >>> rules = {rule.name: SentenceRule(rule) for rule in library_rules() if SentenceRule.can(rule)}
    >>> rules["doubt"].apply("It is possibly Emma Watson.")
    'It is Emma Watson.'
    >>> rules["mood"].apply("The mood is calm.")
    ''
    """

    __slots__ = ("_unless", "_work", "name", "needs", "openings")

    def __init__(self, rule: CleaningRule) -> None:
        self.name = rule.name
        self.needs = rule.needs
        """Of these letters some must stand in a sentence, in small; empty means that any sentence may do."""
        self.openings = rule.patterns if rule.action in ("drop sentence", "cut opening") else ()
        """Of these patterns one must match the beginning of a sentence; empty means that any may do."""
        self._unless = None if rule.unless is None else re.compile(rule.unless, re.IGNORECASE)
        self._work = _work(rule)

    @staticmethod
    def can(rule: CleaningRule) -> bool:
        """Whether a rule is of this sort."""
        return bool(rule.patterns) or rule.action in _PROCEDURES

    def may_match(self, small: str) -> bool:
        """Whether a sentence in small letters holds what the rule needs."""
        for need in self.needs:  # `any` takes three times as long.
            if need in small:
                return True
        return not self.needs

    def apply(self, sentence: str) -> str:
        """The sentence after the rule, with a capital where it began with one; empty when it goes."""
        worked = self._work(sentence)
        if worked == sentence or (self._unless is not None and self._unless.search(sentence)):
            return sentence
        if not worked:
            return ""
        worked = " ".join(worked.split())
        # Only where the beginning itself was cut; a sentence that began small stays so.
        if sentence[:1].isupper() and worked[:1] != sentence[:1]:
            worked = with_capital(worked)
        return worked if worked.strip(" .!?,;:") and keeps_precious(sentence, worked) else sentence


def _work(rule: CleaningRule) -> Callable[[str], str]:
    """What the rule does to a sentence, not minding what it may damage."""
    if rule.action in _PROCEDURES:
        return _PROCEDURES[rule.action]
    patterns = [re.compile(pattern, re.IGNORECASE) for pattern in rule.patterns]
    if rule.action == "drop sentence":
        return lambda sentence: "" if _opening(sentence, patterns) is not None else sentence
    if rule.action == "cut opening":
        return lambda sentence: _without_opening(sentence, patterns)
    return lambda sentence: _replaced(sentence, patterns, rule.replace)


def _opening(sentence: str, patterns: list[re.Pattern[str]]) -> re.Match[str] | None:
    for pattern in patterns:
        if (found := pattern.match(sentence)) is not None:
            return found
    return None


def _without_opening(sentence: str, patterns: list[re.Pattern[str]]) -> str:
    found = _opening(sentence, patterns)
    return sentence if found is None else with_capital(sentence[found.end() :])


def _replaced(sentence: str, patterns: list[re.Pattern[str]], replace: str) -> str:
    for pattern in patterns:
        sentence = pattern.sub(replace, sentence)
    return sentence
