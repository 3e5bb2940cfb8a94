"""Which column a fact gets, when only the last record tells what kinds of values it has."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

from captionkit.record import Fact

ColumnKind: TypeAlias = Literal["bool", "int", "decimal", "text", "mixed"]
"""What a column holds; "mixed" is none of its own: those facts stand in the JSON of the column `info`."""

MOST_COLUMNS = 500
"""So many facts have a column of their own; of further ones, the rarest stand in the column `info`."""
_EXACT = 1 << 53
"""Up to here every whole number is a floating-point number too."""
_INT64 = 1 << 63


@dataclass(frozen=True, slots=True)
class FactUse:
    """What is known of all values of one fact. Uses are merged in any order with one result."""

    count: int
    """How many records have it."""
    kinds: frozenset[str]
    """Of "bool", "int", "decimal", "text", and "mixed" for what no column can hold."""
    exact: bool = True
    """Whether every whole number among them is a floating-point number too."""
    whole: bool = False
    """Whether a decimal number among them has no fraction, as 5.0."""

    @classmethod
    def of(cls, values: Iterable[Fact]) -> FactUse:
        """The use of these values."""
        values = list(values)
        kinds = set(map(_kind, set(map(type, values))))
        ints = [value for value in values if isinstance(value, int) and not isinstance(value, bool)]
        if ints and (max(ints) >= _INT64 or min(ints) < -_INT64):
            kinds.add("mixed")
        return cls(
            len(values),
            frozenset(kinds),
            not ints or (max(ints) <= _EXACT and min(ints) >= -_EXACT),
            any(value.is_integer() for value in values if isinstance(value, float)),
        )

    def merged(self, other: FactUse) -> FactUse:
        """The use of both."""
        return FactUse(
            self.count + other.count,
            self.kinds | other.kinds,
            self.exact and other.exact,
            self.whole or other.whole,
        )

    @property
    def column(self) -> ColumnKind:
        """The column that holds all of them so that they come back the same."""
        if self.numbers_mixed:
            return "decimal"
        (kind, *others) = self.kinds
        return "mixed" if others else kind  # type: ignore[return-value]

    @property
    def numbers_mixed(self) -> bool:
        """Whether whole and decimal numbers share a column of decimals and can still be told apart."""
        return self.kinds == {"int", "decimal"} and self.exact and not self.whole


def _kind(of: type) -> str:
    order = ((bool, "bool"), (int, "int"), (float, "decimal"), (str, "text"))
    return next(name for kind, name in order if issubclass(of, kind))


def merged(one: Mapping[str, FactUse], other: Mapping[str, FactUse]) -> dict[str, FactUse]:
    """The uses of all facts of both, those of the first at the front."""
    uses = dict(one)
    for name, use in other.items():
        uses[name] = uses[name].merged(use) if name in uses else use
    return uses


def columns(uses: Mapping[str, FactUse]) -> dict[str, ColumnKind]:
    """The column of each fact, in their order; a name with a NUL, at which some readers end it, has none."""
    kinds: dict[str, ColumnKind] = {
        name: "mixed" if "\0" in name else use.column for name, use in uses.items()
    }
    typed = [name for name, kind in kinds.items() if kind != "mixed"]
    rare = sorted(typed, key=lambda name: -uses[name].count)[MOST_COLUMNS:]
    return kinds | dict.fromkeys(rare, "mixed")


def to_json(uses: Mapping[str, FactUse]) -> str:
    """As text, for the way from one process to another."""
    return json.dumps({name: asdict(use) | {"kinds": sorted(use.kinds)} for name, use in uses.items()})


def from_json(text: str) -> dict[str, FactUse]:
    """What `to_json` made."""
    loaded = json.loads(text)
    return {name: FactUse(**(use | {"kinds": frozenset(use["kinds"])})) for name, use in loaded.items()}
