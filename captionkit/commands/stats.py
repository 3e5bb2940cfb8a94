"""The command `captionkit stats`: what a recipe makes of the tags and captions of a data set, in figures."""

from __future__ import annotations

import argparse
import sys
from difflib import get_close_matches
from typing import Any

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
from captionkit.pipeline import CaptionPipeline
from captionkit.readers.open import open_source
from captionkit.readers.parallel import usable_cores
from captionkit.record import fold
from captionkit.report import Skipped
from captionkit.screen import Screen
from captionkit.stats.gather import DRAWS, SAMPLE, gather
from captionkit.stats.plain import plain
from captionkit.stats.result import Stats, TagStats
from captionkit.stats.shown import stats_text, tag_text

_EXAMPLES = """\
examples:
  captionkit stats hyperfusion pictures/
  captionkit stats recipe.toml data.parquet -n 50
  captionkit stats recipe.toml data.jsonl --tag "red fox"
  captionkit stats recipe.toml data.jsonl --json | jq '.typos'

What is in the data is counted over every record. What is trained is counted over captions drawn of --sample
records, the same ones for every recipe. A tag with * is important. `kept` is how often a caption says a tag
that its record has. Of two figures with → between them the first is of the data, the second of captions.
Each record counts once: kohya.num_repeats is not counted in.
"""


def add_stats(commands: Any) -> None:
    """Add `stats` to a parser's subparsers."""
    does = "what is really trained, in figures: tags, sources, lengths, mirroring"
    stats = command(commands, "stats", _stats, does, _EXAMPLES)
    reads(stats)
    at_place(stats)
    number(stats, "-n", whole_number, 20, "N", "how many tags are shown")
    stats.add_argument("--tag", metavar="NAME", help="show one tag in full")
    counts(stats)


def counts(command: argparse.ArgumentParser) -> None:
    """The arguments of a command that gathers figures."""
    number(command, "--sample", whole_number, SAMPLE, "N", "of how many records captions are drawn")
    number(command, "--draws", whole_number, DRAWS, "K", "captions of each")
    number(command, "--processes", whole_number, usable_cores(), "N", "how many read at once")


def gathered(arguments: argparse.Namespace, pipeline: CaptionPipeline, skipped: Skipped) -> Stats:
    """The figures that the arguments ask for; what was skipped is told on the error stream."""
    try:
        return gather(
            pipeline,
            open_source(arguments.data),
            data=arguments.data,
            recipe=arguments.recipe,
            sample=arguments.sample,
            draws=arguments.draws,
            epoch=arguments.epoch,
            samples=arguments.samples,
            processes=arguments.processes,
            report=skipped.add,
        )
    finally:
        tell_skipped(skipped)


def _stats(arguments: argparse.Namespace) -> None:
    skipped = Skipped()
    stats = gathered(arguments, load_recipe(arguments.recipe), skipped)
    screen = Screen.of(sys.stdout)
    if arguments.tag is not None:
        tag = _find(stats, arguments.tag, arguments.data)
        if arguments.json:
            print_json(plain(tag))
        else:
            print(tag_text(stats, tag, screen))
    elif arguments.json:
        print_json(plain(stats) | {"skipped": skipped.json()})
    else:
        print(stats_text(stats, screen, top=arguments.n))
        tell_next("lint", arguments.recipe, arguments.data, why="what to mend")


def _find(stats: Stats, name: str, data: str) -> TagStats:
    """The tag of this name, in any spelling. `DataError` names the nearest when there is none."""
    folded = fold(name)
    for tag in stats.tags:
        if tag.name == folded:
            return tag
    near = ", ".join(map(repr, get_close_matches(folded, [tag.name for tag in stats.tags], 3, 0.6)))
    hint = f"near it: {near}" if near else "captionkit stats without --tag shows the most frequent ones"
    raise DataError(f"no tag is called {name!r}, in the data or by the recipe", where=data, hint=hint)
