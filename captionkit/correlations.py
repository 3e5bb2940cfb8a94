"""Which tags come with which trigger, such as a character's looks with the character; kept as a CSV."""

from __future__ import annotations

import csv
import io
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    Field,
    InstanceOf,
    PlainSerializer,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
)

from captionkit.errors import DataError
from captionkit.kinds import resolve_path
from captionkit.policy import Config, Probability
from captionkit.record import fold

COLUMNS = ("trigger", "tag", "num_both", "num_trigger")


class Correlations:
    """Which tags come with which trigger. Frozen; compares by the names.

    Spelling does not count: names are folded (`captionkit.record.fold`).

    >>> sorted(Correlations({"red_riding_hood": ["red_hood", "basket"]}).tags_with("Red Riding Hood"))
    ['basket', 'red hood']

    Raises `DataError` for a name that is empty or no text, and for a trigger that comes with itself.
    """

    __slots__ = ("_tags", "origin")

    def __init__(self, tags: Mapping[str, Iterable[str]], *, origin: Path | None = None) -> None:
        found: dict[str, set[str]] = {}
        for trigger, others in tags.items():
            if isinstance(others, str) or not isinstance(others, Iterable):
                raise DataError(f"{trigger!r} must have a list of tags, got {others!r}")
            key, names = _name(trigger), {_name(other) for other in others}
            if key in names:
                raise DataError(f"{trigger!r} comes with itself", hint="remove it from its own list")
            found.setdefault(key, set()).update(names)
        self._tags = {trigger: frozenset(names) for trigger, names in found.items()}
        self.origin = origin
        """The file it was read from; None for one given as a mapping."""

    def tags_with(self, trigger: str) -> frozenset[str]:
        """The tags (folded) that come with a trigger; none for a tag that is no trigger."""
        return self._tags.get(fold(trigger), frozenset())

    def triggers_among(self, names: Set[str]) -> set[str]:
        """Those of the folded names that are triggers."""
        return self._tags.keys() & names

    def table(self) -> dict[str, list[str]]:
        """Every trigger and its tags, sorted."""
        return {trigger: sorted(self._tags[trigger]) for trigger in sorted(self._tags)}

    def __eq__(self, other: object) -> bool:
        return self._tags == other._tags if isinstance(other, Correlations) else NotImplemented

    def __hash__(self) -> int:
        return hash(frozenset(self._tags))

    def __repr__(self) -> str:
        place = f" from {self.origin}" if self.origin else ""
        return f"<Correlations of {len(self._tags)} triggers{place}>"


class Counting(Config):
    """How correlations were counted: the lines above the table in their file."""

    threshold: Probability
    """The share of a trigger's records that a tag is in at least."""
    support: Annotated[int, Field(strict=True, ge=1)]
    """How many records a trigger is in at least."""
    categories: tuple[str, ...] = ()
    """Tags of these categories are triggers."""
    patterns: tuple[str, ...] = ()
    """Tags that match one of these are triggers."""
    num_records: Annotated[int, Field(strict=True, ge=0)]
    """Records of the data set."""


@dataclass(frozen=True, slots=True)
class Companion:
    """A tag that comes with a trigger: P(tag | trigger) is num_both / num_trigger."""

    trigger: str
    tag: str
    num_both: int
    num_trigger: int


@dataclass(frozen=True, slots=True)
class CountedCorrelations:
    """Correlations with their counts, and how they were counted."""

    counting: Counting
    companions: tuple[Companion, ...]
    """By trigger, the most frequent tag first."""

    def correlations(self, origin: Path | None = None) -> Correlations:
        """The names alone."""
        tags: dict[str, list[str]] = {}
        for companion in self.companions:
            tags.setdefault(companion.trigger, []).append(companion.tag)
        return Correlations(tags, origin=origin)

    def write(self, path: Path) -> None:
        """Write them as a CSV, below lines with `#` that say how they were counted.

        Raises `DataError` when the file cannot be written.
        """
        said = self.counting.model_dump(mode="json")
        lines = "".join(f"# {key} = {_toml(value)}\n" for key, value in said.items())
        rows = [(each.trigger, each.tag, each.num_both, each.num_trigger) for each in self.companions]
        try:
            with path.open("w", encoding="utf-8", newline="") as file:
                file.write(lines)
                csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
        except (OSError, UnicodeEncodeError) as error:
            raise DataError(f"cannot be written: {_why(error)}", where=str(path)) from error


