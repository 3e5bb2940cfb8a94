"""The command `captionkit`: look at what a recipe makes of your data."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from itertools import islice
from typing import Any, TextIO

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
from captionkit.commands.bench import add_command as add_bench
from captionkit.commands.correlations import add_commands as add_correlations
from captionkit.commands.implications import add_commands as add_implications
from captionkit.commands.percentiles import add_command as add_percentiles
from captionkit.errors import CaptionkitError, DataError
from captionkit.marked import marked
from captionkit.marked_text import mirror_text
from captionkit.readers import read_records
from captionkit.record import Record
from captionkit.report import (
    Skipped,
    explain_json,
    explain_text,
    preview_json,
    preview_marked,
    preview_text,
)
from captionkit.schema import recipe_schema
from captionkit.screen import Screen, printable

USER_ERROR, INTERRUPTED, BROKEN_PIPE = 2, 130, 141

MAX_IDS_KEPT = 10_000
"""So many ids are kept for "did you mean"."""

_EXAMPLES = """\
examples:
  captionkit preview hyperfusion pictures/                 what five pictures' captions look like
  captionkit preview recipe.toml data.jsonl -n 20 --draws 2
  captionkit explain hyperfusion pictures/ --id cats/two   every step of one caption, and why
  captionkit schema > recipe.schema.json                   for your editor
"""
_PREVIEW_EXAMPLES = """\
examples:
  captionkit preview hyperfusion pictures/
  captionkit preview recipe.toml data.jsonl -n 20 --draws 2 --epoch 3
  captionkit preview hyperfusion pictures/ --marks | less  what left [-struck out-], *important* tags marked
  captionkit preview recipe.toml data.jsonl --json | jq -r '.records[].draws[].text'
"""
_EXPLAIN_EXAMPLES = """\
examples:
  captionkit explain hyperfusion pictures/ --id cats/two
  captionkit explain recipe.toml pictures/ --id cats/two.png --epoch 3 --draw 1 --json

What a step takes away is struck out, what it adds is green, important tags are yellow; without colour:
[-away-] {+added+} *important*.
Set NO_COLOR to have no colour on a terminal.
"""
_SCHEMA_EXAMPLES = """\
example:
  captionkit schema > recipe.schema.json

Many editors then complete and check a TOML recipe whose first line is
  #:schema ./recipe.schema.json
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 0, or 2 for anything the user can mend."""
    if sys.stdout is None:  # Closed, as by `>&-`.
        print("captionkit: error: cannot write the output: it is closed", file=sys.stderr)
        return USER_ERROR
    for stream in (sys.stdout, sys.stderr):
        _never_fail_on_a_character(stream)
    try:
        arguments = _parser().parse_args(argv)
        arguments.run(arguments)
        sys.stdout.flush()
    except CaptionkitError as error:
        print(f"captionkit: error: {printable(str(error))}", file=sys.stderr)
        return USER_ERROR
    except OSError as error:  # Of the output: the readers make theirs a CaptionkitError.
        # Python flushes once more at exit: let it, into nothing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # The reader, such as `head`, has seen enough.
            return BROKEN_PIPE
        print(f"captionkit: error: cannot write the output: {error.strerror}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="captionkit",
        description="See what a caption recipe makes of your data.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    does = "the captions of the first records, several draws of each"
    preview = command(commands, "preview", _preview, does, _PREVIEW_EXAMPLES)
    reads(preview)
    at_place(preview)
    number(preview, "-n", whole_number, 5, "N", "how many records")
    number(preview, "--draws", whole_number, 4, "K", "draws of each record")
    preview.add_argument(
        "--marks",
        action=argparse.BooleanOptionalAction,
        help="what left struck out with the step that took it, important tags marked (on a terminal: yes)",
    )

    does = "one caption step by step: before, after, and the reason"
    explain = command(commands, "explain", _explain, does, _EXPLAIN_EXAMPLES)
    reads(explain)
    at_place(explain)
    explain.add_argument("--id", required=True, help="the record's id, or its picture's path")
    number(explain, "--draw", int, 0, "D", "which repeat within the epoch")

    does = "the JSON schema of a recipe, for editors"
    schema = command(commands, "schema", _schema, does, _SCHEMA_EXAMPLES)
    schema.add_argument("--json", action="store_true", help="changes nothing: a schema is JSON")
    add_implications(commands)
    add_correlations(commands)
    add_percentiles(commands)
    add_bench(commands)
    return parser


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
    else:
        tell_next("lint", arguments.recipe, arguments.data, why="what is wrong with recipe and data")


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


def _schema(arguments: argparse.Namespace) -> None:
    print_json(recipe_schema())


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


def _never_fail_on_a_character(stream: TextIO) -> None:
    """A terminal that lacks a character still gets the line, with the character's number in its place."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
