"""The data set: which pictures there are, what is known about each, and which of them cannot be used."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from captionkit import CaptionkitError, CaptionPipeline, Record, read_records
from trainkit.data_config import DataConfig
from trainkit.errors import PictureError, TrainkitError
from trainkit.keys import fingerprint_of, keys_of
from trainkit.manifest import Manifest
from trainkit.mask_names import is_mask
from trainkit.path_patterns import matching
from trainkit.picture import Maker, Picture, PictureReader, idle_patterns
from trainkit.place import place_of
from trainkit.progress import bar_style
from trainkit.rows import Rows, try_some
from trainkit.table_files import INDEX, is_manifest

_SHOWN = 20
"""How many bad pictures an error names."""
_FETCHED = 8
"""How many pictures are fetched from a store when a run begins."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A record or picture that cannot be used, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class DataSet:
    """All usable pictures in a fixed order, and what was left out."""

    pictures: Sequence[Picture]
    """A tuple for folders and JSON Lines. Of a manifest each picture is made when it is asked for, which
    raises PictureError when its row holds no record."""
    sizes: NDArray[np.int32]
    """[N, 2]: width and height of every picture, upright."""
    skipped: tuple[Skipped, ...] = ()
    """What cannot be used, of the whole data set."""
    notes: tuple[str, ...] = ()
    """What a user should know and nothing is stopped by."""
    fingerprint: str = ""
    """Of the whole data set, in hexadecimal: another one means other pictures, or in another order. Of a
    prepared folder it tells all that is trained, of others ids and sizes."""

    @property
    def keys(self) -> NDArray[np.uint64]:
        """[N]: the key of the id of every picture's record (`trainkit.keys`)."""
        pictures = self.pictures
        if isinstance(pictures, Rows):
            return pictures.keys
        return keys_of(p.record.id.encode("utf-8") for p in pictures)

    def subset(self, indices: Sequence[int] | NDArray[np.int64]) -> DataSet:
        """Some of the pictures, in the order of ``indices``."""
        chosen = np.asarray(indices, dtype=np.int64).reshape(-1)
        pictures = self.pictures
        some = (
            pictures.at(chosen) if isinstance(pictures, Rows) else tuple(pictures[i] for i in chosen.tolist())
        )
        return replace(self, pictures=some, sizes=self.sizes[chosen])

    def spread(self, count: int) -> list[Picture]:
        """Up to ``count`` pictures, spread evenly over all; rows of a manifest that are no records are left
        out."""
        found: list[Picture] = []
        for i in np.unique(np.linspace(0, len(self.pictures) - 1, count, dtype=np.int64)).tolist():
            with contextlib.suppress(PictureError):
                found.append(self.pictures[i])
        if isinstance(self.pictures, Rows):
            self.pictures.manifest.release()
        return found


def read_data(config: DataConfig, pipelines: Sequence[CaptionPipeline], *, progress: bool = False) -> DataSet:
    """Every usable picture. Those of a folder or a JSON Lines table are decoded once, to find their size and
    what is broken; a manifest is trusted.

    ``pipelines`` are all caption pipelines of the run: a picture that one of them may mirror may be mirrored.
    Raises TrainkitError when the folder is missing, when nothing can be used, or when more than
    ``max_bad_share`` cannot be; StoreError when the pictures' store does not answer.
    """
    if not config.path.exists():
        raise TrainkitError(f"data.path: no such folder or table: {config.path}")
    read = _from_manifest if is_manifest(config.path) else _from_records
    data = read(config, tuple(pipelines), progress)
    _refuse_too_many(config, data.skipped, len(data.pictures) + len(data.skipped))
    if not len(data.pictures):
        raise TrainkitError(f"data.path: {config.path} holds no picture that can be used")
    return data


def _from_manifest(config: DataConfig, pipelines: tuple[CaptionPipeline, ...], progress: bool) -> DataSet:
    del progress  # It takes seconds.
    manifest = Manifest(config.path)
    # Of a file that must be decoded, few columns are read first: to find what is wrong takes memory, which is
    # free again when the whole is read.
    index = manifest if manifest.mapped else Manifest(config.path, INDEX)
    sizes = index.sizes()
    if twice := index.twice():
        _refuse_twice(config, twice)
    bad = index.bad_rows(sizes)
    idle = tuple(
        f"data.weights: {pattern!r} matches no picture"
        for pattern in config.weights
        if not any(matching(images, pattern, index.folder).any() for images in index.images())
    )
    fingerprint = index.fingerprint(sizes)
    del index
    tried, notes = try_some(manifest, bad, config.max_bad_share)
    bad |= tried
    skipped = tuple(Skipped(manifest.where(row), reason) for row, reason in sorted(bad.items()))
    make = Maker(manifest.folder, pipelines, config.masks, tuple(config.weights.items()))
    pictures = Rows(manifest, range(len(manifest)), make)
    if bad:
        kept = np.delete(np.arange(len(manifest)), sorted(bad))
        pictures, sizes = pictures.at(kept), sizes[kept]
    notes += _untold(manifest) + idle + _fetch_some(config, pictures)
    return DataSet(pictures, sizes, skipped, notes, fingerprint)


