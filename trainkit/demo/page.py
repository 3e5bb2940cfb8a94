"""The demo's page: one self-contained HTML file, light and dark, that works offline."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from captionkit import CaptionPipeline, Record
from trainkit.config import RunConfig
from trainkit.demo.dataset import judged_prompts
from trainkit.demo.scenes import FIGURE_COLOURS, Scene
from trainkit.grid import picture_grid
from trainkit.log import read_log
from trainkit.sample import save_picture
from trainkit.train import Result

_SHOWN_RECORDS = 6
_SHOWN_DRAWS = 4


def write_page(
    out: Path,
    run: RunConfig,
    result: Result,
    scenes: list[Scene],
    before: list[Image.Image],
    after: list[Image.Image],
    shown: list[str | None],
    summary: dict[str, Any],
) -> Path:
    """Write ``out``/index.html and, beside it, the same facts as files; returns the page."""
    asked = judged_prompts()
    write_captions(out / "captions.jsonl", result)
    save_picture(picture_grid(after, [prompt for prompt, _ in asked], columns=8), out / "samples.png")
    curve = loss_curve(read_log(run.out / "log.jsonl"))
    (out / "loss.svg").write_text(curve, encoding="utf-8")
    previews = sorted((run.out / "previews").glob("*.png"))
    cards = [
        {
            "prompt": prompt,
            "asked": colour,
            "shown": name,
            "before": _png(b),
            "after": _png(a),
            "right": colour == name,
        }
        for (prompt, colour), name, b, a in zip(asked, shown, before, after, strict=True)
    ]
    template = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    ).get_template("page.html")
    html = template.render(
        summary=summary,
        cards=cards,
        colours={name: "#{:02x}{:02x}{:02x}".format(*rgb) for name, rgb in FIGURE_COLOURS.items()},
        curve=curve,
        sheet=_png(Image.open(previews[-1])) if previews else None,
        records=[_explained(result.pipelines[0], p.record, Path(p.place.path)) for p in _interesting(result)],
        flips=_flips(result),
        num_scenes=len(scenes),
        run=run,
        run_file=(out / "run.toml").read_text(encoding="utf-8"),
        recipe_file=(out / "recipe.toml").read_text(encoding="utf-8"),
    )
    page = out / "index.html"
    page.write_text(html, encoding="utf-8")
    return page


def write_captions(path: Path, result: Result, *, most: int = 2000) -> None:
    """The first captions as trained, one JSON object a line, in the order in which they were seen."""
    plan = result.phases[0].plan
    total = result.samples_seen // plan.batch
    with path.open("w", encoding="utf-8") as file:
        for number in range(min(total, -(-most // plan.batch))):
            for draw in plan[number].draws:
                record = result.data.pictures[draw.picture].record
                seen = result.pipelines[0].render(record, epoch=draw.epoch)
                line = {
                    "sample": draw.sample,
                    "id": record.id,
                    "epoch": draw.epoch,
                    "text": seen.text,
                    "flip": seen.flip,
                }
                file.write(json.dumps(line, ensure_ascii=False) + "\n")


def loss_curve(entries: list[dict[str, Any]]) -> str:
    """Loss and learning rates over samples seen, as an SVG that takes the page's own text colour."""
    from matplotlib.figure import Figure

    x = [e["samples"] for e in entries]
    loss = [e["loss"] for e in entries]
    width = max(1, len(loss) // 40)
    smooth = [
        sum(loss[max(0, i - width) : i + 1]) / len(loss[max(0, i - width) : i + 1]) for i in range(len(loss))
    ]
    figure = Figure(figsize=(8.4, 3.0), layout="constrained")
    axes = figure.subplots()
    axes.plot(x, loss, color="#8aa4c8", alpha=0.35, linewidth=0.8)
    axes.plot(x, smooth, color="#3b78c2", linewidth=1.8, label="loss (weighted v), smoothed")
    axes.set_xlabel("samples seen")
    axes.set_ylabel("loss")
    rates = axes.twinx()
    rates.plot(
        x,
        [e["lr_unet"] for e in entries],
        color="#c97b2a",
        linewidth=1.2,
        linestyle="--",
        label="learning rate, UNet",
    )
    rates.set_ylabel("learning rate")
    rates.set_ylim(bottom=0)
    handles = [*axes.get_legend_handles_labels()[0], *rates.get_legend_handles_labels()[0]]
    axes.legend(handles=handles, loc="upper right", frameon=False)
    for side in (*axes.spines.values(), *rates.spines.values()):
        side.set_color("#88888888")
    figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    svg = buffer.getvalue()
    # Matplotlib's black text becomes the page's own colour, so that the plot can be read on dark ground.
    return (
        svg[svg.index("<svg") :]
        .replace("#000000", "currentColor")
        .replace("<svg ", '<svg style="max-width:100%;height:auto" ', 1)
    )


def _interesting(result: Result) -> list[Any]:
    """A few pictures that show much: with prose, with an asymmetry, with words, a pair, a sequence."""
    wanted = ("text", "asymmetrical", "sequence", "2_shapes", "big_", "1_shape")
    chosen: list[Any] = []
    for word in wanted:
        fitting = [
            p
            for p in result.data.pictures
            if any(t.name.startswith(word) for t in p.record.tags) and p not in chosen
        ]
        fitting.sort(key=lambda p: not p.record.prose)
        chosen += fitting[:1]
    return chosen[:_SHOWN_RECORDS]


def _explained(pipeline: CaptionPipeline, record: Record, path: Path) -> dict[str, Any]:
    """One record with several captions as trained and what happened to each of its tags."""
    draws = []
    for epoch in range(_SHOWN_DRAWS):
        seen = pipeline.explain(record, epoch=epoch)
        final = seen.trace[-1].after
        kept = {tag.name for tag in final.tags} if "tag" in seen.source or "both" in seen.source else set()
        draws.append(
            {
                "text": seen.text,
                "source": seen.source,
                "flip": seen.flip,
                "kept": kept,
                "why": seen.trace[-1].reason,
            }
        )
    return {
        "id": record.id,
        "picture": _png(Image.open(path)),
        "tags": [tag.name for tag in record.tags],
        "prose": [prose.text for prose in record.prose],
        "may_flip": pipeline.may_flip(record),
        "draws": draws,
    }


def _flips(result: Result) -> dict[str, Any]:
    """How many pictures may be mirrored, and which pattern forbids how many of the others."""
    reasons: dict[str, int] = {}
    for picture in result.data.pictures:
        if not picture.may_flip:
            veto = result.pipelines[0].flip.veto(picture.record) or "?"
            reasons[veto] = reasons.get(veto, 0) + 1
    top = sorted(reasons.items(), key=lambda item: -item[1])[:8]
    return {
        "allowed": sum(p.may_flip for p in result.data.pictures),
        "of": len(result.data.pictures),
        "reasons": top,
    }


def _png(image: Image.Image) -> str:
    """A picture as a data address."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
