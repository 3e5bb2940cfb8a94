"""The page of a prepared manifest: one self-contained HTML file, light and dark, that works offline."""

from __future__ import annotations

import base64
import io
import math
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup
from PIL import Image, ImageOps

from captionkit.pictures import KINDS
from trainkit.amounts import gigabytes
from trainkit.pages import inline_svg
from trainkit.prepare.assemble import STEPS, Sums
from trainkit.prepare.look import look_at
from trainkit.prepare.places import Places
from trainkit.prepare.problems import Problem, UnusableError, is_fault, meaning
from trainkit.prepare.settings import PrepareConfig

_SIDE_PX = 144
_SIDES = (64, 128, 256, 512, 1024, 2048, 4096, 8192)
_ASPECTS = {-3: "1:8", -2: "1:4", -1: "1:2", 0: "1:1", 1: "2:1", 2: "4:1", 3: "8:1"}


def report_page(title: str, root: Path, config: PrepareConfig, sums: Sums, fingerprint: str) -> str:
    """The page's HTML. Of each problem the first pictures are shown, as far as they can be read."""
    places = Places(root)
    names = sorted(sums.problems, key=lambda name: (not is_fault(name), -sums.problems[name]))
    problems = [
        {
            "name": name,
            "count": sums.problems[name],
            "meaning": meaning(name),
            "fault": is_fault(name),
            "examples": [_example(places, problem, config.max_pixels) for problem in sums.examples[name]],
        }
        for name in names
    ]
    template = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    ).get_template("report.html")
    return template.render(
        title=title,
        sums=sums,
        size=gigabytes(sums.bytes),
        problems=problems,
        left_out_share=sums.left_out / max(1, sums.left_out + sums.rows),
        sides=_side_bars(sums.sides, config.min_side),
        aspects=_aspect_bars(sums.aspects, config.max_aspect),
        fingerprint=fingerprint,
        config=config,
    )


def _example(places: Places, problem: Problem, max_pixels: int) -> dict[str, object]:
    return {
        "name": problem.name,
        "detail": problem.detail,
        "left_out": problem.left_out,
        "picture": _thumbnail(places, problem.name, max_pixels),
        "like": problem.like,
        "like_picture": _thumbnail(places, problem.like, max_pixels) if problem.like else None,
    }


def _thumbnail(places: Places, name: str, max_pixels: int) -> str | None:
    """A small picture as a data address; None where none can be made."""
    try:
        data = places.find(name).read()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of odd metadata.
            look_at(data, max_pixels=max_pixels, decode=False)
            return _small(data)
    except (UnusableError, OSError, ValueError, SyntaxError, EOFError, MemoryError, RuntimeError):
        return None


def _small(data: bytes) -> str:
    with Image.open(io.BytesIO(data), formats=KINDS) as opened:
        opened.draft("RGB", (_SIDE_PX, _SIDE_PX))
        image = ImageOps.exif_transpose(opened)
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    image.thumbnail((_SIDE_PX, _SIDE_PX))
    written = io.BytesIO()
    image.save(written, "WEBP", quality=60)
    return "data:image/webp;base64," + base64.b64encode(written.getvalue()).decode("ascii")


def _side_bars(sides: Counter[int], min_side: int) -> Markup:
    """Pictures by their shorter side."""
    ticks = [(tick.bit_length() - 1, str(tick)) for tick in _SIDES]
    marks = [math.log2(min_side)] if min_side else []
    shifted = Counter({at + 0.5: count for at, count in sides.items()})  # A bar begins at its number.
    return _bars(shifted, ticks, marks, "shorter side, pixels", "--min-side")


def _aspect_bars(aspects: Counter[int], max_aspect: float) -> Markup:
    """Pictures by width over height."""
    end = math.log2(max_aspect)
    centred = Counter({float(at): count for at, count in aspects.items()})
    return _bars(centred, list(_ASPECTS.items()), [-end, end], "width : height", "--max-aspect")


def _bars(
    counts: Counter[float], ticks: Sequence[tuple[int, str]], marks: list[float], says: str, mark: str
) -> Markup:
    """A histogram for the page; places are log2."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0, 2.6), layout="constrained")
    axes = figure.subplots()
    places = [at / STEPS for at in counts]
    axes.bar(places, list(counts.values()), width=0.9 / STEPS, color="#3b78c2")
    low, high = min(places, default=0) - 0.5, max(places, default=0) + 0.5
    shown = [(at, text) for at, text in ticks if low <= at <= high]
    axes.set_xticks([at for at, _ in shown], [text for _, text in shown])
    for at in marks:
        if low <= at <= high:
            axes.axvline(at, color="#c97b2a", linewidth=1.2, linestyle="--", label=mark)
            mark = "_"  # Named once.
    axes.set_xlim(low, high)
    axes.set_xlabel(says)
    axes.set_ylabel("pictures")
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False)
    return inline_svg(figure, says)
