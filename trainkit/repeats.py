"""How often each picture is drawn in a pass: repeats by path, by a fact, balance by tags, all multiplied."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainkit.balance import BalanceConfig, tag_factors
from trainkit.data_config import DataConfig
from trainkit.errors import PictureError, TrainkitError
from trainkit.manifest import Manifest
from trainkit.path_patterns import matching
from trainkit.pictures import DataSet
from trainkit.rows import Rows
from trainkit.tag_columns import TagBatch, tags_of_manifest, tags_of_pictures

MOST = 10_000
"""A picture that is to be drawn more often in a pass is a mistake."""


@dataclass(frozen=True, slots=True)
class Repeats:
    """How often pictures are drawn."""

    weights: NDArray[np.float32] | None
    """[N]: how often each picture is drawn in a pass, on average; None: each once."""
    notes: tuple[str, ...] = ()
    """What a user should know."""


def repeats_of(config: DataConfig, data: DataSet) -> Repeats:
    """How often the pictures that are trained are drawn.

    Without settings nothing is computed. Raises TrainkitError for a fact that is no number from 0 to MOST,
    and when no picture would be drawn.
    """
    if not config.repeats and config.repeats_by is None and config.balance is None:
        return Repeats(None)
    weights = np.ones(len(data.pictures), dtype=np.float64)
    notes: list[str] = []
    if config.repeats:
        factors, idle = _by_path(config, data)
        weights *= factors
        notes += idle
    if config.repeats_by is not None:
        factors, idle = _by_fact(config.repeats_by, data)
        weights *= factors
        notes += idle
    if (left_out := int((weights == 0).sum())) == len(weights):
        raise TrainkitError("data.repeats and data.repeats_by leave out every picture")
    if left_out:
        notes.append(f"{left_out:,} of {len(weights):,} pictures are left out: their repeats are 0")
    if config.balance is not None:
        factors = _by_tags(config.balance, data, weights > 0)
        notes.append(_balanced(factors[weights > 0]))
        before = weights.sum()
        weights *= factors
        weights *= before / weights.sum()
    if weights.max() > MOST:
        at = int(weights.argmax())
        raise TrainkitError(
            f"data.repeats: {data.pictures[at].place.name} would be drawn {weights[at]:g} times in a pass; "
            f"{MOST:,} at most are possible"
        )
    if (weights == 1).all():
        return Repeats(None, tuple(notes))
    return Repeats(weights.astype(np.float32), tuple(notes))


def _balanced(factors: NDArray[np.float64]) -> str:
    lowest, highest = factors.min() / factors.mean(), factors.max() / factors.mean()
    if lowest == highest:
        return "data.balance changes nothing: no picture has a tag of those that is rarer than the others"
    return f"data.balance: a picture is drawn {lowest:.2f} to {highest:.2f} times as often as without it"


def _by_path(config: DataConfig, data: DataSet) -> tuple[NDArray[np.float64], list[str]]:
    """The product of the repeats of all patterns that a picture's path matches, and notes on idle ones."""
    folder = config.path if config.path.is_dir() else config.path.parent
    matched = np.zeros(len(config.repeats), dtype=np.int64)
    factors = np.ones(_num_rows(data), dtype=np.float64)
    first = 0
    for images in _images(data):
        here = factors[first : first + len(images)]
        for number, (pattern, factor) in enumerate(config.repeats.items()):
            found = matching(images, pattern, folder)
            here[found] *= factor
            matched[number] += found.sum()
        first += len(images)
    idle = [
        f"data.repeats: {pattern!r} matches no picture"
        for pattern, count in zip(config.repeats, matched.tolist(), strict=True)
        if not count
    ]
    return _trained(factors, data), idle


def _by_fact(name: str, data: DataSet) -> tuple[NDArray[np.float64], list[str]]:
    """What a fact of each record says; 1 where it says nothing."""
    values = np.full(_num_rows(data), np.nan)
    for first, found in _facts(name, data):
        values[first : first + len(found)] = found
    values = _trained(values, data)
    missing = np.isnan(values)
    if missing.all():
        return np.ones(len(values)), [f"data.repeats_by: no picture has the fact {name!r}"]
    wrong = np.flatnonzero(~missing & ~((values >= 0) & (values <= MOST)))
    if len(wrong):
        at = int(wrong[0])
        given = data.pictures[at].record.fact(name)
        raise TrainkitError(
            f"data.repeats_by: {name} of {data.pictures[at].record.id!r} is {given!r}, must be a number from "
            f"0 to {MOST:,} (and of {len(wrong) - 1:,} more)"
        )
    return np.where(missing, 1.0, values), []


def _by_tags(config: BalanceConfig, data: DataSet, drawn: NDArray[np.bool_]) -> NDArray[np.float64]:
    pictures = data.pictures
    if not isinstance(pictures, Rows):
        return tag_factors(lambda: tags_of_pictures(pictures), drawn, config).astype(np.float64)
    manifest = pictures.manifest
    trained = np.zeros(len(manifest), dtype=np.bool_)
    trained[np.asarray(pictures.rows)] = drawn

    def batches() -> Iterator[TagBatch]:
        return tags_of_manifest(manifest)

    return _trained(tag_factors(batches, trained, config), data).astype(np.float64)


def _num_rows(data: DataSet) -> int:
    return len(data.pictures.manifest) if isinstance(data.pictures, Rows) else len(data.pictures)


def _trained(of_rows: NDArray[Any], data: DataSet) -> NDArray[Any]:
    """What was found of all rows, for the pictures."""
    return of_rows[np.asarray(data.pictures.rows)] if isinstance(data.pictures, Rows) else of_rows


def _images(data: DataSet) -> Iterator[Any]:
    """The pictures' paths, as pyarrow arrays of text, each for a stretch of rows."""
    if isinstance(data.pictures, Rows):
        return data.pictures.manifest.images()
    import pyarrow as pa

    return iter([pa.array([picture.record.image for picture in data.pictures], pa.string())])


def _facts(name: str, data: DataSet) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """What a fact says, by stretches of rows: NaN for nothing, -1 for what is no number."""
    if isinstance(data.pictures, Rows):
        yield from _fact_columns(name, data.pictures.manifest)
    else:
        yield 0, np.array([_number(picture.record.fact(name)) for picture in data.pictures])


def _fact_columns(name: str, manifest: Manifest) -> Iterator[tuple[int, NDArray[np.float64]]]:
    import pyarrow as pa

    for first, batch in manifest.batches():
        if name in batch.schema.names:
            column = batch.column(name)
            if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
                yield first, column.cast(pa.float64()).to_numpy(zero_copy_only=False)
            else:
                yield first, np.array([_number(value) for value in column.to_pylist()], dtype=np.float64)
        elif "info" in batch.schema.names:
            # Facts of several kinds stand in one column of JSON; only records know how to read it.
            rows = range(first, first + batch.num_rows)
            yield first, np.array([_number(_fact(manifest, row, name)) for row in rows])


def _fact(manifest: Manifest, row: int, name: str) -> Any:
    try:
        return manifest.record(row).fact(name)
    except PictureError:
        return None


def _number(value: Any) -> float:
    if value is None:
        return float("nan")
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return -1.0
    return float(value)
