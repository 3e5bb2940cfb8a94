"""Count which tags always come with a character, in a data set of any size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Set

from captionkit.correlations import Companion, CountedCorrelations, Counting
from captionkit.errors import CaptionkitError, DataError
from captionkit.implications import ImplicationGraph
from captionkit.patterns import checked_patterns, compile_patterns
from captionkit.record import Record, Tag, fold

PRUNE_EVERY = 16
"""So many records of a trigger pass between two looks at which tags can no longer reach the threshold."""


def count_correlations(
    records: Iterable[Record],
    *,
    categories: tuple[str, ...] = ("character",),
    patterns: tuple[str, ...] = (),
    threshold: float = 0.9,
    support: int = 20,
    implications: ImplicationGraph | None = None,
) -> CountedCorrelations:
    """The tags that are in at least `threshold` of the records of a trigger which is in at least `support`.

    Triggers are the tags of these categories and those that match these patterns. With `implications`, what
    a trigger implies anyway (a character its series) is not listed: `drop_implied` sees to that.

    The counts are exact. The records are read twice: once to count the triggers, once to count the tags
    beside them. So it is known at every point how many records of a trigger are still to come, and a tag that
    can no longer reach the threshold is forgotten: in memory are one number per trigger, and for each trigger
    of n records the tags of at most (1 - threshold) n + 1 of them.

    Raises `DataError` for records that can be read only once or that changed between the two readings, and
    `CaptionkitError` for numbers out of range or no trigger.
    """
    _check(records, categories, patterns, threshold, support)
    is_trigger = _triggers(categories, patterns)
    totals, num_records = _totals(records, is_trigger)
    tallies = {name: _Tally(total, threshold) for name, total in totals.items() if total >= support}
    for record in records:
        names = {fold(tag.name) for tag in record.tags}
        for trigger in {fold(tag.name) for tag in record.tags if is_trigger(tag)} & tallies.keys():
            tallies[trigger].add(names)
    companions = [
        Companion(trigger, tag, count, tally.total)
        for trigger, tally in sorted(tallies.items())
        for tag, count in tally.found()
        if tag != trigger and (implications is None or tag not in implications.implied_by(trigger))
    ]
    counting = Counting(
        threshold=threshold,
        support=support,
        categories=categories,
        patterns=patterns,
        num_records=num_records,
    )
    return CountedCorrelations(counting, tuple(companions))


def _check(
    records: Iterable[Record],
    categories: tuple[str, ...],
    patterns: tuple[str, ...],
    threshold: float,
    support: int,
) -> None:
    if isinstance(records, Iterator):
        raise DataError(
            "the records can be read only once, and are needed twice",
            hint="give a list, or an object whose __iter__ reads them anew",
        )
    if not categories and not patterns:
        raise CaptionkitError("no triggers: give `categories`, `patterns` or both")
    if not 0.0 < threshold <= 1.0:
        raise CaptionkitError(f"threshold is {threshold}, must be above 0 and at most 1")
    if support < 1:
        raise CaptionkitError(f"support is {support}, must be 1 or more")


def _triggers(categories: tuple[str, ...], patterns: tuple[str, ...]) -> Callable[[Tag], bool]:
    matches = compile_patterns(checked_patterns(patterns)).match if patterns else None
    return lambda tag: tag.category in categories or (matches is not None and matches(tag.name))


def _totals(records: Iterable[Record], is_trigger: Callable[[Tag], bool]) -> tuple[Counter[str], int]:
    """How many records each trigger is in, and how many records there are."""
    totals: Counter[str] = Counter()
    num_records = 0
    for record in records:
        num_records += 1
        totals.update({fold(tag.name) for tag in record.tags if is_trigger(tag)})
    return totals, num_records


class _Tally:
    """The tags beside one trigger, as long as they can still reach the threshold."""

    __slots__ = ("_counts", "_seen", "_threshold", "total")

    def __init__(self, total: int, threshold: float) -> None:
        self.total = total
        self._threshold = threshold
        self._seen = 0
        self._counts: dict[str, int] = {}

    def add(self, names: Set[str]) -> None:
        """Count one record of the trigger."""
        counts = self._counts
        # A tag that was forgotten, or comes up only now, can reach no more than what is still to come.
        new_ones_count = (self.total - self._seen) / self.total >= self._threshold
        for name in names if new_ones_count else names & counts.keys():
            counts[name] = counts.get(name, 0) + 1
        self._seen += 1
        if self._seen % PRUNE_EVERY == 0:
            self._prune()

    def found(self) -> list[tuple[str, int]]:
        """The tags that reached the threshold, the most frequent first."""
        if self._seen != self.total:
            raise DataError(
                f"the records changed while they were read: a trigger was in {self.total}, then in "
                f"{self._seen}",
                hint="let nothing write to the data set, and start again",
            )
        self._prune()
        return sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))

    def _prune(self) -> None:
        to_come, total, threshold = self.total - self._seen, self.total, self._threshold
        self._counts = {
            name: count for name, count in self._counts.items() if (count + to_come) / total >= threshold
        }