def read_correlations(path: Path) -> CountedCorrelations:
    """What `CountedCorrelations.write` wrote, perhaps with rows taken out by hand.

    Raises `DataError` with file and line for what is not of that form.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the correlations: {_why(error)}", where=str(path)) from error
    lines = text.split("\n")
    num_said = next((index for index, line in enumerate(lines) if not line.startswith("#")), len(lines))
    try:
        said = tomllib.loads("\n".join(line[1:] for line in lines[:num_said]))
        counting = Counting.model_validate(said)
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise DataError(
            "the lines above the table do not say how it was counted",
            where=str(path),
            hint="the file of `captionkit correlations build` begins with `# threshold = ...`",
        ) from error
    return CountedCorrelations(counting, tuple(_rows(lines[num_said:], num_said, path)))


def _rows(lines: list[str], num_before: int, path: Path) -> Iterator[Companion]:
    rows = csv.reader(io.StringIO("\n".join(lines), newline=""))
    header = next(rows, [])
    if tuple(header) != COLUMNS:
        has = ",".join(header) or "nothing"
        raise DataError(f"the columns must be {','.join(COLUMNS)}; the file has: {has}", where=str(path))
    for row in _checked(rows, num_before, path):
        where = f"{path}:{num_before + rows.line_num}"
        try:
            trigger, tag, num_both, num_trigger = row
            companion = Companion(_name(trigger), _name(tag), int(num_both), int(num_trigger))
        except ValueError:
            raise DataError(f"a row is two names and two counts, got {row!r}", where=where) from None
        if companion.trigger == companion.tag:
            raise DataError(f"{trigger!r} comes with itself", where=where, hint="remove this row")
        if not 1 <= companion.num_both <= companion.num_trigger:
            raise DataError(f"{num_both} of {num_trigger} records cannot be", where=where)
        yield companion


def _checked(rows: Any, num_before: int, path: Path) -> Iterator[list[str]]:
    """The rows that are not empty; `csv`'s complaints with their place."""
    try:
        yield from filter(None, rows)
    except csv.Error as error:
        where = f"{path}:{num_before + rows.line_num}"
        raise DataError(f"cannot be read as CSV: {error}", where=where) from error


def _name(value: object) -> str:
    if not isinstance(value, str) or not (name := fold(value)):
        raise DataError(f"a tag's name must be text and not empty, got {value!r}")
    return name


def _toml(value: Any) -> str:
    """A number or a list of texts as TOML. JSON's strings are TOML's, but for the delete character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _why(error: Exception) -> object:
    return (error.strerror if isinstance(error, OSError) else None) or error


def _from_recipe(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, str | Path):
        path = resolve_path(value, info)
        return read_correlations(path).correlations(origin=path)
    if isinstance(value, Mapping):
        return Correlations(value)
    if isinstance(value, Correlations):
        return value
    raise ValueError(f"must be the path of a CSV or a table of triggers and their tags, got {value!r}")


def _to_recipe(correlations: Correlations) -> Any:
    return correlations.table() if correlations.origin is None else str(correlations.origin)


CorrelationTable = Annotated[
    InstanceOf[Correlations],
    BeforeValidator(_from_recipe),
    PlainSerializer(_to_recipe),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "description": "path of the CSV of `captionkit correlations build`"},
                {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}},
            ]
        }
    ),
]
"""The type of a field that holds correlations: the path of a CSV, or a table of triggers and their tags."""
