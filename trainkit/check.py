"""``trainkit check``: read everything, touch nothing, tell what would happen."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from captionkit import CaptionPipeline
from trainkit.batches import BatchPlan
from trainkit.buckets import area_used
from trainkit.config import RunConfig, caption_pipeline
from trainkit.errors import TrainkitError
from trainkit.model_folder import check_model_folder
from trainkit.models import load_tokenizer
from trainkit.optim import require_package
from trainkit.pictures import DataSet, read_data
from trainkit.plan import count_steps
from trainkit.sample import check_prompts
from trainkit.text import Tokens

_DRAWS = 2000
"""Captions rendered to count their tokens; a share of 5 % is then known to within 1 %."""


def check_run(
    run: RunConfig, *, devices: int = 1, progress: bool = False
) -> tuple[dict[str, Any], list[str]]:
    """(what would happen, everything that is wrong). Nothing is written.

    Problems of the model, the recipe and the data are all looked for, so that one check shows all of them.
    """
    problems = [f"model.base: {p}" for p in check_model_folder(run.model.base)]
    try:
        require_package(run.optim)
    except TrainkitError as error:
        problems.append(str(error))
    report: dict[str, Any] = {}
    pipeline: CaptionPipeline | None = None
    tokens: Tokens | None = None
    try:
        pipeline = caption_pipeline(run)
    except TrainkitError as error:
        problems.append(str(error))
    if not problems:
        try:
            tokens = Tokens(load_tokenizer(run.model.base), run.text.max_tokens, run.text.backtrack)
            check_prompts(run.preview, tokens)
        except TrainkitError as error:
            problems.append(str(error))
    if pipeline is not None and tokens is not None:
        pipeline = pipeline.with_counter(tokens.count)
    try:
        data = read_data(run.data, pipeline or CaptionPipeline(), progress=progress)
    except TrainkitError as error:
        return report, [*problems, str(error)]
    report["data"] = _about_data(run, data)
    report["buckets"] = _about_buckets(data)
    try:
        report["run"] = _about_run(run, data, devices)
    except TrainkitError as error:
        problems.append(str(error))
    if pipeline is not None and tokens is not None:
        report["captions"] = _about_captions(data, pipeline, tokens)
    return report, problems


def _about_data(run: RunConfig, data: DataSet) -> dict[str, Any]:
    used = area_used(run.data.buckets, [p.fit.bucket for p in data.pictures])
    count = len(data.pictures)
    return {
        "pictures": count,
        "skipped": [{"name": s.name, "reason": s.reason} for s in data.skipped],
        "enlarged": data.too_small,
        "may_be_mirrored": round(sum(p.may_flip for p in data.pictures) / count, 4),
        "with_prose": round(sum(bool(p.record.prose) for p in data.pictures) / count, 4),
        "kept_after_crop": round(sum(p.fit.kept for p in data.pictures) / count, 4),
        "area_used": round(used, 4),
    }


def _about_buckets(data: DataSet) -> list[dict[str, Any]]:
    counts = Counter(p.fit.bucket for p in data.pictures)
    ordered = sorted(counts, key=lambda size: size[0] / size[1])
    return [{"width": w, "height": h, "pictures": counts[w, h]} for w, h in ordered]


def _about_run(run: RunConfig, data: DataSet, devices: int) -> dict[str, Any]:
    batch = run.batch * devices
    plan = BatchPlan([p.fit.bucket for p in data.pictures], batch, run.seed)
    steps = count_steps(run, plan)
    samples = steps * batch * run.accumulate
    done = run.out / "checkpoints"
    found = sorted(p.name for p in done.iterdir() if p.name.isdigit()) if done.is_dir() else []
    return {
        "devices": devices,
        "batch": f"{run.batch} per device x {run.accumulate} accumulated x {devices} = {samples // steps}",
        "optimizer_steps": steps,
        "samples": samples,
        "epochs": round(samples / len(data.pictures), 3),
        "goes_on_from": int(found[-1]) if found else 0,
    }


def _about_captions(data: DataSet, pipeline: CaptionPipeline, tokens: Tokens) -> dict[str, Any]:
    count = len(data.pictures)
    rounds = max(1, min(50, _DRAWS // count))
    stride = max(1, count // _DRAWS)
    drawn = [
        pipeline.render(p.record, epoch=epoch) for epoch in range(rounds) for p in data.pictures[::stride]
    ]
    lengths = sorted(tokens.count(r.text) for r in drawn)
    chunks = Counter(max(1, -(-n // tokens.chunk)) for n in lengths)
    sources = Counter(r.source for r in drawn)
    return {
        "drawn": len(drawn),
        "tokens": {
            "median": lengths[len(lengths) // 2],
            "p95": lengths[int(len(lengths) * 0.95)],
            "most": lengths[-1],
        },
        "chunks": {str(n): round(chunks[n] / len(drawn), 4) for n in sorted(chunks)},
        "sources": {name: round(n / len(drawn), 4) for name, n in sources.most_common()},
        "mirrored": round(sum(r.flip for r in drawn) / len(drawn), 4),
        "examples": [r.text for r in drawn[:3]],
    }


def describe(report: dict[str, Any], out: Path) -> str:
    """A report as text for a terminal."""
    lines: list[str] = []
    if data := report.get("data"):
        lines += [
            f"pictures   {data['pictures']} usable, {len(data['skipped'])} skipped, {data['enlarged']} "
            "smaller than their bucket",
            f"           {data['may_be_mirrored']:.0%} may be mirrored, {data['with_prose']:.0%} have "
            "captions in prose",
            f"           {data['kept_after_crop']:.1%} of their area kept by the crop, "
            f"{data['area_used']:.0%} of the resolution used",
        ]
        if data["area_used"] < 0.9:
            lines.append(
                "           warning: less than 90 % of the area is used; raise data.buckets.max_side"
            )
        lines += [f"  skipped  {s['name']}: {s['reason']}" for s in data["skipped"][:10]]
    if buckets := report.get("buckets"):
        most = max(b["pictures"] for b in buckets)
        for i, b in enumerate(buckets):
            bar = "#" * max(1, round(24 * b["pictures"] / most))
            lines.append(
                f"{'buckets' if i == 0 else '':<10} {b['width']:>5} x {b['height']:<5} {b['pictures']:>8}  "
                f"{bar}"
            )
    if run := report.get("run"):
        lines += [
            f"batch      {run['batch']} samples per optimizer step",
            f"length     {run['optimizer_steps']} optimizer steps, {run['samples']} samples, {run['epochs']} "
            "epochs",
            f"           writes to {out}"
            + (f", going on from {run['goes_on_from']} samples" if run["goes_on_from"] else ""),
        ]
    if captions := report.get("captions"):
        t = captions["tokens"]
        lines.append(
            f"captions   {t['median']} tokens in the middle, 95 % under {t['p95'] + 1}, longest {t['most']}"
        )
        lines.append(
            "           chunks of 75: "
            + ", ".join(f"{n}: {share:.1%}" for n, share in captions["chunks"].items())
        )
        lines.append(
            "           " + ", ".join(f"{name}: {share:.1%}" for name, share in captions["sources"].items())
        )
        lines += [f"           | {text or '(empty)'}" for text in captions["examples"]]
    return "\n".join(lines)
