"""``trainkit tagger apply``: write a tagger's tags into a manifest; the same command again goes on."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from trainkit.commands.tagger_flags import add_corrections, add_json, add_work
from trainkit.commands.tagger_plan import (
    add_choice,
    add_keep,
    add_thresholds,
    config_of,
    keep_of,
    plan_of,
)
from trainkit.commands.whole_number import positive

if TYPE_CHECKING:
    from trainkit.ranks import Ranks
    from trainkit.tagging.apply import Effort
    from trainkit.tagging.corrections import Corrections
    from trainkit.tagging.plan import Plan
    from trainkit.tagging.tagger import Tagger

_EXAMPLES = """examples:
  trainkit tagger apply taggers/light manifest --preview 20      a page of 20 pictures; nothing is written
  trainkit tagger apply taggers/light manifest --precision 0.9   each tag from the score at which it is right
  trainkit tagger apply wd-vit-tagger-v3 manifest --threshold 0.35 --threshold character=0.85
  trainkit tagger apply JTP_PILOT2 manifest --threshold 0.2 --except 'watermark' --except '*signature*'
  torchrun --nproc_per_node 4 -m trainkit tagger apply taggers/light manifest
A killed run goes on with the same command. A person's tags are never touched.
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    does = "write a tagger's tags into a manifest; started again, it goes on"
    parser = commands.add_parser(
        "apply",
        help=does,
        description=f"{does[0].upper()}{does[1:]}.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    flag = parser.add_argument
    flag(
        "tagger",
        type=Path,
        metavar="TAGGER",
        help="folder of a tagger: trainkit's, WD's, JTP's; or its model",
    )
    flag("manifest", type=Path, metavar="MANIFEST", help="folder that trainkit prepare wrote")
    flag("--name", metavar="NAME", help="source of the tags (default: the tagger's name)")
    add_thresholds(parser)
    add_choice(parser)
    add_corrections(parser, "what a person said, as the review page writes it")
    flag("--preview", type=positive, metavar="N", help="write a page of N pictures, and nothing else")
    flag("--dry-run", action="store_true", help="look at all pictures and report; write no tags")
    flag("--restart", action="store_true", help="make all of it anew, as with another tagger or threshold")
    add_keep(parser)
    add_work(parser, batch=16)
    flag("--threads", type=positive, default=2, metavar="N", help="that read pictures (2)")
    flag("-o", "--out", type=Path, metavar="FILE", help="of the page (default: MANIFEST/additions/NAME.html)")
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from trainkit.signals import Stop, Stopped

    try:
        with Stop().listening():
            return _apply(options)
    except Stopped as stopped:
        raise Stopped(stopped.number, "what was tagged so far is kept") from None


def _apply(options: argparse.Namespace) -> int:
    from trainkit.manifest_pictures import ManifestPictures
    from trainkit.ranks import joined
    from trainkit.tagging.apply import Effort
    from trainkit.tagging.corrections import Corrections, read_corrections
    from trainkit.tagging.kept import kept_corrections
    from trainkit.tagging.load import load_tagger
    from trainkit.tagging.said import say_unmet

    config = config_of(options)
    _refuse_false_launch()
    given = read_corrections(*options.corrections) if options.corrections else Corrections()
    corrections = Corrections([*kept_corrections(options.manifest), *given])
    with joined() as ranks:
        tagger = load_tagger(options.tagger, device=options.device)
        plan = plan_of(options, config, tagger)
        if ranks.speaks and given:
            say_unmet(given, ManifestPictures.open(options.manifest).keys, plan.rules.knows)
        effort = Effort(options.batch, options.threads)
        if options.preview is not None:
            return _preview(options, tagger, plan, corrections, effort) if ranks.speaks else 0
        return _write(options, tagger, plan, corrections, effort, ranks)


def _write(
    options: argparse.Namespace,
    tagger: Tagger,
    plan: Plan,
    corrections: Corrections | None,
    effort: Effort,
    ranks: Ranks,
) -> int:
    from trainkit.errors import TrainkitError
    from trainkit.tagging.apply import apply, try_out
    from trainkit.tagging.apply_report import describe, report_page, summary

    show, keep = not options.json, keep_of(options, plan)
    if options.dry_run:
        if not ranks.speaks:
            return 0
        applied = try_out(
            options.manifest, tagger, plan, corrections=corrections, effort=effort, keep=keep, show=show
        )
    else:
        applied = apply(
            options.manifest,
            tagger,
            plan,
            corrections=corrections,
            effort=effort,
            ranks=ranks,
            restart=options.restart,
            keep=keep,
            show=show,
        )
    if not ranks.speaks:
        return 0
    html = report_page(applied, plan, options.manifest, dry=options.dry_run)
    if options.json:
        page = str(_write_page(options, plan, html, "html"))
        print(json.dumps({**summary(applied, plan, dry=options.dry_run), "page": page}, indent=2))
        return 0
    print(describe(applied, plan, dry=options.dry_run))
    if applied.problems and not applied.counts.pictures:
        raise TrainkitError(f"no picture could be tagged; the first: {applied.problems[0]}")
    print(f"report: {_write_page(options, plan, html, 'html')}")
    if options.dry_run:
        print("no tags were written; the same command without --dry-run writes them")
    else:
        print(f"next: trainkit check run.toml data.path={shlex.quote(str(options.manifest))}")
    return 0


def _preview(
    options: argparse.Namespace, tagger: Tagger, plan: Plan, corrections: Corrections | None, effort: Effort
) -> int:
    from trainkit.tagging.preview import preview

    text = preview(
        options.manifest,
        tagger,
        plan,
        options.preview,
        corrections=corrections,
        effort=effort,
        keep=keep_of(options, plan),
    )
    out = _write_page(options, plan, text, "preview.html")
    if options.json:
        print(json.dumps({"name": plan.name, "preview": options.preview, "page": str(out)}, indent=2))
    else:
        print(f"open {out}; nothing else was written")
    return 0


def _write_page(options: argparse.Namespace, plan: Plan, text: str, suffix: str) -> Path:
    from trainkit.additions.places import FOLDER
    from trainkit.errors import TrainkitError
    from trainkit.whole_file import replace_whole

    folder = options.manifest / FOLDER if options.manifest.is_dir() else Path()
    out: Path = options.out or folder / f"{plan.name}.{suffix}"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        replace_whole(out, text.encode("utf-8", "replace"))
    except OSError as error:
        raise TrainkitError(
            f"the page {out} cannot be written: {error.strerror or error}; -o FILE says where else"
        ) from error
    return out


def _refuse_false_launch() -> None:
    import os

    if any(name.startswith("ACCELERATE_") for name in os.environ):
        from trainkit.devices import refuse_false_launch

        refuse_false_launch(os.environ)
