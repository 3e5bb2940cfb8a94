"""The second pass: what is known only when all pictures are, and the rows as they are written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from captionkit.readers.arrow_columns import NO_FACT
from trainkit.prepare.collect import BlockRows, Collected
from trainkit.prepare.fingerprint import Fingerprint
from trainkit.prepare.look import FORMATS, mislabelled
from trainkit.prepare.measured import ANIMATED, HASHED
from trainkit.prepare.near import NONE, first_of_near, first_of_same
from trainkit.prepare.parts import PartWriter
from trainkit.prepare.problems import Fault, Problem, Remark
from trainkit.prepare.settings import PrepareConfig

STEPS = 4
"""Bars of a histogram in each doubling."""
_EXAMPLES = 6
"""So many pictures of each problem are shown."""


@dataclass(frozen=True, slots=True)
class Twins:
    """[N] each: the row before that has the same id, bytes, or look; NONE for none."""

    same_id: NDArray[np.int64]
    same_bytes: NDArray[np.int64]
    near: NDArray[np.int64]

    @classmethod
    def of(cls, found: Collected, config: PrepareConfig) -> Twins:
        """Compare all rows. Those whose id was there before are out of it."""
        same_id = first_of_same(np.frombuffer(found.keys, "<u8"))
        kept = np.flatnonzero(same_id == NONE)
        same = first_of_same(np.frombuffer(found.digests, "S16")[kept])
        near = np.full(len(kept), NONE, np.int64)
        if config.near:
            near = first_of_near(np.frombuffer(found.hashes, "<u8")[kept], config.near_distance)
            near[same != NONE] = NONE
        return cls(same_id, _spread(same, kept, len(same_id)), _spread(near, kept, len(same_id)))


def _spread(found: NDArray[np.int64], kept: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """From places among those kept to places among all."""
    everywhere = np.full(count, NONE, np.int64)
    twins = found != NONE
    everywhere[kept[twins]] = kept[found[twins]]
    return everywhere


@dataclass(slots=True)
class Sums:
    """What is counted while rows pass."""

    rows: int = 0
    bytes: int = 0
    """Of all pictures that are rows."""
    problems: Counter[str] = field(default_factory=Counter)
    left_out: int = 0
    examples: dict[str, list[Problem]] = field(default_factory=dict)
    sides: Counter[int] = field(default_factory=Counter)
    """Pictures by log2 of the shorter side in pixels, in quarters, rounded down."""
    aspects: Counter[int] = field(default_factory=Counter)
    """Pictures by log2 of width over height, in quarters, rounded to the nearest."""

    def problem(self, problem: Problem) -> None:
        """Count one."""
        self.problems[problem.problem.value] += 1
        self.left_out += problem.left_out
        shown = self.examples.setdefault(problem.problem.value, [])
        if len(shown) < _EXAMPLES:
            shown.append(problem)

    def measure(self, measured: NDArray[np.void]) -> None:
        """Count sizes."""
        w, h = measured["width"].astype(np.float64), measured["height"].astype(np.float64)
        self.rows += len(measured)
        self.bytes += int(measured["length"].sum())
        self.sides.update(np.floor(np.log2(np.minimum(w, h)) * STEPS).astype(int).tolist())
        self.aspects.update(np.round(np.log2(w / h) * STEPS).astype(int).tolist())


class Assembly:
    """Turns what was collected into the manifest's rows; ``tell`` hears every problem in order."""

    def __init__(
        self,
        found: Collected,
        config: PrepareConfig,
        writer: PartWriter,
        sums: Sums,
        tell: Callable[[Problem], None],
    ) -> None:
        self._found, self._config, self._writer = found, config, writer
        self._sums, self._tell = sums, tell
        self._twins = Twins.of(found, config)
        # Of rows that others are like, the names are remembered when they pass.
        alike = (self._twins.same_id, self._twins.same_bytes, self._twins.near)
        self._firsts = np.unique(np.concatenate([a[a != NONE] for a in alike]))
        self._names: dict[int, tuple[str, str]] = {}
        self._fingerprint = Fingerprint()

    @property
    def fingerprint(self) -> str:
        """Of all rows in order: ids, records, bytes and sizes of pictures."""
        return self._fingerprint.hexdigest()

    def run(self, done: Callable[[int], None]) -> None:
        """Write every row that is kept."""
        first = 0
        for block, batch in self._found.blocks():
            for problem in block.problems:
                self._say(problem)
            if batch is not None:
                self._rows(block, batch, first)
                done(batch.num_rows)
                first += batch.num_rows
        self._writer.finish()

    def _say(self, problem: Problem) -> None:
        self._sums.problem(problem)
        self._tell(problem)

    def _rows(self, block: BlockRows, batch: Any, first: int) -> None:
        images, ids = batch.column("image").to_pylist(), batch.column("id").to_pylist()
        self._remember(images, ids, first)
        remarks = self._remarks(block.measured, images, first)
        kept, flags = [], []
        for row, (image, found) in enumerate(zip(images, remarks, strict=True)):
            out = next((p for p, _ in found if p.left_out or p.problem in self._config.leave_out), None)
            for problem, _ in found:
                self._say(_with(problem, image, problem is out))
            if out is None:
                kept.append(row)
                flags.append([flag for _, flag in found])
        if not kept:
            return
        places = np.array(kept)
        measured, rows = block.measured[places], block.rows[places]
        if self._config.stored_at is not None:
            measured["mtime_ns"] = 0  # A store has times of its own.
        self._fingerprint.update(rows["content"], measured["digest"], measured["width"], measured["height"])
        self._sums.measure(measured)
        self._writer.append(_batch(batch.take(pa.array(places)), measured, rows, block.containers, flags))

    def _remember(self, images: list[str], ids: list[str], first: int) -> None:
        begin, end = np.searchsorted(self._firsts, (first, first + len(images)))
        for row in self._firsts[begin:end].tolist():
            self._names[row] = (ids[row - first], images[row - first])

    def _remarks(
        self, measured: NDArray[np.void], images: list[str], first: int
    ) -> list[list[tuple[Problem, str]]]:
        """For every row its problems, each with the flag that stands in the manifest."""
        found: list[list[tuple[Problem, str]]] = [[] for _ in images]

        def remark(row: int, kind: Fault | Remark, detail: str, flag: str = "", like: str = "") -> None:
            problem = Problem("", kind, detail, isinstance(kind, Fault), like)
            found[row].append((problem, flag or kind.value))

        here = slice(first, first + len(images))
        for row, twin in _some(self._twins.same_id[here]):
            name, image = self._names[twin]
            remark(row, Fault.TWICE, f"the id {name!r} is {image}'s", like=image)
        for row, twin in _some(self._twins.same_bytes[here]):
            name, image = self._names[twin]
            remark(row, Remark.DUPLICATE, f"has the bytes of {image}", f"duplicate of {name}", image)
        for row, twin in _some(self._twins.near[here]):
            name, image = self._names[twin]
            remark(row, Remark.NEAR, f"looks like {image}", f"near duplicate of {name}", image)
        w, h = measured["width"], measured["height"]
        for row in np.flatnonzero(np.minimum(w, h) < self._config.min_side).tolist():
            remark(row, Remark.SMALL, f"{w[row]} x {h[row]} pixels")
        for row in np.flatnonzero(np.maximum(w, h) > self._config.max_aspect * np.minimum(w, h)).tolist():
            remark(row, Remark.ASPECT, f"{w[row]} x {h[row]} pixels")
        for row in np.flatnonzero(measured["marks"] & ANIMATED).tolist():
            remark(row, Remark.ANIMATED, "has several frames; the first is trained")
        for row, (image, format) in enumerate(zip(images, measured["format"].tolist(), strict=True)):
            if mislabelled(image, FORMATS[format]):
                remark(row, Remark.MISLABELLED, f"holds {FORMATS[format]}")
        return found


