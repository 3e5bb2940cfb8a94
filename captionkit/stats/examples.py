"""A count with a few examples, the same ones whatever the order of counting."""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field

NUM_EXAMPLES = 5


@dataclass
class Examples:
    """How many there are, and the first few by name."""

    count: int = 0
    names: list[str] = field(default_factory=list)

    def add(self, name: str, count: int = 1) -> None:
        """Take note of one."""
        self.count += count
        names = self.names
        if (len(names) < NUM_EXAMPLES or name < names[-1]) and name not in names:
            insort(names, name)
            del names[NUM_EXAMPLES:]

    def merge(self, other: Examples) -> None:
        """Take over what was counted elsewhere."""
        for name in other.names:
            self.add(name, 0)
        self.count += other.count
