"""``trainkit check``: read everything, touch nothing, tell what would happen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from captionkit import CaptionPipeline
from trainkit.apart import split
from trainkit.check_buckets import about_buckets, describe_buckets, padded_share
from trainkit.config import RunConfig, caption_pipeline, phase_runs
from trainkit.errors import TrainkitError
from trainkit.model_folder import check_model_folder
from trainkit.models import load_tokenizer
from trainkit.optim import PARTS, PartName, find_optimizer, learning_rate
from trainkit.phases import Phase, make_phases, require_trained
from trainkit.picture import Picture
from trainkit.pictures import DataSet, read_data
from trainkit.prepared import changed_parts, is_prepared
from trainkit.repeats import repeats_of
from trainkit.sample import check_prompts
from trainkit.text import Tokens
from trainkit.windows import Chunks

_DRAWS = 2000
"""Captions rendered to count their tokens; a share of 5 % is then known to within 1 %."""


def check_run(
    run: RunConfig, *, devices: int = 1, progress: bool = False
) -> tuple[dict[str, Any], list[str], tuple[Phase, ...]]:
    """(what would happen, everything that is wrong, the phases if they can be planned). Nothing is written.

    Problems of the model, the recipe and the data are all looked for, so that one check shows all of them.
    """
    problems = [f"model.base: {p}" for p in check_model_folder(run.model.base)]
    tokens = None if problems else _tokens(run, problems)
    problems += _without_optimizer(run)
    pipelines = _pipelines(run, tokens, problems)
    report: dict[str, Any] = {}
    try:
        if is_prepared(run.data.path):
            problems += changed_parts(run.data.path)
        everything = read_data(run.data, pipelines or [CaptionPipeline()], progress=progress)
        data, apart = split(everything, run.validation)
    except TrainkitError as error:
        return report, [*problems, str(error)], ()
    seen = data.spread(_DRAWS)
    report["data"] = _about_data(data, seen) | {"held_out": len(apart.pictures)}
    try:
        repeats = repeats_of(run.data, data)
        counters = pipelines if tokens is not None else []
        chunks = [Chunks(data.pictures, pipeline, tokens) for pipeline in counters if tokens is not None]
        phases = make_phases(run, data.sizes, devices, weights=repeats.weights, chunks=chunks)
        require_trained(
            phases, {name: {} for name in PARTS if name == "unet" or run.model.train_text_encoder}
        )
    except TrainkitError as error:
        return report, [*problems, str(error)], ()
    report["data"]["notes"] += repeats.notes
    report["run"] = _about_run(run, data, phases, devices)
    report["phases"] = [
        _about_phase(phase, phases[-1].end, run.model.train_text_encoder) | about_buckets(phase, data.sizes)
        for phase in phases
    ]
    if tokens is not None:
        for about, phase, pipeline in zip(report["phases"], phases, pipelines, strict=False):
            about["captions"] = _about_captions(seen, phase, pipeline, tokens)
    return report, problems, phases


def _tokens(run: RunConfig, problems: list[str]) -> Tokens | None:
    try:
        tokens = Tokens(load_tokenizer(run.model.base), run.text.max_tokens, run.text.backtrack)
        check_prompts(run.preview, tokens)
    except TrainkitError as error:
        problems.append(str(error))
        return None
    return tokens


def _without_optimizer(run: RunConfig) -> list[str]:
    """Optimizers that cannot be imported, each told once."""
    found: dict[str, None] = {}
    for own in phase_runs(run):
        try:
            find_optimizer(own.optim)
        except TrainkitError as error:
            found[str(error)] = None
    return list(found)


def _pipelines(run: RunConfig, tokens: Tokens | None, problems: list[str]) -> list[CaptionPipeline]:
    """One per phase; none when a recipe is not valid."""
    found: list[CaptionPipeline] = []
    faults: dict[str, None] = {}
    for own in phase_runs(run):
        try:
            pipeline = caption_pipeline(own)
        except TrainkitError as error:
            faults[str(error)] = None
        else:
            found.append(pipeline if tokens is None else pipeline.with_counter(tokens.count))
    problems += faults
    return [] if faults else found


def _about_data(data: DataSet, seen: list[Picture]) -> dict[str, Any]:
    return {
        "pictures": len(data.pictures),
        "skipped": [{"name": s.name, "reason": s.reason} for s in data.skipped],
        "notes": list(data.notes),
        "looked_at": len(seen),
        "may_be_mirrored": round(sum(p.may_flip for p in seen) / max(1, len(seen)), 4),
        "with_prose": round(sum(bool(p.record.prose) for p in seen) / max(1, len(seen)), 4),
    }


def _about_run(run: RunConfig, data: DataSet, phases: tuple[Phase, ...], devices: int) -> dict[str, Any]:
    done = run.out / "checkpoints"
    found = sorted(p.name for p in done.iterdir() if p.name.isdigit()) if done.is_dir() else []
    return {
        "devices": devices,
        "optimizer_steps": phases[-1].first_step + phases[-1].steps,
        "samples": phases[-1].end,
        "epochs": round(phases[-1].end / phases[-1].plan.mean_pass, 3),
        "goes_on_from": int(found[-1]) if found else 0,
    }


def _about_phase(phase: Phase, total_samples: int, train_text: bool) -> dict[str, Any]:
    run, plan = phase.run, phase.plan
    parts: list[PartName] = [name for name in PARTS if name == "unet" or train_text]
    return {
        "name": phase.name,
        "optimizer_steps": phase.steps,
        "samples": phase.end - phase.first_sample,
        "epochs": round((phase.end - phase.first_sample) / plan.mean_pass, 3),
        "batch": f"{run.batch} per device x {run.accumulate} accumulated x {plan.batch // run.batch} = "
        f"{phase.group}",
        "optimizer": run.optim.optimizer,
        "learning_rates": {
            name: [
                None
                if run.optim.part(name).is_frozen(at, phase.pass_length)
                else learning_rate(run.optim, name, phase.clock(at, total_samples))
                for at in (phase.first_sample, phase.end - phase.group)
            ]
            for name in parts
        },
    }


def _about_captions(
    seen: list[Picture], phase: Phase, pipeline: CaptionPipeline, tokens: Tokens
) -> dict[str, Any]:
    """As they are where the phase begins."""
    if not seen:
        return {}
    rounds = max(1, min(50, _DRAWS // len(seen)))
    epoch, samples = phase.plan.epoch_of(0), phase.first_sample
    drawn = [
        pipeline.render(p.record, epoch=epoch + turn, samples=samples) for turn in range(rounds) for p in seen
    ]
    lengths = sorted(tokens.count(r.text) for r in drawn)
    needed = [tokens.num_chunks(r.text) for r in drawn]
    chunks, batch, window = Counter(needed), phase.plan.batch, phase.run.data.chunk_window
    sources = Counter(r.source for r in drawn)
    return {
        "drawn": len(drawn),
        "tokens": {
            "median": lengths[len(lengths) // 2],
            "p95": lengths[int(len(lengths) * 0.95)],
            "most": lengths[-1],
        },
        "chunks": {str(n): round(chunks[n] / len(drawn), 4) for n in sorted(chunks)},
        "padded": {str(n): round(padded_share(needed, batch, n), 4) for n in sorted({0, 4, window})},
        "chunk_window": window,
        "sources": {name: round(n / len(drawn), 4) for name, n in sources.most_common()},
        "mirrored": round(sum(r.flip for r in drawn) / len(drawn), 4),
        "examples": [r.text for r in drawn[:3]],
    }


def describe(report: dict[str, Any], out: str) -> str:
    """A report as text for a terminal."""
    lines: list[str] = []
    if data := report.get("data"):
        lines += [
            f"pictures   {data['pictures']} to train, {data['held_out']} held out for validation, "
            f"{len(data['skipped'])} skipped",
            f"           of {data['looked_at']} looked at {data['may_be_mirrored']:.0%} may be mirrored, "
            f"{data['with_prose']:.0%} have captions in prose",
            *(f"  skipped  {s['name']}: {s['reason']}" for s in data["skipped"][:10]),
            *(f"     note  {note}" for note in data["notes"]),
        ]
    if run := report.get("run"):
        from_where = f", going on from {run['goes_on_from']} samples" if run["goes_on_from"] else ""
        lines += [
            f"length     {run['optimizer_steps']} optimizer steps, {run['samples']} samples, "
            f"{run['epochs']} epochs on {run['devices']} device{'s' if run['devices'] > 1 else ''}",
            f"           writes to {out}{from_where}",
        ]
    phases = report.get("phases", [])
    for number, phase in enumerate(phases):
        lines += _describe_phase(phase, phases[:number], titled=len(phases) > 1)
    return "\n".join(lines)


def _rate(rate: float | None) -> str:
    return "frozen" if rate is None else f"{rate:.3g}"


def _describe_phase(phase: dict[str, Any], before: list[dict[str, Any]], *, titled: bool) -> Iterator[str]:
    """What is the same as in a phase before is told once."""
    if titled:
        yield ""
        yield (
            f"{phase['name']}: {phase['optimizer_steps']} optimizer steps, {phase['samples']} samples, "
            f"{phase['epochs']} epochs"
        )
    yield f"batch      {phase['batch']} samples per optimizer step, {phase['optimizer']}"
    rates = (f"{part} {_rate(a)} to {_rate(b)}" for part, (a, b) in phase["learning_rates"].items())
    yield f"rates      {', '.join(rates)}"
    same = next((p["name"] for p in before if p["buckets"] == phase["buckets"]), None)
    yield from describe_buckets(phase, same)
    same = next((p["name"] for p in before if p.get("captions") == phase.get("captions")), None)
    if same is not None:
        yield f"captions   those of {same}"
    elif captions := phase.get("captions"):
        t = captions["tokens"]
        yield f"captions   {t['median']} tokens in the middle, 95 % under {t['p95'] + 1}, longest {t['most']}"
        shares = (f"{n}: {share:.1%}" for n, share in captions["chunks"].items())
        yield f"           chunks of 75: {', '.join(shares)}"
        set_to, padded = str(captions["chunk_window"]), captions["padded"]
        others = (f"{share:.1%} with {n}" for n, share in padded.items() if n not in (set_to, "0"))
        without = "" if set_to == "0" else f", {padded['0']:.1%} without"
        yield (
            f"           {padded[set_to]:.1%} of the chunks are padding with data.chunk_window = {set_to}"
            f"{without}{''.join(f', {other}' for other in others)}"
        )
        yield "           " + ", ".join(f"{name}: {share:.1%}" for name, share in captions["sources"].items())
        yield from (f"           | {text or '(empty)'}" for text in captions["examples"])
