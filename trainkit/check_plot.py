"""The run drawn before it starts: learning rates, phases, what happens to captions; buckets and crops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from captionkit import Curve
from trainkit.check_bucket_plot import draw_buckets, draw_crops
from trainkit.config import RunConfig, caption_pipeline
from trainkit.errors import TrainkitError
from trainkit.optim import PARTS, PartName, learning_rate
from trainkit.phases import Phase
from trainkit.whole_file import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_POINTS = 400
"""Places at which each phase is looked at."""
_MOST_RATES = 9
"""Caption rates that are drawn; those that change come first."""

_COLOURS = ("#3366aa", "#cc6633", "#338855", "#aa3377", "#887722", "#5599bb", "#774499", "#bb4444", "#555555")
_SHADES = ("#eef2f8", "#f8f3ea", "#eef6ee", "#f6eef4")


def draw_plan(
    run: RunConfig, phases: tuple[Phase, ...], abouts: Sequence[dict[str, Any]], path: Path
) -> None:
    """Write the picture; ``abouts`` is what `about_buckets` says of each phase.

    Raises TrainkitError when it cannot be written, or its suffix is no picture's."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplot_mosaic(
        [["rates", "rates"], ["captions", "captions"], ["buckets", "crops"]],
        figsize=(11, 12),
        height_ratios=[1, 1, 1.1],
        layout="constrained",
    )
    above, below = panels["rates"], panels["captions"]
    below.sharex(above)
    above.tick_params(labelbottom=False)
    try:
        per, unit = _unit(phases[-1].end)
        for axes in (above, below):
            _shade(axes, phases, per)
        _draw_learning_rates(above, run, phases, per)
        _draw_caption_rates(below, phases, per)
        _number_phases(above, phases, per)
        below.set_xlabel(f"samples seen{unit}; {phases[0].plan.num_pictures:,} pictures")
        above.set_xlim(0, phases[-1].end / per)
        draw_buckets(panels["buckets"], abouts, _COLOURS)
        draw_crops(panels["crops"], abouts, _COLOURS)
        figure.suptitle(_heading(phases), x=0.01, ha="left", fontsize=11)
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial:
            figure.savefig(partial, dpi=130, format=path.suffix.removeprefix(".") or "png")
    except (OSError, ValueError) as error:
        raise TrainkitError(f"the plan cannot be drawn to {path}: {error}") from error
    finally:
        plt.close(figure)


def _unit(total: int) -> tuple[float, str]:
    if total >= 2_000_000:
        return 1e6, " (millions)"
    return (1e3, " (thousands)") if total >= 20_000 else (1.0, "")


def _places(phase: Phase) -> list[int]:
    """Samples seen at whole optimizer steps of a phase, first and last among them."""
    steps = np.unique(np.linspace(0, phase.steps - 1, _POINTS).astype(np.int64))
    return [phase.first_sample + int(step) * phase.group for step in steps]


def _over(phases: tuple[Phase, ...], value: Callable[[Phase, int], float]) -> tuple[list[int], list[float]]:
    """(samples seen, value) over the whole run, with an upright line where a phase changes it."""
    xs, ys = list[int](), list[float]()
    for phase in phases:
        places = _places(phase)
        xs += [*places, phase.end]
        ys += [value(phase, at) for at in places]
        ys.append(ys[-1])
    return xs, ys


def _draw_learning_rates(axes: Axes, run: RunConfig, phases: tuple[Phase, ...], per: float) -> None:
    total = phases[-1].end
    parts: list[PartName] = [name for name in PARTS if name == "unet" or run.model.train_text_encoder]
    for part, colour in zip(parts, _COLOURS, strict=False):

        def rate(phase: Phase, at: int, part: PartName = part) -> float:
            own = phase.run.optim
            frozen = own.part(part).is_frozen(at, phase.pass_length)
            return float("nan") if frozen else learning_rate(own, part, phase.clock(at, total))

        xs, ys = _over(phases, rate)
        # Each step's rate holds until the next: a part that freezes falls at once.
        axes.plot(
            [x / per for x in xs], ys, color=colour, label=part.replace("_", " "), drawstyle="steps-post"
        )
    axes.set_yscale("log")
    # A rate that falls to 0 would stretch a logarithmic axis without end.
    highest = max((line.get_ydata().max() for line in _finite(axes)), default=1.0)
    axes.set_ylim(highest / 3000, highest * 2)
    axes.set_ylabel("learning rate")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)


def _finite(axes: Axes) -> list[Any]:
    for line in axes.get_lines():
        line.set_ydata(np.nan_to_num(np.asarray(line.get_ydata(), dtype=float), nan=0.0))
    return list(axes.get_lines())


def _draw_caption_rates(axes: Axes, phases: tuple[Phase, ...], per: float) -> None:
    of_phase = [caption_pipeline(phase.run).rates() for phase in phases]
    lines: list[tuple[bool, str, list[int], list[float]]] = []
    for name in dict.fromkeys(name for rates in of_phase for name in rates):

        def rate(phase: Phase, at: int, name: str = name) -> float:
            value = of_phase[phase.number - 1].get(name, float("nan"))
            if not isinstance(value, Curve):
                return float(value)
            epoch = phase.plan.epoch_of((at - phase.first_sample) // phase.plan.batch)
            return value.at(epoch if value.over == "epoch" else at)

        xs, ys = _over(phases, rate)
        lines.append((max(ys) > min(ys), name, xs, ys))
    lines.sort(key=lambda line: not line[0])
    for (changes, name, xs, ys), colour in zip(lines[:_MOST_RATES], _COLOURS, strict=False):
        style = {"linewidth": 2.0} if changes else {"linewidth": 1.0, "linestyle": "--"}
        said = name.replace("#0", "") + ("" if changes else f" = {ys[0]:g}")
        axes.plot([x / per for x in xs], ys, color=colour, label=said, **style)
    axes.set_ylabel("caption rates")
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)
    if len(lines) > _MOST_RATES:
        axes.set_title(f"{_MOST_RATES} of {len(lines)} rates", fontsize=9, loc="right", color="#666666")


def _shade(axes: Axes, phases: tuple[Phase, ...], per: float) -> None:
    for phase in phases:
        shade = _SHADES[(phase.number - 1) % len(_SHADES)]
        axes.axvspan(phase.first_sample / per, phase.end / per, color=shade, zorder=0, linewidth=0)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)


def _number_phases(axes: Axes, phases: tuple[Phase, ...], per: float) -> None:
    """Each phase's number above it, however narrow it is."""
    for phase in phases if len(phases) > 1 else ():
        axes.annotate(
            str(phase.number),
            ((phase.first_sample + phase.end) / 2 / per, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            color="#333333",
        )


def _heading(phases: tuple[Phase, ...]) -> str:
    """The length of the run, and a line for each phase."""
    lines = [f"{phases[-1].first_step + phases[-1].steps:,} optimizer steps, {phases[-1].end:,} samples"]
    for phase in phases:
        number = f"{phase.number}  {phase.name}: " if len(phases) > 1 else ""
        lines.append(
            f"{number}{phase.steps:,} steps of {phase.group}, {phase.run.data.buckets.resolution} pixels, "
            f"{phase.run.optim.optimizer}"
        )
    return "\n".join(lines)
