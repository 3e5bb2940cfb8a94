"""What ``trainkit check`` tells of buckets: what they hold, what they cost, and how text is filled up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainkit.buckets import kept_shares
from trainkit.phases import Phase

CROP_BINS = 100
"""Bins of the histogram of what the crop takes: 0.5 % of the area each, the last with all above."""
_AT_ONCE = 1 << 18
_LEAST_USED = 0.9
"""A smaller share of the area is warned of."""


def about_buckets(phase: Phase, sizes: NDArray[np.int32]) -> dict[str, Any]:
    """The buckets of a phase over pictures of these sizes, [N, 2]."""
    placement, plan = phase.placement, phase.plan
    pictures = placement.counts
    draws = np.bincount(placement.index, weights=plan.weights, minlength=len(pictures))
    filled = [i for i in np.flatnonzero(pictures).tolist() if draws[i]]
    filled.sort(key=lambda i: placement.buckets[i][0] / placement.buckets[i][1])
    lost = crop_losses(phase, sizes)
    return {
        "resolution": phase.run.data.buckets.resolution,
        "no_upscale": phase.run.data.buckets.no_upscale,
        "buckets": [
            {
                "width": placement.buckets[i][0],
                "height": placement.buckets[i][1],
                "pictures": int(pictures[i]),
                "batches": round(float(draws[i]) / plan.batch, 2),
            }
            for i in filled
        ],
        "merged": [str(merged) for merged in placement.merged],
        "pass": {
            "samples": round(plan.mean_pass),
            "batches": round(plan.mean_pass / plan.batch, 2),
            "most_draws": round(float(plan.weights.max()), 3) if plan.weights is not None else 1,
        },
        "enlarged": placement.enlarged,
        "enlarged_share": round(placement.enlarged / max(1, len(sizes)), 4),
        "kept_after_crop": round(placement.kept, 4),
        "crop": {
            "median": round(float(np.median(lost)), 4),
            "p95": round(float(np.quantile(lost, 0.95)), 4),
            "most": round(float(lost.max()), 4),
            "histogram": np.bincount(
                np.minimum((lost * 200).astype(np.int64), CROP_BINS - 1), minlength=CROP_BINS
            ).tolist(),
        },
        "area_used": round(placement.used, 4),
    }


def crop_losses(phase: Phase, sizes: NDArray[np.int32]) -> NDArray[np.float32]:
    """[N]: the share of each picture's area that its crop takes."""
    table = np.array(phase.placement.buckets, dtype=np.float64)
    lost = np.empty(len(sizes), dtype=np.float32)
    for first in range(0, len(sizes), _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        lost[part] = 1 - kept_shares(sizes[part], table[phase.placement.index[part]])
    return lost


def padded_share(chunks: Sequence[int], batch: int, window: int) -> float:
    """The share of chunks that are padding when captions of so many chunks are trained in micro-batches of
    ``batch``, ``window`` of which are sorted together (0: none are)."""
    together = batch * max(1, window)
    mixed = np.random.default_rng(0).permutation(np.array(chunks, dtype=np.int64))
    mixed = np.resize(mixed, max(together, len(mixed) // together * together))
    most = np.sort(mixed.reshape(-1, together), axis=1).reshape(-1, batch).max(axis=1)
    return 1 - float(mixed.sum()) / float(most.sum() * batch)


def describe_buckets(about: dict[str, Any], same_as: str | None) -> Iterator[str]:
    """As lines for a terminal. ``same_as`` names a phase with the same buckets, which need not be shown
    again."""
    passed = about["pass"]
    if passed["most_draws"] != 1:
        yield (
            f"pass       {passed['samples']:,} samples; the picture drawn most often is drawn "
            f"{passed['most_draws']:g} times in it"
        )
    yield (
        f"crop       {about['kept_after_crop']:.1%} of the pictures' area kept, {about['area_used']:.0%} of "
        f"the resolution {about['resolution']} used, {about['enlarged']} pictures enlarged "
        f"({about['enlarged_share']:.1%})"
    )
    yield (
        f"           a picture loses {about['crop']['median']:.1%} in the middle, 1 in 20 more than "
        f"{about['crop']['p95']:.1%}, one {about['crop']['most']:.1%}"
    )
    if about["area_used"] < _LEAST_USED and not about["no_upscale"]:
        yield "           warning: less than 90 % of the area is used; raise data.buckets.max_side"
    yield from (f"     note  {merged}" for merged in about["merged"])
    if same_as is not None:
        yield f"buckets    those of {same_as}"
        return
    most = max(bucket["pictures"] for bucket in about["buckets"])
    yield f"buckets    {len(about['buckets'])}, {passed['batches']:,g} micro-batches in a pass"
    for b in about["buckets"]:
        bar = "#" * max(1, round(24 * b["pictures"] / most))
        waits = f"  waits {1 / b['batches']:.0f} passes for a batch" if b["batches"] <= 0.5 else ""
        size = f"{b['width']:>5} x {b['height']:<5}"
        yield f"{'':<10} {size} {b['pictures']:>8} {b['batches']:>10,g}  {bar:<24}{waits}".rstrip()
