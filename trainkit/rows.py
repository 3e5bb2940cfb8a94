"""The pictures of a manifest: each is made of its row when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from trainkit.errors import PictureError, TrainkitError
from trainkit.manifest import Manifest
from trainkit.picture import Maker, Picture

_TRIED = 256
"""How many rows of a manifest are looked at when it is opened."""


@dataclass(frozen=True)
class Rows(Sequence[Picture]):
    """Pictures of a manifest, each made when it is asked for.

    Asking for one raises PictureError when no record can be made of its row.
    """

    manifest: Manifest
    rows: NDArray[np.int64]
    sizes: NDArray[np.int32]
    make: Maker

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Picture: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Picture]: ...
    def __getitem__(self, index: int | slice) -> Picture | Sequence[Picture]:
        if isinstance(index, slice):
            return self.at(np.arange(len(self))[index])
        row, (width, height) = int(self.rows[index]), self.sizes[index]
        return self.make(self.manifest.record(row), (int(width), int(height)))

    @property
    def ids(self) -> Sequence[str]:
        """The id of every picture's record."""
        found: list[str] = self.manifest.ids().take(self.rows).to_pylist()
        return found

    def at(self, indices: NDArray[np.int64]) -> Rows:
        """Some of the pictures."""
        return replace(self, rows=self.rows[indices], sizes=self.sizes[indices])


def try_some(
    manifest: Manifest, bad: dict[int, str], max_bad_share: float
) -> tuple[dict[int, str], tuple[str, ...]]:
    """Look at a few rows spread over the manifest, so that what is wrong with all of them is found now and
    not in the first batch; those in ``bad`` are left out.

    Returns the rows of which no record can be made, each with the reason, and a note if pictures are not
    there. Raises TrainkitError when more rows are bad than chance allows with ``max_bad_share``.
    """
    rows = np.unique(np.linspace(0, len(manifest) - 1, _TRIED, dtype=np.int64)).tolist()
    broken: dict[int, str] = {}
    missing: list[Path] = []
    for row in [row for row in rows if row not in bad]:
        try:
            path = manifest.folder / str(manifest.record(row).image)
        except PictureError as error:
            broken[row] = error.reason
            continue
        if not path.is_file():
            missing.append(path)
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
