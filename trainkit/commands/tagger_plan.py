"""What ``trainkit tagger apply`` is asked to say: its flags for that, and the plan made of them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainkit.commands.whole_number import positive

if TYPE_CHECKING:
    from trainkit.tagging.kept_scores import Keep
    from trainkit.tagging.plan import ApplyConfig, Plan
    from trainkit.tagging.tagger import Tagger

_PRECISION = 0.9
"""The target when nothing is said and the tagger was evaluated."""


def add_thresholds(parser: argparse.ArgumentParser) -> None:
    """From which score on a tag is said."""
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


def add_choice(parser: argparse.ArgumentParser) -> None:
    """Which tags are written, and how they are spelled."""
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


def add_keep(parser: argparse.ArgumentParser) -> None:
    """Which scores stay."""
    parser.add_argument(
        "--keep-scores",
        default="0.05",
        metavar="FLOOR",
        help="keep scores from here on (0.05), so that --restart with another threshold looks at no picture "
        "again; none: neither keep nor use any",
    )


def config_of(options: argparse.Namespace) -> ApplyConfig:
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


def plan_of(options: argparse.Namespace, config: ApplyConfig, tagger: Tagger) -> Plan:
    """The plan, with what the tagger itself brings. Raises TrainkitError."""
    from captionkit import ImplicationGraph
    from trainkit.tagging.curves import EVALUATION, read_evaluation
    from trainkit.tagging.load import implications_of
    from trainkit.tagging.mark import exact_mark_of
    from trainkit.tagging.place import folder_of
    from trainkit.tagging.plan import make_plan

    given = config.thresholds
    folder = options.evaluation or folder_of(options.tagger)
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


def keep_of(options: argparse.Namespace, plan: Plan) -> Keep | None:
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
