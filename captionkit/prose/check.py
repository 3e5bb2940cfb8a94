"""Whether rules do what their examples say."""

from __future__ import annotations

from collections.abc import Iterable

from captionkit.prose.cleaner import Cleaner
from captionkit.prose.rules import CleaningRule


def check_rules(rules: Iterable[CleaningRule]) -> list[str]:
    """What is wrong with the examples of some rules, each tried alone; nothing wrong is an empty list.

    A rule needs an example that it changes and one that it leaves alone, and `needs` must not hide a change
    from it.

    >>> from captionkit.prose.rulebook import library_rules
    >>> check_rules(library_rules())
    []
    """
    return [f"{rule.name}: {fault}" for rule in rules for fault in _faults(rule)]


def _faults(rule: CleaningRule) -> list[str]:
    faults: list[str] = []
    alone = Cleaner((rule,))
    untied = Cleaner((rule.model_copy(update={"needs": ()}),))
    for example in rule.examples:
        expected = example.before if example.after is None else example.after
        came = alone.clean(example.before)
        if came != expected:
            faults.append(f"of {example.before!r} comes {came!r}, not {expected!r}")
        if untied.clean(example.before) != came:
            faults.append(f"`needs` hides {example.before!r} from the rule")
    changed = [example.after not in (None, example.before) for example in rule.examples]
    if not any(changed):
        faults.append("has no example that it changes")
    if all(changed):
        faults.append("has no example that it leaves alone")
    return faults
