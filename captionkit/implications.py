"""The implication graph: a red fox is a fox is a canine, so `red fox` implies `fox` and `canine`."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, InstanceOf, PlainSerializer, ValidationInfo, WithJsonSchema

from captionkit.errors import ImplicationsError
from captionkit.kinds import resolve_path
from captionkit.record import Tag, fold

COLUMNS = ("antecedent_name", "consequent_name", "status")
"""What a CSV must have; the export of e621 has `id` and `created_at` besides."""


class ImplicationGraph:
    """Which tags imply which, directly and by way of others. Frozen; compares by its edges.

    Spelling does not count: names are folded (`captionkit.record.fold`), so `big_circle` is `big circle`.

    >>> graph = ImplicationGraph({"big circle": ["circle"], "circle": ["shape"]})
    >>> sorted(graph.implied_by("Big_Circle"))
    ['circle', 'shape']

    Raises `ImplicationsError` for a tag that implies itself and for a cycle, naming it.
    """

    __slots__ = ("_closure", "_edges", "origin")

    def __init__(self, edges: Mapping[str, Iterable[str]], *, origin: Path | None = None) -> None:
        direct: dict[str, frozenset[str]] = {}
        for name, implied in edges.items():
            if isinstance(implied, str) or not isinstance(implied, Iterable):
                hint = f"[{implied!r}]" if isinstance(implied, str) else None
                raise ImplicationsError(f"{name!r} must have a list of tags, got {implied!r}", hint=hint)
            key = _tag_name(name)
            direct[key] = direct.get(key, frozenset()) | {_tag_name(other) for other in implied}
        self.origin = origin
        """The file the graph was read from; None for one that was given as a mapping."""
        self._edges = direct
        self._closure = _closure(direct, where=None if origin is None else str(origin))

    def implied_by(self, name: str) -> frozenset[str]:
        """All tags (folded) that this one implies, directly or not; never itself."""
        return self._closure.get(fold(name), frozenset())

    def implied_among(self, tags: Iterable[Tag]) -> frozenset[str]:
        """The folded names that at least one of the tags implies."""
        closure = self._closure
        found = [closure[key] for tag in tags if (key := fold(tag.name)) in closure]
        return frozenset().union(*found)

    def edges(self) -> dict[str, list[str]]:
        """The direct implications, sorted: what the graph was made from."""
        return {name: sorted(self._edges[name]) for name in sorted(self._edges)}

    @property
    def num_edges(self) -> int:
        """Direct implications, each counted once."""
        return sum(map(len, self._edges.values()))

    @property
    def num_pairs(self) -> int:
        """Pairs of a tag and a tag it implies, directly or not."""
        return sum(map(len, self._closure.values()))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ImplicationGraph):
            return NotImplemented
        return self is other or self._edges == other._edges

    def __hash__(self) -> int:
        return hash((len(self._edges), self.num_edges))

    def __repr__(self) -> str:
        return f"<ImplicationGraph of {self.num_edges} edges{f' from {self.origin}' if self.origin else ''}>"


def _tag_name(value: object) -> str:
    """The folded name. `ImplicationsError` for anything but text with a letter in it."""
    if not isinstance(value, str) or not (name := fold(value)):
        raise ImplicationsError(f"a tag's name must be text and not empty, got {value!r}")
    return name


def read_implications(path: str | Path) -> ImplicationGraph:
    """The graph of a CSV (or `.csv.gz`) with e621's columns, of the rows whose status is `active`.

    Rows that are deleted or pending are left out: with the deleted ones, e621's export has eleven cycles. A
    file that has not changed is read once per process. Raises `ImplicationsError` naming the file for a
    missing file or column, an empty name, or a cycle.
    """
    found = Path(path).absolute()
    try:
        status = found.stat()
    except OSError as error:
        raise ImplicationsError(
            f"cannot read the implications: {error.strerror}", where=str(found)
        ) from error
    return _read(found, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4)
def _read(path: Path, mtime_ns: int, size: int) -> ImplicationGraph:
    direct: dict[str, list[str]] = {}
    for antecedent, consequent in read_pairs(path):
        direct.setdefault(antecedent, []).append(consequent)
    return ImplicationGraph(direct, origin=path)


def read_pairs(path: Path) -> Iterator[tuple[str, str]]:
    """The active (antecedent, consequent) pairs of a CSV in e621's form, used for implications and for
    aliases."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as lines:
            rows = csv.DictReader(lines)
            columns = rows.fieldnames or []
            if missing := [column for column in COLUMNS if column not in columns]:
                has = ", ".join(columns) or "nothing"
                raise ImplicationsError(
                    f"column {', '.join(missing)} is missing; the file has: {has}",
                    where=str(path),
                    hint=f"the first line must name at least {','.join(COLUMNS)}",
                )
            for row in rows:
                where = f"{path}:{rows.line_num}"
                if None in row or None in row.values():
                    raise ImplicationsError(
                        f"the row has {_num_fields(row)} fields, the first line {len(columns)}",
                        where=where,
                        hint="names that hold a comma stand in double quotes; a quote that opens must close",
                    )
                if (row["status"] or "").strip().lower() == "active":
                    yield _pair(row, where)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        raise ImplicationsError(f"cannot be read as CSV: {error}", where=str(path)) from error


def _num_fields(row: Mapping[Any, Any]) -> int:
    """How many fields a row has: `csv` fills up with None, and puts what is too much under None."""
    return sum(value is not None for key, value in row.items() if key is not None) + len(row.get(None, ()))


def _pair(row: Mapping[str, str | None], where: str) -> tuple[str, str]:
    antecedent, consequent = row["antecedent_name"], row["consequent_name"]
    if not (antecedent and antecedent.strip() and consequent and consequent.strip()):
        raise ImplicationsError(f"a name is empty: {antecedent!r} implies {consequent!r}", where=where)
    return antecedent, consequent


def _closure(direct: Mapping[str, frozenset[str]], where: str | None) -> dict[str, frozenset[str]]:
    """Everything each tag implies; found from the most general tags upwards."""
    for name, implied in direct.items():
        if name in implied:
            raise ImplicationsError(f"{name!r} implies itself", where=where, hint="remove this row")
    closure: dict[str, frozenset[str]] = {}
    try:
        # Predecessors come first in this order: what a tag implies is known before the tag.
        for name in TopologicalSorter(direct).static_order():
            if name in direct:
                reached = (closure.get(other, frozenset()) for other in direct[name])
                closure[name] = direct[name].union(*reached)
    except CycleError as error:
        # The sorter lists a cycle against its edges, the first tag again at the end.
        cycle = " -> ".join(repr(name) for name in reversed(error.args[1]))
        raise ImplicationsError(
            f"implications run in a cycle: {cycle}", where=where, hint="remove one"
        ) from error
    return closure


def _read_graph(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, str | Path):
        return read_implications(resolve_path(value, info))
    if isinstance(value, Mapping):
        return ImplicationGraph(value)
    return value


def _write_graph(graph: ImplicationGraph) -> Any:
    return graph.edges() if graph.origin is None else str(graph.origin)


Implications = Annotated[
    InstanceOf[ImplicationGraph],
    BeforeValidator(_read_graph),
    PlainSerializer(_write_graph),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "description": "path of a CSV or .csv.gz with e621's columns"},
                {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}},
            ]
        }
    ),
]
"""The type of a field that holds a graph: the path of a CSV, or a table of tags and what they imply."""
