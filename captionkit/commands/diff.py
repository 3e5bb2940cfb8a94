"""The command `captionkit diff`: what a change of recipe changes."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from captionkit.commands.arguments import (
    at_place,
    command,
    load_recipe,
    number,
    print_json,
    tell_next,
    tell_skipped,
    whole_number,
)
from captionkit.commands.stats import counts
from captionkit.compare.run import compare
from captionkit.compare.shown import comparison_json, comparison_text
from captionkit.readers.open import open_source
from captionkit.report import Skipped
from captionkit.screen import Screen

_EXAMPLES = """\
examples:
  captionkit diff hyperfusion recipe.toml pictures/
  captionkit diff old.toml new.toml data.jsonl --sample 2000 --examples 8
  captionkit diff old.toml new.toml data.jsonl --json | jq '.settings'

Both recipes draw the same captions of the same records. Draws hang on the steps' addresses, so what the
change does not touch comes out the same, and every text that differs differs by the change. Of the figures
those are shown whose difference is more than chance.
"""


def add_diff(commands: Any) -> None:
    """Add `diff` to a parser's subparsers."""
    does = "what a change of recipe changes: settings, figures, tags, texts"
    diff = command(commands, "diff", _diff, does, _EXAMPLES)
    for name, which in (("recipe_a", "RECIPE_A"), ("recipe_b", "RECIPE_B")):
        diff.add_argument(name, metavar=which, help="a recipe file (.toml, .json) or a preset's name")
    diff.add_argument("data", metavar="DATA", help="a folder of pictures, or a file or table of records")
    diff.add_argument("--json", action="store_true", help="print JSON instead of text")
    at_place(diff)
    counts(diff)
    number(diff, "-n", whole_number, 15, "N", "how many tags are shown")
    number(diff, "--examples", whole_number, 4, "N", "how many texts are shown")


def _diff(arguments: argparse.Namespace) -> None:
    a, b, skipped = load_recipe(arguments.recipe_a), load_recipe(arguments.recipe_b), Skipped()
    try:
        comparison = compare(
            a,
            b,
            open_source(arguments.data),
            recipes=(arguments.recipe_a, arguments.recipe_b),
            data=arguments.data,
            sample=arguments.sample,
            draws=arguments.draws,
            epoch=arguments.epoch,
            samples=arguments.samples,
            processes=arguments.processes,
            examples=arguments.examples,
            report=skipped.add,
        )
    finally:
        tell_skipped(skipped)
    if arguments.json:
        print_json(comparison_json(comparison) | {"skipped": skipped.json()})
        return
    print(comparison_text(comparison, Screen.of(sys.stdout), top=arguments.n))
    out = ("report", arguments.recipe_b, arguments.data, "-o", "report.html")
    tell_next(*out, why="the second recipe on a page, with pictures")
