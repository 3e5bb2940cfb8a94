"""``trainkit tagger apply``: write a tagger's tags into a manifest; the same command again goes on."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainkit.commands.whole_number import positive

if TYPE_CHECKING:
    from trainkit.ranks import Ranks
    from trainkit.tagging.apply import Effort
    from trainkit.tagging.corrections import Corrections
    from trainkit.tagging.kept_scores import Keep
    from trainkit.tagging.plan import ApplyConfig, Plan
    from trainkit.tagging.tagger import Tagger

_PRECISION = 0.9
"""The target when nothing is said and the tagger was evaluated."""

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
    _add_thresholds(parser)
    _add_choice(parser)
    flag(
        "--corrections",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="what a person said, as the review page writes it; may be repeated",
    )
    flag("--preview", type=positive, metavar="N", help="write a page of N pictures, and nothing else")
    flag("--dry-run", action="store_true", help="look at all pictures and report; write no tags")
    flag("--restart", action="store_true", help="make all of it anew, as with another tagger or threshold")
    flag(
        "--keep-scores",
        default="0.05",
        metavar="FLOOR",
        help="keep scores from here on (0.05), so that --restart with another threshold looks at no picture "
        "again; none: neither keep nor use any",
    )
    flag("--batch", type=positive, default=16, metavar="N", help="pictures at a time (16)")
    flag("--threads", type=positive, default=2, metavar="N", help="that read pictures (2)")
    flag(
        "--device",
        default="auto",
        metavar="DEVICE",
        help="cpu, cuda or cuda:1 (default: a GPU if there is one)",
    )
    flag("-o", "--out", type=Path, metavar="FILE", help="of the page (default: MANIFEST/additions/NAME.html)")
    flag("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_run)


def _add_thresholds(parser: argparse.ArgumentParser) -> None:
    flag = parser.add_argument
    flag(
        "--precision",
        type=float,
        metavar="P",
        help="say each tag from the score at which it was right in this share of pictures "
        f"({_PRECISION}, where the tagger was evaluated)",
    )
    flag(
        "--min-support",
        type=positive,
        metavar="N",
        help="with --precision: leave out tags that fewer pictures of the evaluation have (10)",
    )
    flag("--evaluation", type=Path, metavar="FOLDER", help="where evaluation.json lies (default: TAGGER)")
    flag(
        "--threshold",
        action="append",
        default=[],
        metavar="[CATEGORY=]SCORE",
        help="say tags from this score on; CATEGORY=SCORE for those of a category, such as character=0.85",
    )


def _add_choice(parser: argparse.ArgumentParser) -> None:
    flag = parser.add_argument
    flag(
        "--only",
        action="append",
        default=[],
        metavar="PATTERN",
        help="write only such tags; may be repeated",
    )
    flag(
        "--except",
        dest="leave_out",
        action="append",
        default=[],
        metavar="PATTERN",
        help="do not write tags that match; may be repeated",
    )
    flag("--ratings", action="store_true", help="write ratings, too")
    flag("--rename", type=Path, metavar="FILE", help="CSV of old,new names of tags")
    flag("--keep-underscores", action="store_true", help="red_fox stays red_fox (default: red fox)")
    flag(
        "--implications",
        type=Path,
        metavar="FILE",
        help="which tag implies which: an export of e621",
    )
    flag("--without-implied", action="store_true", help="do not write a tag that another one implies")


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

    config = _config(options)
    _refuse_false_launch()
    given = read_corrections(*options.corrections) if options.corrections else Corrections()
    corrections = Corrections([*kept_corrections(options.manifest), *given])
    with joined() as ranks:
        tagger = load_tagger(options.tagger, device=options.device)
        plan = _plan(options, config, tagger)
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

    show, keep = not options.json, _keep(options, plan)
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
        keep=_keep(options, plan),
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


def _plan(options: argparse.Namespace, config: ApplyConfig, tagger: Tagger) -> Plan:
    """The plan, with what the tagger itself brings. Raises TrainkitError."""
    from captionkit import ImplicationGraph
    from trainkit.tagging.curves import EVALUATION, read_evaluation
    from trainkit.tagging.load import implications_of
    from trainkit.tagging.mark import exact_mark_of
    from trainkit.tagging.plan import make_plan

    given = config.thresholds
    folder = options.evaluation or (options.tagger if options.tagger.is_dir() else options.tagger.parent)
    evaluated = (folder / EVALUATION).is_file()
    if given.precision is None and given.threshold is None and evaluated:
        given = given.model_copy(update={"precision": _PRECISION})
    curves = None
    if given.precision is not None and (evaluated or options.evaluation is not None):
        curves = read_evaluation(folder)
    own, more = implications_of(options.tagger).edges(), config.implications.edges()
    edges = {name: [*own.get(name, ()), *more.get(name, ())] for name in {*own, *more}}
    config = config.model_copy(update={"thresholds": given, "implications": ImplicationGraph(edges)})
    return make_plan(tagger, config, curves=curves, mark=exact_mark_of(options.tagger))


def _keep(options: argparse.Namespace, plan: Plan) -> Keep | None:
    """Which scores are kept. Raises ConfigError."""
    from trainkit.errors import ConfigError
    from trainkit.tagging.kept_scores import Keep

    word: str = options.keep_scores
    if word == "none":
        return None
    try:
        floor = float(word)
    except ValueError:
        floor = -1.0
    if not 0 <= floor <= 1:
        raise ConfigError("--keep-scores", [f"is {word!r}, must be a score from 0 to 1, or none"])
    return Keep(plan.mark, floor)


def _config(options: argparse.Namespace) -> ApplyConfig:
    """The settings of the command line. Raises ConfigError."""
    from captionkit import read_implications
    from trainkit.settings import checked_settings
    from trainkit.tagging.plan import ApplyConfig
    from trainkit.tagging.spelling import read_renames

    thresholds: dict[str, Any] = {"precision": options.precision, **_thresholds(options.threshold)}
    if options.min_support is not None:
        thresholds["min_support"] = options.min_support
    given: dict[str, Any] = {
        "name": options.name,
        "thresholds": thresholds,
        "chosen": {
            "only": options.only,
            "leave_out": options.leave_out,
            "ratings": options.ratings,
            "underscores": "keep" if options.keep_underscores else "space",
            "rename": read_renames(options.rename) if options.rename is not None else {},
        },
        "implied": "left out" if options.without_implied else "written",
    }
    if options.implications is not None:
        given["implications"] = read_implications(options.implications)
    return checked_settings(ApplyConfig, given, "tagger apply")


def _thresholds(words: list[str]) -> dict[str, Any]:
    """--threshold 0.35 --threshold character=0.85 as settings. Raises ConfigError."""
    from trainkit.errors import ConfigError

    found: dict[str, Any] = {}
    categories: dict[str, float] = {}
    for word in words:
        category, _, number = word.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            raise ConfigError("--threshold", [f"is {word!r}, must be SCORE or CATEGORY=SCORE"]) from None
        if category:
            categories[category.strip()] = value
        elif "threshold" in found:
            raise ConfigError("--threshold", [f"is {found['threshold']} and {value}; give one for all tags"])
        else:
            found["threshold"] = value
    return {**found, "category_thresholds": categories}


def _refuse_false_launch() -> None:
    import os

    if any(name.startswith("ACCELERATE_") for name in os.environ):
        from trainkit.devices import refuse_false_launch

        refuse_false_launch(os.environ)
