"""The command `captionkit correlations build`."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from captionkit.commands.arguments import print_json
from captionkit.commands.implication_text import counted_text
from captionkit.commands.parts import Data, data_argument, group, names, writing_command
from captionkit.cooccurrence import count_correlations
from captionkit.errors import DataError
from captionkit.implications import read_implications
from captionkit.screen import printable

_EXAMPLES = """\
example:
  captionkit correlations build data.jsonl --triggers-category character --threshold 0.9 --support 20 \\
      --implications tag_implications.csv.gz -o correlations.csv
"""


def add_commands(commands: Any) -> None:
    """Add `correlations`, with its own commands, to a parser's subparsers."""
    correlations = group(commands, "correlations", "which tags always come with a character, in your data")
    count = writing_command(
        correlations,
        "build",
        _correlations,
        "count which tags come with which trigger, and write them for drop_correlated",
        _EXAMPLES,
    )
    _correlations_arguments(count)


def _correlations_arguments(count: argparse.ArgumentParser) -> None:
    data_argument(count)
    count.add_argument("-o", "--out", required=True, metavar="FILE", help="the CSV to write")
    count.add_argument(
        "--triggers-category",
        type=names,
        default=None,
        metavar="A,B",
        help="tags of these categories are triggers (character, unless --triggers says otherwise)",
    )
    count.add_argument(
        "--triggers", type=names, default=(), metavar="A,B", help="tags that match these patterns are, too"
    )
    count.add_argument(
        "--threshold", type=float, default=0.9, metavar="P", help="share of a trigger's records (0.9)"
    )
    count.add_argument(
        "--support", type=int, default=20, metavar="N", help="records that a trigger must be in (20)"
    )
    count.add_argument("--implications", metavar="FILE", help="leave out what a trigger implies by this list")


def _correlations(arguments: argparse.Namespace) -> None:
    categories = arguments.triggers_category
    if categories is None:
        categories = () if arguments.triggers else ("character",)
    if Path(arguments.out).exists() and Path(arguments.out).samefile(arguments.data):
        raise DataError("is the data itself", where=arguments.out, hint="another name after -o")
    data = Data(arguments.data)
    counted = count_correlations(
        data,
        categories=categories,
        patterns=arguments.triggers,
        threshold=arguments.threshold,
        support=arguments.support,
        implications=read_implications(arguments.implications) if arguments.implications else None,
    )
    data.require_some(counted.counting.num_records)
    counted.write(Path(arguments.out))
    if arguments.json:
        print_json(asdict(counted) | {"counting": counted.counting.model_dump(mode="json")})
    else:
        print(printable(f"{arguments.out}: {counted_text(counted)}"))
