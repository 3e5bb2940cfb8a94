"""Captions for a batch of rows: one function for `datasets`, Ray Data and whatever else has columns."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, SupportsIndex, TypeAlias, get_args

from captionkit.adapters.columns import Columns, NewColumn, columns_of
from captionkit.adapters.epoch import SharedEpoch
from captionkit.adapters.portable import Portable
from captionkit.errors import CaptionkitError, DataError
from captionkit.pipeline import CaptionPipeline
from captionkit.readers import record_of
from captionkit.readers.facts import ID_KEY
from captionkit.readers.fields import IMAGE_KEYS
from captionkit.record import Record, Rendered

OnError: TypeAlias = Literal["raise", "keep", "empty", "drop"]
"""What becomes of a row of which no record can be made:

- raise: `DataError`, and nothing more is rendered
- keep: it is reported and stays, with null for text, flip and source
- empty: it is reported and stays, with an empty text, never mirrored
- drop: it is reported and left out of the batch
"""

_POSITION = (
    "name a column that tells rows apart, id='file'; their index would draw all rows anew when one is "
    "removed or they are shuffled: if you want it, by_position=True, and with_indices=True to `map`"
)


def warn(error: CaptionkitError) -> None:
    """Reports a bad row as a Python warning."""
    warnings.warn(str(error), stacklevel=2)


class RenderBatch:
    """From a batch of rows to the batch with a text for each, and whether its picture is mirrored.

    A batch is a dict of lists or numpy arrays, a pyarrow Table or RecordBatch, or what `datasets` hands to
    `map`. It comes back in the same form. A row is read as a line of JSON Lines is (`record_of`): "tags",
    "caption" (or "captions", "text", "prose"), "id" (or the picture's path: "file", "image", "file_name"),
    and every text or number under another name is a fact.

    It can be pickled. Equal settings are equal bytes in every process, so that the cache of `datasets.map`
    finds its results again, and makes new ones when the recipe has changed. To spawned data-loading workers
    the epoch stays shared; in any other pickle it is a number.

    >>> from captionkit import CaptionPipeline
    >>> render = RenderBatch(CaptionPipeline(flip={"p": 0}), source=None)
    >>> render({"id": ["1", "2"], "tags": ["red_fox, snow", "owl"]})["text"]
    ['red fox, snow', 'owl']
    """

    def __init__(
        self,
        pipeline: CaptionPipeline,
        *,
        columns: Mapping[str, str] | Sequence[str] | None = None,
        id: str | None = None,
        by_position: bool = False,
        epoch: SupportsIndex = 0,
        draw: str | None = None,
        k: int | None = None,
        text: str = "text",
        flip: str | None = "flip",
        source: str | None = "source",
        on_error: OnError = "raise",
        report: Callable[[CaptionkitError], None] = warn,
    ) -> None:
        """How a row is read:

        - columns: of which columns, and no others, its record is made. Names as `record_of` knows them, or
          those names with the table's: `{"caption": "prompt", "tags": "tag_string", "id": "md5"}`. Without it
          all columns that hold no bytes.
        - id: the column whose value tells rows apart.
        - by_position: their index does; for `map(..., with_indices=True)`.
        - draw: the column that says which repeat within the epoch a row is; without it all are draw 0.

        What it gets:

        - k: that many variants as lists, draws 0 to k - 1; without it one, which is no list.
        - text, flip, source: the new columns' names; None leaves one out.
        - on_error: what becomes of a bad row; `report` is told of it, but for "raise".

        Raises `DataError` for settings that do not go together.
        """
        self.pipeline = pipeline
        self.columns = _named(columns)
        self.id, self.by_position = id, by_position
        self.epoch = SharedEpoch.of(epoch)
        self.draw, self.k = draw, k
        self.text, self.flip, self.source = text, flip, source
        self.on_error, self.report = on_error, report
        if on_error not in get_args(OnError):
            raise DataError(f"on_error is {on_error!r}, must be one of {', '.join(get_args(OnError))}")
        if k is not None and (isinstance(k, bool) or not isinstance(k, int) or k < 1):
            raise DataError(f"k must be a whole number from 1 on, or None for one text, got {k!r}")
        if k is not None and draw is not None:
            raise DataError("`k` makes the draws 0 to k - 1, `draw` names one", hint="give one of the two")
        if id is not None and by_position:
            raise DataError("`id` and `by_position` both tell rows apart", hint="give one of the two")
        names = [name for name in (text, flip, source) if name is not None]
        if len(set(names)) < len(names):
            raise DataError(f"the new columns need different names, got {', '.join(map(repr, names))}")

    def __call__(self, batch: Any, indices: Sequence[int] | None = None) -> Any:
        """The batch with its texts. `indices` are what `with_indices=True` adds."""
        columns = columns_of(batch)
        rows = self._rows(columns, indices)
        rendered: list[list[Rendered] | None] = []
        for place, fields in enumerate(rows):
            number = place if indices is None else int(indices[place])
            try:
                rendered.append(self._render(fields, f"row {number}"))
            except CaptionkitError as error:
                if self.on_error == "raise":
                    raise
                self.report(error)
                rendered.append(None)
        kept = None
        if self.on_error == "drop" and None in rendered:
            kept = [place for place, one in enumerate(rendered) if one is not None]
            rendered = [one for one in rendered if one is not None]
        return columns.with_columns(self._new_columns(rendered), kept)

    @cached_property
    def portable(self) -> Portable:
        """The pipeline as plain data."""
        return Portable.of(self.pipeline)

    def __reduce__(self) -> tuple[Callable[..., RenderBatch], tuple[Any, ...]]:
        columns = None if self.columns is None else tuple(sorted(self.columns.items()))
        settings = (columns, self.id, self.by_position, self.draw, self.k)
        new = (self.text, self.flip, self.source)
        return _restored, (self.portable, self.epoch, *settings, *new, self.on_error, self.report)

    def _rows(self, columns: Columns, indices: Sequence[int] | None) -> list[dict[str, Any]]:
        """The fields of every row, by the names that `record_of` knows; the draw under its column's name."""
        wanted = self._wanted(columns)
        if self.id is not None:
            wanted[ID_KEY] = self.id
        values = {name: columns.values(theirs) for name, theirs in wanted.items()}
        if self.by_position:
            if indices is None:
                raise DataError("by_position needs the rows' indices", hint="say with_indices=True to `map`")
            values[ID_KEY] = [f"row {int(index)}" for index in indices]
        if self.draw is not None:
            values[_DRAW] = columns.values(self.draw)
        return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]

    def _wanted(self, columns: Columns) -> dict[str, str]:
        if self.columns is not None:
            return dict(self.columns)
        return {name: name for name in columns.names() if name != self.draw}

    def _render(self, fields: dict[str, Any], where: str) -> list[Rendered]:
        draw = fields.pop(_DRAW, 0)
        record = self._record(fields, where)
        if self.k is not None:
            return list(self.pipeline.render_many(record, self.k, epoch=self.epoch.get()))
        if isinstance(draw, bool) or not isinstance(draw, int):
            raise DataError(f"a draw must be a whole number, got {draw!r}", where=f"{where}: {self.draw}")
        return [self.pipeline.render(record, epoch=self.epoch.get(), draw=draw)]

    def _record(self, fields: dict[str, Any], where: str) -> Record:
        if self.columns is None:
            # In a table, "image" is mostly the picture itself, decoded.
            for name in IMAGE_KEYS:
                if not isinstance(fields.get(name), str):
                    fields.pop(name, None)
        if fields.get(ID_KEY) is None and not any(fields.get(name) for name in IMAGE_KEYS):
            there = ", ".join(map(repr, fields)) or "nothing"
            raise DataError(f"has no id and no picture's path among {there}", where=where, hint=_POSITION)
        return record_of(fields, where)

    def _new_columns(self, rows: list[list[Rendered] | None]) -> list[NewColumn]:
        """The columns to put in, in the order text, flip, source."""
        several = self.k is not None
        blank = self.on_error == "empty"

        def column(name: str, kind: str, of: Callable[[Rendered], Any], empty: Any) -> NewColumn:
            values: list[Any] = []
            for row in rows:
                if row is None:
                    one = empty if blank else None
                    values.append([one] * (self.k or 1) if several and blank else one)
                else:
                    values.append([of(each) for each in row] if several else of(row[0]))
            return NewColumn(name, values, kind, several)

        made = [column(self.text, "string", lambda each: each.text, "")]
        if self.flip is not None:
            made.append(column(self.flip, "bool", lambda each: each.flip, False))
        if self.source is not None:
            made.append(column(self.source, "string", lambda each: each.source, "empty"))
        return made


_DRAW = "\0draw"  # No column has this name.


def _restored(
    portable: Portable,
    epoch: SharedEpoch,
    columns: tuple[tuple[str, str], ...] | None,
    id: str | None,
    by_position: bool,
    draw: str | None,
    k: int | None,
    text: str,
    flip: str | None,
    source: str | None,
    on_error: OnError,
    report: Callable[[CaptionkitError], None],
) -> RenderBatch:
    return RenderBatch(
        portable.pipeline(),
        columns=None if columns is None else dict(columns),
        id=id,
        by_position=by_position,
        epoch=epoch,
        draw=draw,
        k=k,
        text=text,
        flip=flip,
        source=source,
        on_error=on_error,
        report=report,
    )


def _named(columns: Mapping[str, str] | Sequence[str] | None) -> dict[str, str] | None:
    if columns is None or isinstance(columns, Mapping):
        return None if columns is None else dict(columns)
    if isinstance(columns, str):
        raise DataError(f"columns must be a list of names or a table, got {columns!r}", hint=f"[{columns!r}]")
    return {name: name for name in columns}