def _untold(manifest: Manifest) -> tuple[str, ...]:
    """A note when there are pictures of which nothing is known: they are trained with empty captions."""
    count, rows = manifest.num_untold(), len(manifest)
    if not count:
        return ()
    what = f"{count:,} of {rows:,} pictures have neither tags nor captions and are"
    if count == rows:
        what = f"NONE of the {rows:,} pictures has tags or captions, so ALL are"
    return (
        f"data.path: {what} trained with an empty caption; to change that: trainkit tagger apply TAGGER "
        f"{manifest.path}, or trainkit caption caption.toml data={manifest.path}",
    )


def _fetch_some(config: DataConfig, pictures: Rows) -> tuple[str, ...]:
    """Fetch a few pictures that lie in stores, so that a wrong name, missing rights or a missing package are
    found now.

    Returns notes of those that cannot be had, and of what was asked for again. Raises TrainkitError when
    none can, or when nothing is known of their masks; StoreError when the store does not answer.
    """
    remote: list[Picture] = []
    problems: list[PictureError] = []
    tried = np.unique(np.linspace(0, len(pictures) - 1, _FETCHED, dtype=np.int64)) if len(pictures) else ()
    for i in tried:
        try:
            picture = pictures[int(i)]
        except PictureError as error:
            problems.append(error)
        else:
            if picture.place.remote:
                remote.append(picture)
    reader = config.reader
    problems += [outcome for outcome in reader.fetch(remote) if isinstance(outcome, PictureError)]
    notes = [f"data.path: {trouble}"] if (trouble := reader.store.take_trouble()) else []
    if problems and len(problems) == len(tried):
        raise TrainkitError(
            f"data.path: none of {len(tried)} pictures that were tried can be had, such as\n  {problems[0]}"
        )
    if problems and remote:
        notes.append(
            f"data.path: {len(problems)} of {len(tried)} pictures cannot be had, such as {problems[0]}"
        )
    return tuple(notes)


def _from_records(config: DataConfig, pipelines: tuple[CaptionPipeline, ...], progress: bool) -> DataSet:
    skipped: list[Skipped] = []

    def skip(error: CaptionkitError) -> None:
        # A mask lies among the pictures and looks like one without captions.
        if error.where is None or not is_mask(Path(error.where)):
            skipped.append(Skipped(error.where or "?", str(error)))

    try:
        records = list(read_records(config.path, on_error=skip))
    except CaptionkitError as error:
        raise TrainkitError(f"data.path: {error}") from error
    if twice := [name for name, count in Counter(r.id for r in records).items() if count > 1]:
        _refuse_twice(config, twice)
    folder = config.path if config.path.is_dir() else config.path.parent
    make = Maker(folder, pipelines, config.masks, tuple(config.weights.items()))
    pictures: list[Picture] = []
    for result in _measured(records, make, config.reader, progress):
        if isinstance(result, PictureError):
            skipped.append(Skipped(result.picture, result.reason))
        else:
            pictures.append(result)
    sizes = np.array([p.size for p in pictures], dtype=np.int32).reshape(-1, 2)
    notes = idle_patterns(config.weights, (str(p.record.image) for p in pictures), folder)
    if config.masks == "file" and not any(p.mask for p in pictures):
        notes += ('data.masks is "file", but no picture has a mask beside it',)
    found = DataSet(tuple(pictures), sizes, tuple(skipped), notes)
    return replace(found, fingerprint=fingerprint_of(found.keys, sizes))


def _measured(
    records: list[Record], make: Maker, reader: PictureReader, progress: bool
) -> Iterator[Picture | PictureError]:
    """Each record's picture, or what is wrong with it; decoding runs in threads."""

    def measured(record: Record) -> Picture | PictureError:
        if record.image is None:
            return PictureError(record.id, "the record names no picture")
        try:
            place = place_of(record.id, str(make.folder), record.image, absolute=True)
            picture = make(record, reader.size(place), place)
            if picture.mask != picture.place:
                reader.mask(picture)
        except PictureError as error:
            return error
        return picture

    with ThreadPoolExecutor() as pool:
        results: Iterable[Picture | PictureError] = pool.map(measured, records)
        yield from tqdm(
            results,
            total=len(records),
            desc="reading pictures",
            unit="pic",
            disable=not progress,
            leave=False,
            **bar_style(),
        )


def _refuse_twice(config: DataConfig, twice: list[str]) -> None:
    raise TrainkitError(
        f"data.path: {config.path}: {len(twice)} ids stand there more than once, such as {twice[0]!r}; "
        "their captions would share their draws. Give every record its own id."
    )


def _refuse_too_many(config: DataConfig, skipped: Sequence[Skipped], total: int) -> None:
    share = len(skipped) / max(1, total)
    if share <= config.max_bad_share:
        return
    names = "\n".join(f"  {s.name}: {s.reason}" for s in skipped[:_SHOWN])
    more = f"\n  and {len(skipped) - _SHOWN} more" if len(skipped) > _SHOWN else ""
    raise TrainkitError(
        f"data.path: {len(skipped)} of {total} pictures cannot be used ({share:.1%}, "
        f"data.max_bad_share allows {config.max_bad_share:.1%}):\n{names}{more}\n"
        "Mend or remove them, or raise data.max_bad_share to skip them."
    )
