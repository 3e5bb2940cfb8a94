"""Which row of a manifest each line of additions is for, and whether its picture is still the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainkit.manifest import Manifest

NO_ROW = -1


@dataclass(frozen=True, slots=True)
class RowIndex:
    """The rows of a prepared folder by the keys of their ids; 32 bytes a row."""

    keys: NDArray[np.uint64]
    """[N], sorted."""
    order: NDArray[np.int64]
    """[N]: the row of each of these."""
    digests: NDArray[np.void]
    """[N] of 16 bytes, by row."""

    @classmethod
    def of(cls, manifest: Manifest) -> RowIndex:
        """Read the two columns that it needs."""
        keys = manifest.keys
        order = np.argsort(keys, kind="stable")
        return cls(keys[order], order, manifest.digests)

    def rows(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The row of each key, NO_ROW where there is none."""
        at = np.minimum(np.searchsorted(self.keys, keys), max(len(self.keys) - 1, 0))
        rows: NDArray[np.int64] = np.where(self.keys[at] == keys, self.order[at], NO_ROW)
        return rows

    def fit(self, rows: NDArray[np.int64], digests: NDArray[np.void]) -> NDArray[np.bool_]:
        """Whether each digest is that of its row's picture; one of zeros fits any, no row fits none."""
        ours, given = _halves(self.digests[np.maximum(rows, 0)]), _halves(digests)
        fits: NDArray[np.bool_] = (rows != NO_ROW) & ((ours == given).all(axis=1) | (given == 0).all(axis=1))
        return fits


def newest(keys: NDArray[np.uint64], fits: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Of the lines of each key one: the last that fits, or else the last. Ascending."""
    order = np.lexsort((np.arange(len(keys)), fits, keys))
    last = np.append(keys[order][1:] != keys[order][:-1], True)[: len(order)]
    return np.sort(order[last])


def _halves(digests: NDArray[np.void]) -> NDArray[np.uint64]:
    return np.ascontiguousarray(digests).view("<u8").reshape(-1, 2)
