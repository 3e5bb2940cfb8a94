"""Levels for `tag_from_number`, computed from the numbers of a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from captionkit.errors import CaptionkitError
from captionkit.policies.fact_tags import Level, written
from captionkit.policies.tag_from_number import TagFromNumber
from captionkit.record import Record, fold

Shares = Mapping[str, float]
"""For each tag, which share of the pictures must lie below."""

HAKUBOORU: Shares = {
    "masterpiece": 0.95,
    "best quality": 0.85,
    "great quality": 0.75,
    "good quality": 0.5,
    "normal quality": 0.25,
    "low quality": 0.1,
    "worst quality": 0.0,
}
"""The tags of HakuBooru (KohakuBlueleaf/HakuBooru, hakubooru/tag_generator.py), by favourites per rating."""


@dataclass
class Numbers:
    """How often each number occurs under a fact, for each value of a second one; filled record by record.

    It is as large as the numbers are different, not as the data set.
    """

    fact: str
    by: str | None = None
    counts: dict[str, Counter[int | float]] = field(default_factory=dict)
    """By the value of the second fact; by "" where there is no second fact."""
    num_records: int = 0
    num_without: int = 0
    """Records without that number, or without the second fact."""

    def count(self, records: Iterable[Record]) -> None:
        """Take in the records."""
        for record in records:
            self.num_records += 1
            number = record.fact(self.fact)
            value = "" if self.by is None else record.fact(self.by)
            if value is None or isinstance(number, bool) or not isinstance(number, int | float):
                self.num_without += 1
            else:
                self.counts.setdefault(written(value), Counter())[number] += 1


def threshold(counts: Mapping[int | float, int], share: float) -> int | float | None:
    """The smallest number that occurs with at least this share of all numbers below it, None if none has.

    A tag with this threshold so goes to 1 - share of the pictures at the most. Numbers that are equal are
    never told apart: where many have one number, it may be far fewer.

    >>> threshold({0: 50, 1: 30, 7: 20}, 0.5), threshold({0: 50, 1: 30, 7: 20}, 0.9)
    (1, None)
    """
    needed = Fraction(str(share)) * sum(counts.values())  # 0.1 is a tenth, which no float is.
    below = 0
    for number in sorted(counts):
        if below >= needed:
            return number
        below += counts[number]
    return None


def levels(counts: Mapping[int | float, int], shares: Shares) -> tuple[tuple[Level, ...], tuple[str, ...]]:
    """The levels for these numbers, the highest first, and the tags that no picture would have.

    A tag goes without a level where no number has so large a share below it, or where a higher tag begins
    with the same number. A share of 0 is the level of all that is below the others.
    """
    found: list[Level] = []
    without: list[str] = []
    for tag, share in sorted(shares.items(), key=lambda item: -item[1]):
        number = threshold(counts, share)
        taken = bool(found) and number == found[-1].at_least
        if number is None or taken:
            without.append(tag)
        else:
            found.append(Level(at_least=None if share == 0.0 else number, tag=tag))
    return tuple(found), tuple(without)


def number_step(numbers: Numbers, shares: Shares, category: str | None = None) -> TagFromNumber:
    """The step that gives each share of the pictures its tag. `CaptionkitError` when there is no number."""
    if not numbers.counts:
        raise CaptionkitError(
            f"none of the {numbers.num_records} records has a number under {numbers.fact!r}"
            + ("" if numbers.by is None else f" and anything under {numbers.by!r}"),
            hint="these are keys of the JSON sidecars or of the lines of a .jsonl file",
        )
    by_value = {value: levels(numbers.counts[value], shares)[0] for value in sorted(numbers.counts)}
    if numbers.by is None:
        return TagFromNumber(fact=numbers.fact, levels=by_value[""], category=category)
    return TagFromNumber(fact=numbers.fact, by=numbers.by, groups=by_value, category=category)


def parse_shares(text: str) -> Shares:
    """Shares as they are written: `masterpiece=0.95, best quality=0.85`.

    Raises `CaptionkitError` for anything else, for a share outside 0 to 1, and for a tag or a share that is
    there twice.
    """
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = part.rpartition("=")
        try:
            share = float(number)
        except ValueError:
            share = -1.0
        if not fold(name) or not 0.0 <= share < 1.0:
            raise CaptionkitError(
                f"a share is written tag=0.95, from 0 to below 1, got {part.strip()!r}",
                hint='separate them by commas: "masterpiece=0.95, best quality=0.85"',
            )
        if name.strip() in shares or share in shares.values():
            raise CaptionkitError(f"{part.strip()!r}: this tag or this share is there twice")
        shares[name.strip()] = share
    return shares
