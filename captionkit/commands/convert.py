"""The command `captionkit convert`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, get_args

from captionkit.commands.arguments import print_json, tell_next, tell_skipped, whole_number
from captionkit.commands.parts import writing_command
from captionkit.convert import convert
from captionkit.readers.open import FORMATS, open_source
from captionkit.readers.parallel import usable_cores
from captionkit.report import Skipped
from captionkit.screen import printable
from captionkit.writers.open import TARGETS, open_target
from captionkit.writers.sidecar_texts import Style
from captionkit.writers.staging import Pictures

_EXAMPLES = """\
examples:
  captionkit convert pictures/ pictures.parquet            sidecars to one table
  captionkit convert meta_lat.json data.jsonl              kohya's metadata to JSON Lines
  captionkit convert posts-2026-11-01.csv.gz posts.parquet
  captionkit convert data.jsonl out/ --to folder           a .txt, .caption or .json for each picture
  captionkit convert data.parquet shards/ --to webdataset --pictures data/

What SRC is, its name tells, or its beginning; so does the name of DST. Records that are bad are named and
left out; what the format of DST cannot hold is told with its count. Nothing is there under the name DST
before everything is written.
"""


def add_convert(commands: Any) -> None:
    """Add `convert` to a parser's subparsers."""
    command = writing_command(
        commands, "convert", _convert, "write the records of one format in another", _EXAMPLES
    )
    command.add_argument("source", metavar="SRC", help="a folder, table, tar or file of another program")
    command.add_argument("target", metavar="DST", help="the file or folder to write")
    command.add_argument(
        "--from", dest="format", choices=FORMATS, help="what SRC is, if its name does not tell"
    )
    command.add_argument("--to", choices=TARGETS, help="what DST shall be, if its name does not tell")
    command.add_argument(
        "--pictures",
        metavar="DIR",
        help="the folder in which all pictures lie, where they go along (SRC's own)",
    )
    command.add_argument(
        "--bring",
        choices=get_args(Pictures),
        help="of a folder: what becomes of the pictures (stay in their own folder, link into another)",
    )
    command.add_argument(
        "--style",
        choices=get_args(Style),
        default="plain",
        help="of a folder: sidecars of every kind as needed (plain), or only this one",
    )
    command.add_argument("--overwrite", action="store_true", help="replace what is there under the name DST")
    command.add_argument(
        "--processes",
        type=whole_number,
        default=usable_cores(),
        metavar="N",
        help="how many read at once (default: the number of cores)",
    )


def _convert(arguments: argparse.Namespace) -> None:
    source = open_source(arguments.source, format=arguments.format)
    target = open_target(
        arguments.target,
        format=arguments.to,
        pictures=Path(arguments.pictures) if arguments.pictures else source.root,
        bring=arguments.bring,
        style=arguments.style,
        overwrite=arguments.overwrite,
    )
    skipped = Skipped()
    try:
        converted = convert(source, target, processes=arguments.processes, report=skipped.add)
    finally:
        tell_skipped(skipped)
    losses = converted.losses
    if arguments.json:
        print_json(
            {
                "target": arguments.target,
                "records": converted.num_records,
                "lost": dict(losses.counts),
                "skipped": skipped.json(),
            }
        )
        return
    for line in losses.lines():
        print(f"captionkit: {printable(line)}", file=sys.stderr)
    print(printable(f"{arguments.target}: {converted.num_records:,} records"))
    tell_next("preview", "hyperfusion", arguments.target, why="captions of the hyperfusion recipe")