def _some(twins: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    for row in np.flatnonzero(twins != NONE).tolist():
        yield row, int(twins[row])


def _with(problem: Problem, name: str, left_out: bool) -> Problem:
    return replace(problem, name=name, left_out=left_out)


def _batch(
    records: Any,
    measured: NDArray[np.void],
    rows: NDArray[np.void],
    containers: list[str],
    flags: list[list[str]],
) -> Any:
    """The rows with all their columns; texts are plain yet."""
    places = rows["container"]
    hashed = (measured["marks"] & HASHED) != 0
    columns = {
        "container": pa.array([containers[at] if at >= 0 else None for at in places.tolist()], pa.string()),
        "digest": pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(16), len(measured), [None, pa.py_buffer(measured["digest"].tobytes())]
        ),
        "key": pa.array(np.ascontiguousarray(rows["key"])),
        "phash": pa.array(np.ascontiguousarray(measured["phash"]), mask=~hashed),
        "flags": pa.array(flags, pa.list_(pa.string())),
    }
    for name in ("offset", "length", "mtime_ns", "width", "height"):
        columns[name] = pa.array(np.ascontiguousarray(measured[name]))
    fields = [
        *records.schema,
        *(pa.field(name, column.type, metadata=dict([NO_FACT])) for name, column in columns.items()),
    ]
    return pa.RecordBatch.from_arrays([*records.columns, *columns.values()], schema=pa.schema(fields))
