"""The command `captionkit preview`."""

from __future__ import annotations

import argparse
import sys
from itertools import islice
from typing import Any

from captionkit.changes import changes_over_the_run
from captionkit.commands.arguments import (
    at_place,
    command,
    load_recipe,
    number,
    print_json,
    reads,
    tell_next,
    tell_skipped,
    whole_number,
)
from captionkit.errors import DataError
from captionkit.marked import marked
from captionkit.marked_text import mirror_text
from captionkit.readers import read_records
from captionkit.report import Skipped, preview_json, preview_marked, preview_text
from captionkit.screen import Screen

_EXAMPLES = """\
examples:
  captionkit preview hyperfusion pictures/
  captionkit preview recipe.toml data.jsonl -n 20 --draws 2 --epoch 3
  captionkit preview hyperfusion pictures/ --marks | less  what left [-struck out-], *important* tags marked
  captionkit preview recipe.toml data.jsonl --json | jq -r '.records[].draws[].text'
"""


def add_preview(commands: Any) -> None:
    """Add `preview` to a parser's subparsers."""
    does = "the captions of the first records, several draws of each"
    preview = command(commands, "preview", _preview, does, _EXAMPLES)
    reads(preview)
    at_place(preview)
    number(preview, "-n", whole_number, 5, "N", "how many records")
    number(preview, "--draws", whole_number, 4, "K", "draws of each record")
    preview.add_argument(
        "--marks",
        action=argparse.BooleanOptionalAction,
        help="what left struck out with the step that took it, important tags marked (on a terminal: yes)",
    )


def _preview(arguments: argparse.Namespace) -> None:
    pipeline, skipped = load_recipe(arguments.recipe), Skipped()
    records = read_records(arguments.data, on_error=skipped.add)
    screen = Screen.of(sys.stdout)
    values: list[dict[str, Any]] = []
    num_records = 0
    for record in islice(records, arguments.n):
        num_records += 1
        place = {"epoch": arguments.epoch, "samples": arguments.samples}
        if arguments.json:
            values.append(preview_json(record, pipeline.render_many(record, arguments.draws, **place)))
        elif screen.colour if arguments.marks is None else arguments.marks:
            marks = [marked(pipeline, record, draw=draw, **place) for draw in range(arguments.draws)]
            mirror = mirror_text(pipeline.flip, record)
            print(preview_marked(record, marks, mirror, pipeline.text.spell, screen), end="\n\n")
        else:
            texts = pipeline.render_many(record, arguments.draws, **place)
            print(preview_text(record, texts, screen), end="\n\n")
    tell_skipped(skipped)
    if num_records == 0:
        hint = "what is wrong with each stands above"
        raise DataError("no record could be read", where=arguments.data, hint=hint)
    if arguments.json:
        head = {"seed": pipeline.seed, "epoch": arguments.epoch}
        print_json(head | {"records": values, "skipped": skipped.json()})
        return
    if changes_over_the_run(pipeline):
        at = f"epoch {arguments.epoch}, {arguments.samples:,} samples seen"
        print(
            f"{at}; the recipe changes over the run: --epoch and --samples show other moments",
            file=sys.stderr,
        )
    tell_next("lint", arguments.recipe, arguments.data, why="what is wrong with recipe and data")
