"""Buckets with too few pictures are given up, and their pictures go where they are cropped least."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainkit.buckets import BucketConfig, Placement, Size, kept_shares, measured, place
from trainkit.merged import Merged


def place_together(sizes: NDArray[np.int32], config: BucketConfig) -> Placement:
    """The bucket of every picture; none holds fewer than ``min_pictures``, unless it is the only one.

    The bucket with the fewest pictures is given up first, so that neighbours can fill each other up.
    """
    alone = place(sizes, config)
    counts = alone.counts
    if not ((counts > 0) & (counts < config.min_pictures)).any():
        return alone
    index, moved = alone.index.copy(), np.zeros(0, dtype=np.int64)
    while (counts > 0).sum() > 1:
        filled = np.flatnonzero(counts)
        fewest = int(filled[np.argmin(counts[filled])])
        if counts[fewest] >= config.min_pictures:
            break
        rows = np.flatnonzero(index == fewest)
        moved = np.union1d(moved, rows)
        others = filled[filled != fewest]
        index[rows] = others[_least_crop(sizes[rows], [alone.buckets[i] for i in others], config.no_upscale)]
        counts = np.bincount(index, minlength=len(counts))
    return measured(sizes, config, alone.buckets, index, _told(sizes, alone, index, moved))


def _least_crop(sizes: NDArray[np.int32], buckets: list[Size], no_upscale: bool) -> NDArray[np.int64]:
    """For each size the bucket with the nearest logarithm of the aspect ratio; ties go to the larger area.

    With ``no_upscale`` one within the picture if there is any; else ties go to the smaller area.
    """
    table = np.array(buckets)
    ratios, logs = np.log(table[:, 0] / table[:, 1]), np.log(sizes[:, 0] / sizes[:, 1])
    away = np.round(np.abs(logs[:, None] - ratios[None, :]), 9)
    larger = np.argsort(-table.prod(axis=1), kind="stable")
    smaller = np.argsort(table.prod(axis=1), kind="stable")
    if not no_upscale:
        return _first_least(away, larger)
    beyond = np.any(table[None, :, :] > sizes[:, None, :], axis=2)
    within = _first_least(np.where(beyond, np.inf, away), larger)
    return np.where(np.all(beyond, axis=1), _first_least(away, smaller), within)


def _first_least(away: NDArray[np.float64], order: NDArray[np.int64]) -> NDArray[np.int64]:
    """The column of each row's least value; of equal ones that which comes first in an order."""
    least: NDArray[np.int64] = order[np.argmin(away[:, order], axis=1)]
    return least


def _told(
    sizes: NDArray[np.int32], alone: Placement, index: NDArray[np.uint16], moved: NDArray[np.int64]
) -> tuple[Merged, ...]:
    """What became of every bucket that was given up."""
    table = np.array(alone.buckets, dtype=np.float64)
    before, found = alone.index[moved], []
    for bucket in np.unique(before).tolist():
        rows = moved[before == bucket]
        places, counts = np.unique(index[rows], return_counts=True)
        found.append(
            Merged(
                alone.buckets[bucket],
                len(rows),
                tuple((alone.buckets[i], n) for i, n in zip(places.tolist(), counts.tolist(), strict=True)),
                float(kept_shares(sizes[rows], table[alone.index[rows]]).mean()),
                float(kept_shares(sizes[rows], table[index[rows]]).mean()),
            )
        )
    return tuple(found)
