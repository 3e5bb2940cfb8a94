"""The pictures of a manifest: each is made of its row when it is asked for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from trainkit.errors import PictureError, TrainkitError
from trainkit.keys import key_of
from trainkit.manifest import Manifest
from trainkit.picture import Maker, Picture

_TRIED = 256
"""How many rows of a manifest are looked at when it is opened."""
_AT_ONCE = 32
"""How many of them before their pages are given back; the system maps up to 2 MB around each value."""


@dataclass(frozen=True)
class Rows(Sequence[Picture]):
    """Pictures of a manifest, each made when it is asked for.

    Asking for one raises PictureError when no record can be made of its row. A copy in another process holds
    the numbers of the rows and nothing else.
    """

    manifest: Manifest
    rows: range | NDArray[np.integer[Any]]
    """The rows, counted from 0; a range as long as none is left out, which needs no memory."""
    make: Maker

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Picture: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Picture]: ...
    def __getitem__(self, index: int | slice) -> Picture | Sequence[Picture]:
        if isinstance(index, slice):
            return replace(self, rows=self.rows[index])
        row = int(self.rows[index])
        record = self.manifest.record(row)
        place = self.manifest.place(row, record.image)
        return self.make(record, self.manifest.size(row), place)

    @property
    def keys(self) -> NDArray[np.uint64]:
        """[N]: the key of every picture's record."""
        keys = self.manifest.keys
        return keys if self._all else keys[np.asarray(self.rows)]

    @property
    def _all(self) -> bool:
        return isinstance(self.rows, range) and self.rows == range(len(self.manifest))

    def at(self, indices: NDArray[np.int64]) -> Rows:
        """Some of the pictures."""
        if isinstance(self.rows, range):
            small = np.int32 if self.rows.stop <= np.iinfo(np.int32).max else np.int64
            return replace(self, rows=(indices * self.rows.step + self.rows.start).astype(small))
        return replace(self, rows=self.rows[indices])


def try_some(
    manifest: Manifest, bad: dict[int, str], max_bad_share: float
) -> tuple[dict[int, str], tuple[str, ...]]:
    """Look at a few rows spread over the manifest, so that what is wrong with all of them is found now and
    not in the first batch; those in ``bad`` are left out.

    Returns the rows of which no record can be made, each with the reason, and a note if pictures are not
    there. Raises TrainkitError when more rows are bad than chance allows with ``max_bad_share``, and when a
    prepared folder's keys are not those of its ids.
    """
    rows = np.unique(np.linspace(0, len(manifest) - 1, _TRIED, dtype=np.int64)).tolist()
    broken: dict[int, str] = {}
    missing: list[str] = []
    for count, row in enumerate(row for row in rows if row not in bad):
        if count % _AT_ONCE == 0:
            manifest.release()
        try:
            record = manifest.record(row)
            place = manifest.place(row, record.image)
        except PictureError as error:
            broken[row] = error.reason
            continue
        if not place.remote and not os.path.isfile(place.path):
            missing.append(place.path)
        if manifest.prepared is not None and manifest.key(row) != key_of(record.id):
            raise TrainkitError(
                f"data.path: {manifest.where(row)}: its key is not that of its id {record.id!r}: prepare the "
                "folder again"
            )
    manifest.release()
    # Twice the share that is allowed, and two: by chance alone, fewer than 1 in 100 good manifests fail.
    if len(manifest) > len(rows) and len(broken) > 2 * max_bad_share * len(rows) + 2:
        row, reason = next(iter(broken.items()))
        raise TrainkitError(
            f"data.path: {len(broken)} of {len(rows)} rows that were tried are no records "
            f"(data.max_bad_share allows {max_bad_share:.1%}), such as\n  {manifest.where(row)}: {reason}"
        )
    if not missing:
        return broken, ()
    what = f"{len(missing)} of {len(rows)} pictures that were looked for are not there"
    return broken, (f"data.path: {what}, such as {missing[0]}",)
