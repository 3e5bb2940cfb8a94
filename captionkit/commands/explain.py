"""The command `captionkit explain`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from captionkit.commands.arguments import (
    at_place,
    command,
    load_recipe,
    number,
    print_json,
    reads,
    tell_skipped,
)
from captionkit.errors import DataError
from captionkit.readers import read_records
from captionkit.record import Record
from captionkit.report import Skipped, explain_json, explain_text
from captionkit.screen import Screen

MAX_IDS_KEPT = 10_000
"""So many ids are kept for "did you mean"."""

_EXAMPLES = """\
examples:
  captionkit explain hyperfusion pictures/ --id cats/two
  captionkit explain recipe.toml pictures/ --id cats/two.png --epoch 3 --draw 1 --json

What a step takes away is struck out, what it adds is green, important tags are yellow; without colour:
[-away-] {+added+} *important*.
Set NO_COLOR to have no colour on a terminal.
"""


def add_explain(commands: Any) -> None:
    """Add `explain` to a parser's subparsers."""
    does = "one caption step by step: before, after, and the reason"
    explain = command(commands, "explain", _explain, does, _EXAMPLES)
    reads(explain)
    at_place(explain)
    explain.add_argument("--id", required=True, help="the record's id, or its picture's path")
    number(explain, "--draw", int, 0, "D", "which repeat within the epoch")


def _explain(arguments: argparse.Namespace) -> None:
    pipeline, skipped = load_recipe(arguments.recipe), Skipped()
    try:
        record = _find(read_records(arguments.data, on_error=skipped.add), arguments.id, arguments.data)
    finally:
        tell_skipped(skipped)  # The record asked for may be among them.
    place = {"epoch": arguments.epoch, "draw": arguments.draw}
    rendered = pipeline.explain(record, **place, samples=arguments.samples)
    if arguments.json:
        values = explain_json(record, rendered, seed=pipeline.seed, **place)
        print_json(values | {"skipped": skipped.json()})
    else:
        print(explain_text(record, rendered, Screen.of(sys.stdout), seed=pipeline.seed, **place))


def _find(records: Iterator[Record], id: str, data: str) -> Record:
    """The record with this id or picture. `DataError` names the nearest when there is none."""
    ids: list[str] = []
    for record in records:
        if id in (record.id, record.image):
            return record
        if len(ids) < MAX_IDS_KEPT:
            ids.append(record.id)
    near = ", ".join(map(repr, get_close_matches(id, ids, 3, 0.5)))
    hint = f"near it: {near}" if near else f"the first id is {ids[0]!r}" if ids else "no record could be read"
    raise DataError(f"no record has the id {id!r}", where=data, hint=hint)
