"""What `captionkit lint` finds: each with its weight, how much of the data it is about, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    """Something is trained that nobody wants, or nothing is."""
    WARNING = "warning"
    """Most likely a mistake, or worth a step of the recipe."""
    NOTE = "note"
    """Good to know; often as it is meant to be."""


_RANK = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found."""

    severity: Severity
    code: str
    """Which rule found it, such as `unmatched`."""
    message: str
    """What is wrong, in a sentence."""
    count: int
    """How many records, captions, tags or lines of the recipe it is about."""
    of: int
    """Of how many."""
    unit: str
    """What is counted: "records", "captions", "tags", "patterns"."""
    examples: tuple[str, ...]
    """Ids of records, tags, or what else the message speaks of."""
    do: str
    """What mends it, in words."""
    toml: str = ""
    """Lines for the recipe that mend it, valid TOML to paste; empty where there are none."""

    @property
    def share(self) -> float:
        """Between 0 and 1; 0 of nothing."""
        return self.count / self.of if self.of else 0.0


WRONG_DATA = "wrong-data"
"""The recipe is for other data: before all others, which may follow from it."""


def by_weight(finding: Finding) -> tuple[bool, int, float, str]:
    """For sorting: the worst first, then what the largest share is about."""
    return finding.code != WRONG_DATA, _RANK[finding.severity], -finding.share, finding.code
