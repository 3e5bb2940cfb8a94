"""All rules that look at one sentence, with a quick look at which of them may have anything to do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import final

from captionkit.prose.rules import CleaningRule
from captionkit.prose.sentence_rule import SentenceRule

_MOST_ROUNDS = 20  # Every round takes words away; hardly any sentence needs a third.


@final
class SentenceRules:
    """The rules for a sentence that opens a caption, or for one that does not, in their order."""

    __slots__ = ("_all", "_anywhere", "_needs", "_opening", "_places")

    def __init__(self, rules: Iterable[CleaningRule], *, first: bool) -> None:
        only = {None, "first" if first else "later"}
        self._all = [SentenceRule(rule) for rule in rules if SentenceRule.can(rule) and rule.only in only]
        self._anywhere = [rule for rule in self._all if not rule.openings]
        self._places = [place for place, rule in enumerate(self._all) if rule.openings]
        self._opening = _first_of([self._all[place].openings for place in self._places])
        self._needs = sorted({need for rule in self._anywhere for need in rule.needs}, key=len)
        if not all(rule.needs for rule in self._anywhere):
            self._needs = [""]  # Some rule must be tried on every sentence.

    def apply(self, sentence: str, told: list[tuple[str, str, str]] | None = None) -> str:
        """The sentence after the rules, each until nothing changes any more; empty when it goes.

        What each did is put into `told`: its name, the sentence before and after.
        """
        for _ in range(_MOST_ROUNDS):
            before = sentence
            for rule in self._worth_trying(sentence):
                changed = rule.apply(sentence)
                if changed == sentence:
                    continue
                if told is not None:
                    told.append((rule.name, sentence, changed))
                if not changed:
                    return ""
                sentence = changed
            if sentence == before:
                break
        return sentence

    def _worth_trying(self, sentence: str) -> Iterable[SentenceRule]:
        """The rules that may match; of most sentences that are none."""
        small = sentence.lower()
        if self._opening is None:
            return [rule for rule in self._all if rule.may_match(small)]
        if (found := self._opening.match(sentence)) is not None and found.lastindex is not None:
            place = self._places[found.lastindex - 1]  # No rule before this one matches the beginning.
            return [
                rule
                for at, rule in enumerate(self._all)
                if (at >= place if rule.openings else rule.may_match(small))
            ]
        for need in self._needs:
            if need in small:
                return [rule for rule in self._anywhere if rule.may_match(small)]
        return ()


def _first_of(openings: list[tuple[str, ...]]) -> re.Pattern[str] | None:
    """One expression for the patterns of many rules, with a group for each; None where that cannot be."""
    try:
        if any(re.compile(pattern).groups for patterns in openings for pattern in patterns):
            return None  # Their numbers and names would get mixed up.
        groups = ["|".join(f"(?:{pattern})" for pattern in patterns) for patterns in openings]
        return re.compile("|".join(f"({group})" for group in groups) or "(?!)", re.IGNORECASE)
    except re.error:
        return None  # Such as flags, which stand at the beginning only.
