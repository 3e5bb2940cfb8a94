"""Parquet and Arrow tables: one record a row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captionkit.errors import CaptionkitError, DataError
from captionkit.readers.arrow_columns import (
    embeds_pictures,
    pyarrow,
    wanted,
    wanted_leaves,
)
from captionkit.readers.arrow_rows import ROWS_PER_BLOCK, blocks_of
from captionkit.readers.prepared import prepared_folder
from captionkit.readers.source import Block, Report, Source
from captionkit.readers.table_columns import check_columns
from captionkit.readers.text import unreadable

PARQUET_SUFFIX = ".parquet"
ARROW_SUFFIXES = frozenset({".arrow", ".feather", ".ipc"})

_FILE_FORMAT = b"ARROW1"
_OLD_FEATHER = b"FEA1"
_BUFFER_BYTES = 1 << 20
_LARGE_BATCH_BYTES = 1 << 28
"""Batches above this are mapped into memory, not read into it."""


@dataclass(frozen=True)
class ArrowSource(Source):
    """A .parquet file, an Arrow file or stream (.arrow, .feather, .ipc), or a folder of them by name; or a
    folder that `trainkit prepare` wrote.

    Columns are the keys of `read_jsonl`: image, id, tags, caption; all others are facts. Tags and captions
    may be texts, lists, lists of structs or maps by category. Lists under other names, and bytes, are passed
    over unread. Times become ISO text, those with a zone in UTC. A text under "info" is a JSON object of
    facts. Pictures that lie in the table are never decoded; of one without a path the id is the table's name
    and the row's number. Memory is bounded also for a row group of a million rows.
    """

    path: Path
    untagged: bool = False
    """Whether what has neither tags nor captions is a record, too."""

    @property
    def unit(self) -> str:
        """What amounts are counted in."""
        return "rows"

    @property
    def root(self) -> Path:
        """The folder at which relative paths of pictures begin."""
        if not self.path.is_dir():
            return self.path.parent
        prepared = prepared_folder(self.path)
        return self.path if prepared is None else prepared.root

    def total(self) -> int | None:
        """The amount of everything; None when only reading tells."""
        try:
            counts = [_count(file) for file in table_files(self.path)]
        except (OSError, ValueError, CaptionkitError):
            return None  # What is wrong is said when it is read.
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None

    def blocks(self, report: Report) -> Iterator[Block]:
        """The pieces, in order."""
        empty, failed = True, 0
        for file in table_files(self.path):
            try:
                for block in _blocks(file, self.untagged):
                    empty = False
                    yield block
            except CaptionkitError as error:
                failed += 1
                if self.path == file:
                    raise
                report(error)
        if empty:
            what = "none of its tables can be read" if failed else "holds no rows"
            raise DataError(what, where=str(self.path))


def table_files(path: Path) -> list[Path]:
    """The file itself, or the tables right in a folder, by name; names that begin with `.` or `_` are hidden.

    Of a folder by `trainkit prepare` those that it names, in its order. Raises `DataError` when there is
    none.
    """
    try:
        if not path.is_dir():
            path.stat()
            return [path]
        if (prepared := prepared_folder(path)) is not None:
            return list(prepared.files)
        files = sorted(file for file in path.iterdir() if _is_table(file))
    except OSError as error:
        raise unreadable(path, error) from error
    if not files:
        suffixes = ", ".join(sorted({PARQUET_SUFFIX, *ARROW_SUFFIXES}))
        raise DataError(f"holds no tables ({suffixes})", where=str(path))
    return files


def _is_table(file: Path) -> bool:
    known = file.suffix.lower() in ARROW_SUFFIXES | {PARQUET_SUFFIX}
    return known and not file.name.startswith((".", "_")) and file.is_file()


def _blocks(file: Path, untagged: bool) -> Iterator[Block]:
    with _errors_of(file):
        first = 1
        schema, batches = _opened(file)
        check_columns(schema.names, str(file), untagged=untagged)
        stem = file.name.removesuffix(file.suffix) if embeds_pictures(schema) else None
        for batch in batches:
            yield from blocks_of(batch, str(file), first, stem, untagged)
            first += batch.num_rows


@contextmanager
def _errors_of(file: Path) -> Iterator[None]:
    pa = pyarrow()
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # The last of names of columns.
        if isinstance(error, OSError) and error.errno is not None:
            raise unreadable(file, error) from error
        why = " ".join(str(error).split())
        raise DataError(
            f"cannot be read: {why[:200]}", where=str(file), hint="is it whole, and what its suffix says?"
        ) from error


def _opened(file: Path) -> tuple[Any, Iterator[Any]]:
    """The schema, and the batches of the columns that say something."""
    if file.suffix.lower() == PARQUET_SUFFIX:
        return _parquet(file)
    with file.open("rb") as opened:
        begin = opened.read(len(_FILE_FORMAT))
    if begin.startswith(_OLD_FEATHER):
        raise DataError(
            "is of Feather's first version", where=str(file), hint="write it anew with pyarrow.feather"
        )
    return _arrow_file(file) if begin == _FILE_FORMAT else _arrow_stream(file)


def _parquet(file: Path) -> tuple[Any, Iterator[Any]]:
    # Without pre_buffer and with a buffer, pages are read one by one, not row groups.
    table = pyarrow().parquet.ParquetFile(file, pre_buffer=False, buffer_size=_BUFFER_BYTES)
    schema = table.schema_arrow
    columns = wanted_leaves(schema)

    def batches() -> Iterator[Any]:
        # Group by group: a batch over two of them cannot be made of lists whose dictionaries differ.
        for group in range(table.num_row_groups):
            yield from table.iter_batches(batch_size=ROWS_PER_BLOCK, row_groups=[group], columns=columns)

    return schema, batches()


def _arrow_file(file: Path) -> tuple[Any, Iterator[Any]]:
    pa = pyarrow()
    schema = pa.ipc.open_file(str(file)).schema
    options = pa.ipc.IpcReadOptions(included_fields=_wanted_places(schema))

    def batches() -> Iterator[Any]:
        with pa.OSFile(str(file)) as plain:
            reader = pa.ipc.open_file(plain, options=options)
            num, size = reader.num_record_batches, file.stat().st_size
            if size <= _LARGE_BATCH_BYTES * num:
                yield from (_checked(reader.get_batch(at)) for at in range(num))
                return
        with pa.memory_map(str(file)) as mapped:
            reader = pa.ipc.open_file(mapped, options=options)
            yield from (_checked(reader.get_batch(at)) for at in range(reader.num_record_batches))

    return schema, batches()


def _arrow_stream(file: Path) -> tuple[Any, Iterator[Any]]:
    pa = pyarrow()
    with pa.OSFile(str(file)) as opened:
        schema = pa.ipc.open_stream(opened).schema
    options = pa.ipc.IpcReadOptions(included_fields=_wanted_places(schema))

    def batches() -> Iterator[Any]:
        with pa.OSFile(str(file)) as opened:
            yield from (_checked(batch) for batch in pa.ipc.open_stream(opened, options=options))

    return schema, batches()


def _wanted_places(schema: Any) -> list[int]:
    return [at for at, field in enumerate(schema) if wanted(field)]


def _checked(batch: Any) -> Any:
    """The batch; an Arrow file may hold offsets that lead anywhere in memory.

    Raises `ArrowInvalid` for those. Text that is no UTF-8 is left to be found with its row.
    """
    pa = pyarrow()
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid:
        for column in batch.columns:
            column.view(_as_bytes(column.type)).validate(full=True)
    return batch


def _as_bytes(kind: Any) -> Any:
    """The type of the same layout in which no text has to be UTF-8."""
    pa = pyarrow()
    t = pa.types
    if t.is_string(kind):
        return pa.binary()
    if t.is_large_string(kind):
        return pa.large_binary()
    if t.is_string_view(kind):
        return pa.binary_view()
    if t.is_dictionary(kind):
        return pa.dictionary(kind.index_type, _as_bytes(kind.value_type), kind.ordered)
    if t.is_list(kind):
        return pa.list_(_as_bytes(kind.value_type))
    if t.is_large_list(kind):
        return pa.large_list(_as_bytes(kind.value_type))
    if t.is_struct(kind):
        return pa.struct([(child.name, _as_bytes(child.type)) for child in kind])
    if t.is_map(kind):
        return pa.map_(_as_bytes(kind.key_type), _as_bytes(kind.item_type))
    return kind


def _count(file: Path) -> int | None:
    """How many rows a file has; None where only reading tells."""
    pa = pyarrow()
    if file.suffix.lower() == PARQUET_SUFFIX:
        return int(pa.parquet.read_metadata(file).num_rows)
    with file.open("rb") as opened:
        if opened.read(len(_FILE_FORMAT)) != _FILE_FORMAT:
            return None
    with pa.memory_map(str(file)) as mapped:
        return int(pa.ipc.open_file(mapped).count_rows())
