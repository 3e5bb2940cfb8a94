"""Buckets drawn: their shapes with what they hold, and what the crop takes of the pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from trainkit.check_buckets import CROP_BINS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LARGEST = 260.0
"""Area of the marker of the fullest bucket, in points squared."""
_GRID = "#dddddd"


def draw_buckets(axes: Axes, abouts: Sequence[dict[str, Any]], colours: Sequence[str]) -> None:
    """Each bucket as a disc at its width and height, its area the share of pictures in it; a cross marks one
    that waits for several passes until it fills a micro-batch."""
    shown = _distinct(abouts)
    longest = max(max(b["width"], b["height"]) for about, _ in shown for b in about["buckets"])
    for (about, _), colour in zip(shown, colours, strict=False):
        buckets = about["buckets"]
        most = max(b["pictures"] for b in buckets)
        side = about["resolution"]
        limit = np.linspace(side * side / (1.1 * longest), 1.1 * longest, 200)
        axes.plot(limit, side * side / limit, color=colour, linewidth=0.8, linestyle=":", zorder=1)
        axes.scatter(
            [b["width"] for b in buckets],
            [b["height"] for b in buckets],
            [max(3.0, _LARGEST * b["pictures"] / most) for b in buckets],
            color=colour,
            alpha=0.45,
            linewidths=0,
            zorder=2,
        )
        waiting = [b for b in buckets if b["batches"] < 1]
        axes.scatter(
            [b["width"] for b in waiting],
            [b["height"] for b in waiting],
            22,
            color=colour,
            marker="x",
            linewidths=1.0,
            zorder=3,
        )
    axes.set_xlim(0, 1.1 * longest)
    axes.set_ylim(0, 1.1 * longest)
    axes.set_box_aspect(1)
    axes.set_xlabel("width of the bucket (pixels)")
    axes.set_ylabel("height (pixels)")
    axes.set_title("buckets; discs by pictures, dotted: all of the area", fontsize=9, loc="left")
    axes.grid(color=_GRID, linewidth=0.6, zorder=0)


def draw_crops(axes: Axes, abouts: Sequence[dict[str, Any]], colours: Sequence[str]) -> None:
    """How many pictures lose how much of their area."""
    shown = _distinct(abouts)
    edges = np.arange(CROP_BINS + 1) / 2
    reached = 5.0
    for (about, names), colour in zip(shown, colours, strict=False):
        counts = np.array(about["crop"]["histogram"], dtype=np.float64)
        share = 100 * counts / max(1.0, counts.sum())
        # A few pictures of extreme shape would press all others together.
        reached = max(reached, edges[np.searchsorted(np.cumsum(share), 99.7) + 1])
        axes.stairs(share, edges, color=colour, fill=True, alpha=0.25)
        axes.stairs(share, edges, color=colour, linewidth=1.2)
        axes.axvline(100 * about["crop"]["p95"], color=colour, linewidth=1.0, linestyle="--")
        axes.plot([], [], color=colour, linewidth=4, label=_told(about, names))
    axes.set_xlim(0, min(edges[-1], reached))
    axes.set_ylim(bottom=0)
    axes.set_box_aspect(1)
    axes.set_xlabel("cut off of a picture's area (%)")
    axes.set_ylabel("pictures (%)")
    axes.set_title("what the crop takes; dashed: 1 in 20 loses more", fontsize=9, loc="left")
    axes.grid(axis="y", color=_GRID, linewidth=0.6)
    axes.legend(
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
        frameon=False,
        fontsize=8,
        labelspacing=1.2,
        handlelength=1,
    )


def _told(about: dict[str, Any], names: str) -> str:
    waiting = sum(b["batches"] < 1 for b in about["buckets"])
    crop = about["crop"]
    return "\n".join(
        [
            f"{names}, {about['resolution']} pixels",
            f"{len(about['buckets'])} buckets" + (f", {waiting} wait (x)" if waiting else ""),
            f"crop {1 - about['kept_after_crop']:.1%} on average,",
            f"1 in 20 over {crop['p95']:.1%}, one {crop['most']:.0%}",
            f"{about['area_used']:.0%} of the area used",
            f"{about['enlarged_share']:.1%} are enlarged",
            *([f"{len(about['merged'])} merged away"] if about["merged"] else []),
        ]
    )


def _distinct(abouts: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], str]]:
    """Phases with other buckets than those before, each with the numbers of all that share them."""
    shown: list[tuple[dict[str, Any], list[str]]] = []
    for number, about in enumerate(abouts, start=1):
        of = [(b["width"], b["height"], b["pictures"]) for b in about["buckets"]]
        for other, names in shown:
            if of == [(b["width"], b["height"], b["pictures"]) for b in other["buckets"]]:
                names.append(str(number))
                break
        else:
            shown.append((about, [str(number)]))
    if len(abouts) == 1:
        return [(about, "the run") for about in abouts]
    return [(about, f"phase{'s' * (len(names) > 1)} {', '.join(names)}") for about, names in shown]
