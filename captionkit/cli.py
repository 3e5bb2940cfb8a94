"""The command `captionkit`: what a recipe makes of your data, seen, counted, written."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import TextIO

from captionkit.commands.arguments import command, print_json
from captionkit.commands.bake import add_bake
from captionkit.commands.bench import add_command as add_bench
from captionkit.commands.clean import add_clean
from captionkit.commands.convert import add_convert
from captionkit.commands.correlations import add_commands as add_correlations
from captionkit.commands.diff import add_diff
from captionkit.commands.explain import add_explain
from captionkit.commands.implications import add_commands as add_implications
from captionkit.commands.import_recipe import add_import
from captionkit.commands.lint import add_lint
from captionkit.commands.percentiles import add_command as add_percentiles
from captionkit.commands.preview import add_preview
from captionkit.commands.report import add_report
from captionkit.commands.serve import add_serve
from captionkit.commands.stats import add_stats
from captionkit.errors import CaptionkitError
from captionkit.schema import recipe_schema
from captionkit.screen import printable

USER_ERROR, INTERRUPTED, BROKEN_PIPE = 2, 130, 141

_EXAMPLES = """\
examples: a first look at your data,
  captionkit import kohya dataset.toml -o recipe.toml      a recipe that does what kohya's trainer is told
  captionkit preview hyperfusion pictures/                 what five pictures' captions look like
  captionkit explain hyperfusion pictures/ --id cats/two   every step of one caption, and why
what is wrong, and what becomes of every tag,
  captionkit lint recipe.toml pictures/
  captionkit stats recipe.toml pictures/
  captionkit report recipe.toml pictures/ -o report.html   all of it as one page
  captionkit serve recipe.toml pictures/                   a local page: move a rate, see the captions change
  captionkit diff old.toml new.toml pictures/              what a change of recipe changes
and on into your trainer
  captionkit convert pictures/ pictures.parquet
  captionkit bake recipe.toml pictures/ -k 8 -o baked/ --form kohya
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
    parser, given = _parser(), sys.argv[1:] if argv is None else argv
    if not given:
        parser.print_help(sys.stderr)
        return USER_ERROR
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _end)
    try:
        arguments = parser.parse_args(given)
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


def _end(number: int, frame: object) -> None:
    """End as Ctrl-C does, with everything tidied up; schedulers ask for it with SIGTERM."""
    raise SystemExit(128 + number)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="captionkit",
        description="See, count and write what a caption recipe makes of your data.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    add_preview(commands)
    add_explain(commands)
    add_stats(commands)
    add_lint(commands)
    add_report(commands)
    add_diff(commands)
    add_serve(commands)
    add_convert(commands)
    add_clean(commands)
    add_import(commands)
    add_bake(commands)
    add_implications(commands)
    add_correlations(commands)
    add_percentiles(commands)
    add_bench(commands)
    does = "the JSON schema of a recipe, for editors"
    schema = command(commands, "schema", _schema, does, _SCHEMA_EXAMPLES)
    schema.add_argument("--json", action="store_true", help="changes nothing: a schema is JSON")
    return parser


def _schema(arguments: argparse.Namespace) -> None:
    print_json(recipe_schema())


def _never_fail_on_a_character(stream: TextIO) -> None:
    """A terminal that lacks a character still gets the line, with the character's number in its place."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
