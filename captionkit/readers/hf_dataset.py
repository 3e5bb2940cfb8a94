"""Hugging Face datasets: folders by `save_to_disk`, names on the hub, and those already in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from captionkit.errors import CaptionkitError, DataError
from captionkit.needs import needed
from captionkit.readers.arrow_columns import embeds_pictures, pyarrow
from captionkit.readers.arrow_rows import ROWS_PER_BLOCK, RowsBlock, blocks_of
from captionkit.readers.source import Block, Report, Source, strict
from captionkit.readers.table_columns import check_columns
from captionkit.readers.text import unreadable
from captionkit.record import Record

HUB = "hf:"
STATE_FILE = "state.json"
_SPLITS_FILE = "dataset_dict.json"


@dataclass(frozen=True)
class HfSource(Source):
    """A folder written by `save_to_disk`, memory-mapped; or `hf:` and what `datasets.load_dataset` takes: a
    name on the hub, `owner/name` or `owner/name:config`, or a folder of data files. Those are streamed.

    Columns are as in `ArrowSource`; a class label is the name of its class. Pictures are never decoded, and
    no code of a dataset is ever run. `split` may be left out where there is one only.
    """

    path: str | Path
    split: str | None = None
    untagged: bool = False
    """Whether what has neither tags nor captions is a record, too."""

    @property
    def unit(self) -> str:
        """What amounts are counted in."""
        return "rows"

    @property
    def root(self) -> Path:
        """The folder at which relative paths of pictures begin."""
        name = self._hub_name
        if name is None:
            return Path(self.path)
        return Path(name) if Path(name).is_dir() else Path()

    def total(self) -> int | None:
        """The amount of everything; None when only reading tells."""
        if self._hub_name is not None:
            return None
        try:
            return len(self._dataset())
        except CaptionkitError:
            return None  # What is wrong is said when it is read.

    def blocks(self, report: Report) -> Iterator[Block]:
        """The pieces, in order."""
        empty = True
        stem = Path(self._hub_name or self.path).name
        for block in _blocks(self._dataset(), self._where, stem, self.untagged):
            empty = False
            yield block
        if empty:
            raise DataError("holds no rows", where=self._where)

    @property
    def _where(self) -> str:
        return str(self.path) if self.split is None else f"{self.path}#{self.split}"

    @property
    def _hub_name(self) -> str | None:
        name = str(self.path)
        return name.removeprefix(HUB) if name.startswith(HUB) else None

    def _dataset(self) -> Any:
        datasets = _datasets()
        name = self._hub_name
        if name is None:
            folder = Path(self.path)
            _check_folder(folder)
            with _errors_of(str(folder)):
                return self._split_of(datasets.load_from_disk(str(folder)))
        config: str | None = None
        if not Path(name).exists():
            name, _, config = name.partition(":")
        with _errors_of(str(self.path)):
            return self._split_of(datasets.load_dataset(name, config or None, streaming=True))

    def _split_of(self, dataset: Any) -> Any:
        """The split that was asked for, or the only one."""
        if not isinstance(dataset, dict):
            if self.split is not None and str(dataset.split) != self.split:
                has = "no splits" if dataset.split is None else f"the split {str(dataset.split)!r}"
                raise DataError(f"has {has}, not {self.split!r}", where=str(self.path))
            return dataset
        splits = ", ".join(map(repr, dataset))
        if self.split is None and len(dataset) != 1:
            raise DataError(
                f"has {len(dataset)} splits: {splits}",
                where=str(self.path),
                hint=f"name one: {self.path}#train",
            )
        if self.split is not None and self.split not in dataset:
            raise DataError(f"has no split {self.split!r}; its splits are {splits}", where=str(self.path))
        return next(iter(dataset.values())) if self.split is None else dataset[self.split]


def dataset_records(dataset: Any, *, on_error: Report | None = None) -> Iterator[Record]:
    """The records of a `datasets.Dataset` or `IterableDataset`, row by row; columns as in `HfSource`.

    Pictures are not decoded, and formats and transforms that are set on it are passed by. For a bad row,
    `on_error` is called and it is skipped; without `on_error` the error is raised.
    """
    for block in _blocks(dataset, "dataset", "dataset"):
        yield from block.records(on_error or strict)


def _datasets() -> Any:
    return needed("datasets", "datasets", "reading Hugging Face datasets")


def _check_folder(folder: Path) -> None:
    """Raises `DataError` for what `save_to_disk` did not write, or what leads out of the folder."""
    splits = [folder]
    if (folder / _SPLITS_FILE).is_file():
        names = _json(folder / _SPLITS_FILE).get("splits")
        splits = [folder / _inside(name, folder) for name in names] if isinstance(names, list) else []
    for split in splits:
        if not (split / STATE_FILE).is_file():
            raise DataError(
                f"is no folder by save_to_disk: it has no {STATE_FILE}",
                where=str(split),
                hint=f"for a folder of data files write {HUB}{folder}",
            )
        files = _json(split / STATE_FILE).get("_data_files")
        for file in files if isinstance(files, list) else []:
            _inside(file.get("filename") if isinstance(file, dict) else None, split)


def _inside(name: object, folder: Path) -> str:
    if not isinstance(name, str) or Path(name).name != name:
        raise DataError(f"names the file {name!r}, which is not in its folder", where=str(folder))
    return name


def _json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_bytes())
    except OSError as error:
        raise unreadable(file, error) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"is not valid JSON: {error}", where=str(file)) from error
    if not isinstance(value, dict):
        raise DataError("must be a JSON object", where=str(file))
    return value


@contextmanager
def _errors_of(where: str) -> Iterator[None]:
    """Whatever goes wrong inside `datasets`, which raises errors of many packages, as `DataError`."""
    try:
        yield
    except CaptionkitError:
        raise
    except Exception as error:
        why = " ".join(str(error).split())
        raise DataError(
            f"cannot be loaded: {why[:300] or type(error).__name__}",
            where=where,
            hint="is the name right, and is there a connection where it has to be fetched?",
        ) from error


def _blocks(dataset: Any, where: str, stem: str, untagged: bool = False) -> Iterator[RowsBlock]:
    features = dataset.features or {}
    for name, feature in features.items():
        if type(feature).__name__ in ("Image", "Audio", "Video"):
            dataset = dataset.cast_column(name, type(feature)(decode=False))
    labels = {name: f.names for name, f in features.items() if type(f).__name__ == "ClassLabel" and f.names}
    first = 1
    with _errors_of(where):
        for table in _tables(dataset):
            if first == 1:
                check_columns(table.schema.names, where, untagged=untagged)
            embedded = stem if embeds_pictures(table.schema) else None
            for batch in _named(table, labels).combine_chunks().to_batches():
                yield from blocks_of(batch, where, first, embedded, untagged)
                first += batch.num_rows


def _tables(dataset: Any) -> Iterator[Any]:
    """The rows as Arrow tables."""
    if dataset.features is not None:
        yield from dataset.with_format("arrow").iter(ROWS_PER_BLOCK)
        return
    # Of rows that code makes, only the rows themselves tell the types; together they tell more than one does.
    rows = iter(dataset)
    while some := list(islice(rows, ROWS_PER_BLOCK)):
        names = dict.fromkeys(name for row in some for name in row)
        yield pyarrow().table({name: [row.get(name) for row in some] for name in names})


def _named(table: Any, labels: dict[str, list[str]]) -> Any:
    """The table with the names of classes for their numbers; -1 is none."""
    pa = pyarrow()
    for name, names in labels.items():
        at = table.schema.get_field_index(name)
        if at >= 0 and pa.types.is_integer(table.schema.field(at).type):
            numbers = table.column(at)
            known = pa.compute.if_else(pa.compute.greater_equal(numbers, 0), numbers, None)
            table = table.set_column(at, name, pa.compute.take(pa.array(names, pa.string()), known))
    return table
