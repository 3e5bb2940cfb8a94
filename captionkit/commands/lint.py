"""The command `captionkit lint`: what is wrong with a recipe over data, and what mends it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from captionkit.commands.arguments import (
    at_place,
    command,
    load_recipe,
    print_json,
    reads,
    tell_next,
)
from captionkit.commands.stats import counts, gathered
from captionkit.implications import read_aliases
from captionkit.lint.findings import Severity
from captionkit.lint.rules import lint
from captionkit.lint.shown import findings_json, findings_text
from captionkit.report import Skipped
from captionkit.screen import Screen

_EXAMPLES = """\
examples:
  captionkit lint hyperfusion pictures/
  captionkit lint recipe.toml data.jsonl --aliases tag_aliases.csv.gz
  captionkit lint recipe.toml data.jsonl --strict        exit status 1 for any error or warning
  captionkit lint recipe.toml data.jsonl --ignore typos --ignore one-tag
  captionkit lint recipe.toml data.jsonl --json | jq -r '.findings[] | .code + ": " + .do'

It reads records and draws captions; pictures are not opened: captionkit report tells of broken ones. Lines
under "what to do" are TOML for the recipe; where it has that table already they go into it.
"""

FOUND = 1
"""The exit status of --strict where there is an error or a warning."""


def add_lint(commands: Any) -> None:
    """Add `lint` to a parser's subparsers."""
    does = "what is wrong with a recipe or its data, the weightiest first, and what mends it"
    command_ = command(commands, "lint", _lint, does, _EXAMPLES)
    reads(command_)
    at_place(command_)
    counts(command_)
    command_.add_argument(
        "--aliases", metavar="FILE", help="an export of aliases, whose old names are looked for in the data"
    )
    command_.add_argument(
        "--ignore",
        metavar="CODE",
        action="append",
        default=[],
        help="leave out findings of this code, such as typos; may be given several times",
    )
    command_.add_argument(
        "--strict", action="store_true", help=f"exit status {FOUND} if there is an error or a warning"
    )


def _lint(arguments: argparse.Namespace) -> None:
    pipeline, skipped = load_recipe(arguments.recipe), Skipped()
    aliases = None if arguments.aliases is None else read_aliases(Path(arguments.aliases))
    stats = gathered(arguments, pipeline, skipped)
    findings = tuple(
        one for one in lint(stats, pipeline, aliases=aliases) if one.code not in arguments.ignore
    )
    if arguments.json:
        print_json({"findings": findings_json(findings), "skipped": skipped.json()})
    else:
        print(findings_text(findings, Screen.of(sys.stdout)))
        out = ("report", arguments.recipe, arguments.data, "-o", "report.html")
        tell_next(*out, why="the same on one page, with pictures")
    if arguments.strict and any(finding.severity is not Severity.NOTE for finding in findings):
        raise SystemExit(FOUND)
