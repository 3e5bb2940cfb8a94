"""The command `captionkit bench`: how fast a recipe is on your own data."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from itertools import islice
from typing import Any

from captionkit.bench import Speed, measure
from captionkit.commands.arguments import (
    command,
    load_recipe,
    number,
    print_json,
    reads,
    tell_skipped,
    whole_number,
)
from captionkit.errors import DataError
from captionkit.readers import read_records
from captionkit.report import Skipped

_EXAMPLES = """\
examples:
  captionkit bench hyperfusion pictures/
  captionkit bench recipe.toml data.jsonl -n 20000 --json

The plain loop splits the tags at commas, keeps three, shuffles the others, drops 15 % and joins them, with
draws from the global generator: what the most used trainer does. Both run in turns, so that the ratio holds
on a busy machine too.
"""


def add_command(commands: Any) -> None:
    """Add `bench` to a parser's subparsers."""
    bench = command(commands, "bench", _bench, "how many captions one thread makes per second", _EXAMPLES)
    reads(bench)
    number(bench, "-n", whole_number, 2000, "N", "how many records")


def _bench(arguments: argparse.Namespace) -> None:
    pipeline, skipped = load_recipe(arguments.recipe), Skipped()
    records = list(islice(read_records(arguments.data, on_error=skipped.add), arguments.n))
    tell_skipped(skipped)
    if not records:
        raise DataError("no record could be read", where=arguments.data)
    speed = measure(pipeline, records)
    if arguments.json:
        print_json(asdict(speed) | {"ratio": speed.ratio})
    else:
        print(_text(speed))


def _text(speed: Speed) -> str:
    lines = [
        f"{speed.num_records:,} records of {speed.tags_per_record:.1f} tags, one thread",
        f"this recipe   {speed.captions:>10,.0f} captions/s   ({speed.slowest:,.0f} to {speed.fastest:,.0f})",
        f"plain loop    {speed.plain:>10,.0f} captions/s   split, keep 3, shuffle, drop 15 %, join",
        f"ratio         {speed.ratio:>10.2f}",
        "",
        "microseconds per caption",
        *(f"  {micros:>8.2f}  {address}" for address, micros in speed.steps),
    ]
    return "\n".join(lines)
