"""Pictures that are there twice: with the same bytes, or with nearly the same perceptual hash."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

NONE = -1
"""No row."""

_LONGEST_RUN = 1024
"""Hashes that agree in two bands are compared with so many neighbours at most; more come from pictures that
were made for it."""


def first_of_same(values: NDArray[np.bytes_] | NDArray[np.uint64]) -> NDArray[np.int64]:
    """[N]: for every row the first row of the same value before it, NONE for those that are the first."""
    _, first, group = np.unique(values, return_index=True, return_inverse=True)
    found: NDArray[np.int64] = first[group].astype(np.int64)
    found[found == np.arange(len(values))] = NONE
    return found


def first_of_near(hashes: NDArray[np.uint64], distance: int) -> NDArray[np.int64]:
    """[N]: for every row the first row before it whose hash differs in ``distance`` bits or fewer, else NONE.

    Of hashes cut into distance + 2 bands, two that are near agree in two bands at least, so only those that
    agree in some two bands are compared: 15 sorts for distance 4 in place of all pairs.
    """
    different, rows, group = np.unique(hashes, return_index=True, return_inverse=True)
    first = rows.astype(np.int64)  # Of each different hash: the first row that is near, at last.
    bands = np.array_split(np.arange(64, dtype=np.uint64), distance + 2)
    masks = [np.bitwise_or.reduce(np.uint64(1) << band) for band in bands]
    for one, other in combinations(masks, 2):
        _compare(different, rows, first, one | other, distance)
    found = first[group]
    found[found >= np.arange(len(hashes))] = NONE
    return found


def _compare(
    different: NDArray[np.uint64],
    rows: NDArray[np.int64],
    first: NDArray[np.int64],
    mask: np.uint64,
    distance: int,
) -> None:
    """Lower ``first`` for all hashes that agree under a mask and are near."""
    order = np.argsort(different & mask, kind="stable")
    keys = (different & mask)[order]
    left = np.arange(len(order))
    for step in range(1, _LONGEST_RUN):
        left = left[left + step < len(order)]
        left = left[keys[left] == keys[left + step]]
        if not len(left):
            return
        a, b = order[left], order[left + step]
        near = np.bitwise_count(different[a] ^ different[b]) <= distance
        a, b = a[near], b[near]
        np.minimum.at(first, b, rows[a])
        np.minimum.at(first, a, rows[b])
