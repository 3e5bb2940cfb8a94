"""The command `captionkit report`."""

from __future__ import annotations

import argparse
import math
import os
import sys
from pathlib import Path
from typing import Any

from captionkit.commands.arguments import (
    at_place,
    command,
    load_recipe,
    print_json,
    reads,
)
from captionkit.commands.stats import counts, gathered
from captionkit.errors import DataError
from captionkit.page.make import Made, Wanted, make
from captionkit.readers.open import open_source
from captionkit.report import Skipped
from captionkit.screen import printable

MAX_NAMED = 10
"""So many broken pictures are named; of the others only the number is told."""

_EXAMPLES = """\
examples:
  captionkit report hyperfusion pictures/ -o report.html
  captionkit report recipe.toml data.jsonl -o report.html --pictures ../pictures --max-mb 20

The page is one file that loads nothing: send it to whoever shall look at it. Where not all pictures fit into
--max-mb it shows an even sample, and says so. Pictures outside of the data's folder are read only from
folders that --pictures names.
"""


def add_report(commands: Any) -> None:
    """Add `report` to a parser's subparsers."""
    does = "one page with plots, tags and pictures: what is really trained"
    report = command(commands, "report", _report, does, _EXAMPLES)
    reads(report)
    at_place(report)
    report.add_argument(
        "-o", "--out", required=True, metavar="FILE", help="the page to write, such as report.html"
    )
    says = "how large the page may become (default: 5)"
    report.add_argument("--max-mb", type=_megabytes, default=5.0, metavar="MB", help=says)
    report.add_argument(
        "--pictures",
        action="append",
        default=[],
        metavar="DIR",
        help="a folder that pictures may lie in besides the data's own; may be given several times",
    )
    counts(report)


def _report(arguments: argparse.Namespace) -> None:
    pipeline, skipped, out = load_recipe(arguments.recipe), Skipped(), Path(arguments.out)
    _require_place(out)
    folders = tuple(map(Path, arguments.pictures))
    if lost := next((folder for folder in folders if not folder.is_dir()), None):
        raise DataError("no such folder", where=str(lost), hint="--pictures names a folder of pictures")
    wanted = Wanted(
        pictures=folders,
        max_mb=arguments.max_mb,
        samples=arguments.samples,
        made_by=f"captionkit report {arguments.recipe} {arguments.data}",
    )
    stats = gathered(arguments, pipeline, skipped)
    made = make(pipeline, stats, open_source(arguments.data), wanted)
    _write(out, made.html)
    if arguments.json:
        print_json(_values(arguments.out, made) | {"skipped": skipped.json()})
        return
    for line in made.broken[:MAX_NAMED]:
        print(f"captionkit: picture not shown: {printable(line)}", file=sys.stderr)
    if len(made.broken) > MAX_NAMED:
        print(f"captionkit: pictures not shown: {len(made.broken)}", file=sys.stderr)
    some = "all" if made.num_cards == made.num_records else f"{made.num_cards:,} of"
    print(
        printable(
            f"{out}: {len(made.html) / 1e6:.1f} MB, {some} {made.num_records:,} records with their draws, "
            f"{made.num_findings} findings"
        )
    )
    if made.num_cards < made.num_records:
        print(f"all of them would need about --max-mb {_rounded_up(made.mb_for_all)}")
    print(printable(f"next: open {out} in a browser"))


def _values(out: str, made: Made) -> dict[str, Any]:
    return {
        "out": out,
        "bytes": len(made.html),
        "records": made.num_records,
        "shown": made.num_cards,
        "max_mb_for_all": _rounded_up(made.mb_for_all),
        "findings": made.num_findings,
        "pictures_not_shown": list(made.broken),
    }


def _rounded_up(megabytes: float) -> float:
    """A number for --max-mb: with a decimal below 10, without above."""
    return math.ceil(megabytes * 10) / 10 if megabytes < 10 else math.ceil(megabytes)


def _require_place(out: Path) -> None:
    """Find out before the work that the page cannot be written."""
    if out.is_dir():
        raise DataError("is a folder", where=str(out), hint=f"write -o {out / 'report.html'}")
    if out.is_file() and not out.read_bytes()[:100].lstrip().lower().startswith(b"<!doctype html"):
        raise DataError("is there and no page", where=str(out), hint="another name after -o")
    if not out.absolute().parent.is_dir():
        raise DataError("its folder is not there", where=str(out), hint=f"make {out.parent} first")


def _write(out: Path, html: bytes) -> None:
    """Write the page, whole or not at all."""
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        part.write_bytes(html)
        part.replace(out)
    except OSError as error:
        raise DataError(f"cannot be written: {error.strerror}", where=str(out)) from error
    finally:
        part.unlink(missing_ok=True)


def _megabytes(text: str) -> float:
    value = float(text)
    if not 1.2 <= value <= 2000:  # The plots' own scripts take 0.9.
        raise argparse.ArgumentTypeError(f"must be from 1.2 to 2000, got {text}")
    return value


_megabytes.__name__ = "number of megabytes"  # What argparse calls the type of a value that is none.
