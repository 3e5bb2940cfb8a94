"""``trainkit tagger evaluate``: how good a tagger is, tag by tag, on pictures with known tags."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from trainkit.commands.tagger_flags import add_corrections, add_json, add_work
from trainkit.commands.whole_number import at_least_0, positive

if TYPE_CHECKING:
    from trainkit.tagging.evaluation import Evaluation

_EXAMPLES = """examples:
  trainkit tagger evaluate taggers/light manifest              one of ours, on its held-out pictures
  trainkit tagger evaluate wd-tagger manifest -o wd-evaluation one that others have trained
writes evaluation.json, report.html, and review.html with what tagger and records disagree on
"""
_MOST_ROWS = 20


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    does = "how good a tagger is, tag by tag, on pictures with known tags"
    parser = commands.add_parser(
        "evaluate",
        help=does,
        description=f"{does[0].upper()}{does[1:]}. What it finds is what `apply --precision` goes by.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    flag = parser.add_argument
    flag("tagger", type=Path, metavar="TAGGER", help="folder of a tagger, or a model's file in it")
    flag("manifest", type=Path, metavar="MANIFEST", help="a prepared folder, or a table of pictures")
    flag(
        "-o",
        "--out",
        type=Path,
        metavar="FOLDER",
        help="where to write (default: the tagger's folder, which is then also calibrated)",
    )
    flag("--all", action="store_true", help="all pictures, also those that the tagger learned from")
    flag(
        "--count",
        type=positive,
        default=20_000,
        metavar="N",
        help="at most so many pictures, an even sample (20,000)",
    )
    add_corrections(parser, "corrections.jsonl of a review; outweighs the records")
    flag(
        "--review",
        type=at_least_0,
        default=200,
        metavar="N",
        help="questions on review.html (200); 0: no page",
    )
    add_work(parser, batch=32)
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from trainkit.manifest_pictures import ManifestPictures
    from trainkit.tagging.corrections import Corrections, read_corrections
    from trainkit.tagging.evaluating import REPORT, evaluate, keep_evaluation
    from trainkit.tagging.evaluation_page import evaluation_page
    from trainkit.tagging.folder import is_tagger_folder
    from trainkit.tagging.judging import Witness, judge_pictures, scores_file
    from trainkit.tagging.load import load_tagger
    from trainkit.tagging.mark import mark_of
    from trainkit.tagging.place import folder_of
    from trainkit.tagging.questions import disagreements, worthiest
    from trainkit.tagging.review import make_writable, write_page, write_review
    from trainkit.tagging.said import all_said, say_unmet

    given = read_corrections(*options.corrections) if options.corrections else Corrections()
    pictures = ManifestPictures.open(options.manifest)
    tagger = load_tagger(options.tagger, device=options.device)
    folder = folder_of(options.tagger)
    say_unmet(given, pictures.keys, Witness(tagger).knows)
    out: Path = options.out or folder
    make_writable(out)  # Before all pictures are looked at.
    ours = is_tagger_folder(folder) and out.absolute() == folder.absolute()
    judged = judge_pictures(
        tagger,
        mark_of(options.tagger),
        pictures,
        scores_file(folder, out),
        corrections=all_said(pictures, given, folder),
        every=options.all,
        count=options.count,
        batch=options.batch,
        show=not options.json,
    )
    evaluation = evaluate(judged, options.manifest, calibrate=ours)
    keep_evaluation(out, evaluation, folder if ours else None)
    asked = 0
    if options.review:
        scores = judged.scores(evaluation.temperatures if ours else None)
        found = disagreements(
            judged.outputs, evaluation.curves, judged.rows, scores, judged.truth, most=options.review
        )
        title, why = f"{tagger.name}: disagreements", "Where tagger and records disagree, the surest first."
        asked = write_review(out, title, why, worthiest(found, options.review), pictures).asked
    write_page(out / REPORT, evaluation_page(evaluation, review=asked))
    if options.json:
        print(json.dumps({"folder": str(out), **evaluation.told()}, indent=1, ensure_ascii=False))
        return 0
    print(_table(evaluation))
    print(f"written: {out / REPORT}" + (f", {out / 'review.html'} ({asked} questions)" if asked else ""))
    elsewhere = [] if out.absolute() == folder.absolute() else ["--evaluation", str(out)]
    words = shlex.join([str(options.tagger), str(options.manifest), *elsewhere])
    print(f"next: trainkit tagger apply {words} --precision 0.9")
    return 0


def _table(evaluation: Evaluation) -> str:
    """What fits a terminal; the rest is on the page."""
    from trainkit.tagging.measure import f1

    held = "held-out " if evaluation.held_out else ""
    lines = [f"{evaluation.tagger} on {evaluation.pictures:,} {held}pictures of {evaluation.manifest}"]
    if evaluation.problems:
        lines.append(f"{len(evaluation.problems):,} pictures could not be judged: {evaluation.problems[0]}")
    for confusion in evaluation.confusions:
        if not confusion.pictures:
            lines.append(f"{confusion.group}: nothing to judge: no picture has exactly one of its tags")
        else:
            low, high = confusion.interval
            lines.append(
                f"{confusion.group}: {confusion.accuracy:.1%} right ({low:.1%} to {high:.1%}), always the "
                f"commonest {confusion.majority:.1%}"
            )
    means = evaluation.means
    if evaluation.curves:
        lines.append(
            f"mean average precision {means.macro_average_precision:.3f}, guessing {means.macro_guess:.3f}; "
            f"over all pairs {means.micro_average_precision:.3f}, guessing {means.micro_guess:.3f}"
        )
    for one in evaluation.calibrations:
        lines.append(
            f"temperature of {one.group or 'tags'} {one.temperature:.2f}: calibration error "
            f"{one.error_before:.3f} -> {one.error_after:.3f}"
        )
    curves = sorted(evaluation.curves.values(), key=lambda curve: (-curve.positives, curve.tag))
    if curves:
        wide = min(40, max(len(curve.tag) for curve in curves[:_MOST_ROWS]))
        lines.append(f"{'tag':<{wide}}  pictures     AP  guess  best F1  at score  recall at precision 0.9")
    for curve in curves[:_MOST_ROWS]:
        best = None if curve.best_f1_threshold is None else curve.at(curve.best_f1_threshold)
        threshold = curve.threshold_for(0.9)
        point = None if threshold is None else curve.at(threshold)
        recall = "never" if point is None else f"{point.recall:.3f}"
        figures = (f1(best.precision, best.recall), best.threshold) if best else (0.0, 0.0)
        lines.append(
            f"{curve.tag[:wide]:<{wide}}  {curve.positives:>8,}  {curve.average_precision:.3f}  "
            f"{curve.positives / curve.pictures:.3f}  {figures[0]:>7.3f}  {figures[1]:>8.3f}  {recall}"
        )
    if len(curves) > _MOST_ROWS:
        lines.append(f"and {len(curves) - _MOST_ROWS:,} rarer tags")
    lines.append("records lack tags that pictures deserve: precision is a lower bound")
    return "\n".join(lines)
