"""``trainkit tagger review``: a page on which a person judges pictures, by keyboard."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from trainkit.commands.tagger_flags import add_corrections, add_json, add_work
from trainkit.commands.whole_number import positive

if TYPE_CHECKING:
    from trainkit.manifest_pictures import ManifestPictures
    from trainkit.tagging.corrections import Corrections
    from trainkit.tagging.questions import Question

_EXAMPLES = """examples:
  trainkit tagger review manifest --tag fox --group light=day,night,dusk   label a sample from nothing
  trainkit tagger review manifest --tagger taggers/light                   where tagger and records disagree
  trainkit tagger review manifest --tagger taggers/light --uncertain       what the tagger knows least about
Open review/review.html: it works offline; the file it downloads goes into data.corrections of a
tagger's settings, and into --corrections here and of `evaluate`.
"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    does = "make a page on which a person judges pictures, by keyboard"
    parser = commands.add_parser(
        "review",
        help=does,
        description=f"{does[0].upper()}{does[1:]}.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    flag = parser.add_argument
    flag("manifest", type=Path, metavar="MANIFEST", help="a prepared folder, or a table of pictures")
    flag("--tag", action="append", default=[], help="ask whether pictures have it; may be repeated")
    flag(
        "--group",
        action="append",
        default=[],
        type=_group,
        metavar="NAME=TAG,TAG",
        help="ask which of these tags pictures have; may be repeated",
    )
    flag("--tagger", type=Path, metavar="TAGGER", help="ask where this tagger and the records disagree")
    flag("--uncertain", action="store_true", help="ask what the tagger knows least about instead")
    flag("--all", action="store_true", help="disagreements also on pictures that the tagger learned from")
    flag(
        "--count",
        type=positive,
        default=200,
        metavar="N",
        help="pictures of a sample, for each --tag and --group; questions in all with --tagger (200)",
    )
    flag(
        "--sample",
        type=positive,
        default=20_000,
        metavar="N",
        help="with --tagger: score at most so many pictures, an even sample (20,000)",
    )
    flag("--seed", type=int, default=0, help="another seed, another sample (0)")
    add_corrections(parser, "what was judged before, and is not asked again")
    flag("-o", "--out", type=Path, default=Path("review"), metavar="FOLDER", help="for the page (review)")
    add_work(parser, batch=32)
    add_json(parser)
    parser.set_defaults(run=_run)


def _group(text: str) -> tuple[str, tuple[str, ...]]:
    name, _, rest = text.partition("=")
    tags = tuple(dict.fromkeys(tag.strip() for tag in rest.split(",") if tag.strip()))
    if not name.strip() or len(tags) < 2:
        raise argparse.ArgumentTypeError(f"is {text!r}, must be NAME=TAG,TAG with two tags or more")
    return name.strip(), tags


def _run(options: argparse.Namespace) -> int:
    from trainkit.errors import ConfigError
    from trainkit.manifest_pictures import ManifestPictures
    from trainkit.tagging.corrections import Corrections, read_corrections
    from trainkit.tagging.place import folder_of
    from trainkit.tagging.review import make_writable, write_review
    from trainkit.tagging.said import all_said, say_unmet

    asks = bool(options.tag or options.group)
    if asks == (options.tagger is not None):
        raise ConfigError("review", ["give either --tagger, or what to ask with --tag and --group"])
    if (options.uncertain or options.all) and options.tagger is None:
        raise ConfigError("review", ["--uncertain and --all belong to --tagger"])
    given = read_corrections(*options.corrections) if options.corrections else Corrections()
    pictures = ManifestPictures.open(options.manifest)
    say_unmet(given, pictures.keys, lambda tag: True)  # What is asked about now may be something else.
    folder = None if options.tagger is None else folder_of(options.tagger)
    corrections = all_said(pictures, given, folder)
    make_writable(options.out)
    questions, title, why = (
        _sample(options, pictures, corrections) if asks else _of_tagger(options, pictures, corrections)
    )
    reviewed = write_review(options.out, title, why, questions, pictures)
    if options.json:
        pages = [str(path) for path in reviewed.paths]
        print(
            json.dumps({"pages": pages, "questions": reviewed.asked, "problems": reviewed.problems}, indent=1)
        )
        return 0
    for problem in reviewed.problems[:5]:
        print(f"cannot be shown: {problem}")
    if len(reviewed.problems) > 5:
        print(f"and {len(reviewed.problems) - 5:,} more that cannot be shown")
    if not reviewed.paths:
        print("nothing to ask: all of it is judged, or agrees")
        return 0
    print(f"{reviewed.asked:,} questions: {shlex.join(map(str, reviewed.paths))}")
    print("next: open it in a browser; the corrections.jsonl that it downloads goes into data.corrections")
    return 0


def _sample(
    options: argparse.Namespace, pictures: ManifestPictures, corrections: Corrections
) -> tuple[list[Question], str, str]:
    from trainkit.tagging.even import sample_questions

    groups = dict(options.group)
    tags = list(dict.fromkeys(options.tag))
    questions = sample_questions(
        pictures, tags, groups, count=options.count, seed=options.seed, judged=corrections.get
    )
    return questions, f"Label pictures: {', '.join([*groups, *tags])}", "An even sample of the pictures."


def _of_tagger(
    options: argparse.Namespace, pictures: ManifestPictures, corrections: Corrections
) -> tuple[list[Question], str, str]:
    from trainkit.tagging.evaluate import curves_of
    from trainkit.tagging.judging import judge_pictures, scores_file
    from trainkit.tagging.load import load_tagger
    from trainkit.tagging.mark import mark_of
    from trainkit.tagging.place import folder_of
    from trainkit.tagging.questions import disagreements, not_judged, uncertain, worthiest

    tagger = load_tagger(options.tagger, device=options.device)
    folder = folder_of(options.tagger)
    judged = judge_pictures(
        tagger,
        mark_of(options.tagger),
        pictures,
        scores_file(folder, options.out),
        corrections=corrections,
        every=options.all or options.uncertain,
        unknown_too=options.uncertain,
        count=options.sample,
        batch=options.batch,
        show=not options.json,
    )
    scores = judged.scores()
    curves = curves_of(judged.outputs.labels, scores, judged.truth)
    most = options.count + len(corrections)
    if options.uncertain:
        found = uncertain(judged.outputs, curves, judged.rows, scores, most=most)
        title, why = f"{tagger.name}: unsure", "What the tagger knows least about, the closest calls first."
    else:
        found = disagreements(judged.outputs, curves, judged.rows, scores, judged.truth, most=most)
        title, why = f"{tagger.name}: disagreements", "Where tagger and records disagree, the surest first."
    left = not_judged(found, pictures, corrections)
    return worthiest(left, options.count), title, why
