"""The plots of an evaluation: what each threshold is worth, and whether scores mean what they say."""

from __future__ import annotations

from markupsafe import Markup

from trainkit.pages import inline_svg
from trainkit.tagging.calibration import Bin
from trainkit.tagging.curves import TagCurve
from trainkit.tagging.evaluation import Calibration

_BLUE, _ORANGE, _GRAY = "#3b78c2", "#d07a1f", "#8a8f99"


def curve_plot(curve: TagCurve) -> Markup:
    """Precision over recall; dashed what guessing gets, a dot at the best F1."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.4, 2.5), layout="constrained")
    axes = figure.subplots()
    recalls = [point.recall for point in curve.points]
    precisions = [point.precision for point in curve.points]
    axes.plot(recalls, precisions, color=_BLUE, linewidth=1.8)
    axes.axhline(curve.positives / curve.pictures, color=_GRAY, linewidth=1, linestyle="--")
    best = None if curve.best_f1_threshold is None else curve.at(curve.best_f1_threshold)
    if best is not None:
        axes.plot([best.recall], [best.precision], "o", color=_ORANGE, markersize=5)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.03), xlabel="recall", ylabel="precision")
    axes.spines[["top", "right"]].set_visible(False)
    return inline_svg(figure, f"precision and recall of {curve.tag}")


def reliability_plot(calibration: Calibration) -> Markup:
    """The share that is right over the score, before and after; on the dashed line both are the same."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2, 3.4), layout="constrained")
    axes, bars = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    axes.plot([0, 1], [0, 1], color=_GRAY, linewidth=1, linestyle="--")
    for bins, color, label in (
        (calibration.before, _ORANGE, f"as it is: error {calibration.error_before:.3f}"),
        (calibration.after, _BLUE, f"temperature {calibration.tried:.2f}: {calibration.error_after:.3f}"),
    ):
        axes.plot(
            [one.score for one in bins],
            [one.right for one in bins],
            "o-",
            color=color,
            markersize=3.5,
            linewidth=1.5,
            label=label,
        )
    axes.set(ylabel="share that is right", xlim=(-0.02, 1.02), ylim=(-0.02, 1.03))
    axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0)
    _counts(bars, calibration.after)
    for one in (axes, bars):
        one.spines[["top", "right"]].set_visible(False)
    return inline_svg(figure, f"reliability {calibration.group}")


def _counts(axes: object, bins: tuple[Bin, ...]) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)
    axes.bar([one.score for one in bins], [one.count for one in bins], width=0.04, color=_BLUE)
    axes.set(xlabel="score", ylabel="pairs", yscale="log")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.minorticks_off()  # Within one power of ten, numbers would stand on top of each other.
