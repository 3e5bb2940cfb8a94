"""What the commands of captionkit have in common: their arguments, and how they speak of them."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from captionkit.load import load_pipeline, preset
from captionkit.pipeline import CaptionPipeline
from captionkit.report import Skipped
from captionkit.screen import Mark, Piece, Screen, printable


def command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], None], does: str, examples: str
) -> argparse.ArgumentParser:
    """Add a command with its help and examples."""
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=does,
        description=f"Show {does}.",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run)
    return command


def reads(command: argparse.ArgumentParser) -> None:
    """The arguments of a command that applies a recipe to data."""
    command.add_argument(
        "recipe",
        metavar="RECIPE",
        help="a recipe file (.toml, .json) or a preset's name, such as hyperfusion",
    )
    command.add_argument(
        "data",
        metavar="DATA",
        help="a folder of pictures with .txt, .caption or .json files beside them, a table, a tar, ...",
    )
    command.add_argument("--json", action="store_true", help="print JSON instead of text")


def at_place(command: argparse.ArgumentParser) -> None:
    """The arguments that say at which place of the run the captions are made."""
    number(command, "--epoch", int, 0, "E", "which epoch's draws")
    number(command, "--samples", int, 0, "N", "samples seen so far, for what follows over = samples")


def number(
    command: argparse.ArgumentParser,
    flag: str,
    kind: Callable[[str], int],
    default: int,
    letter: str,
    says: str,
) -> None:
    """Add an option that is a number; its help names the default."""
    command.add_argument(
        flag, type=kind, default=default, metavar=letter, help=f"{says} (default: {default})"
    )


def load_recipe(recipe: str) -> CaptionPipeline:
    """The pipeline of a recipe file, or of a preset by its name."""
    path = Path(recipe)
    if path.suffix in (".toml", ".json") or path.is_file():
        return load_pipeline(path)
    return preset(recipe)


def tell_skipped(skipped: Skipped) -> None:
    """Say on the error stream which records could not be read, and why."""
    for line in skipped.lines():
        _tell(f"captionkit: {line}", Mark.QUIET)


def tell_next(*words: str, why: str) -> None:
    """Say on the error stream which command leads on, and what for.

    >>> tell_next("lint", "my recipe.toml", "data", why="what is wrong")  # doctest: +SKIP
    next: captionkit lint 'my recipe.toml' data    (what is wrong)
    """
    _tell(f"next: {shlex.join(('captionkit', *words))}    ({why})", Mark.HEAD)


def _tell(line: str, mark: Mark) -> None:
    """Print a line on the error stream; on a terminal with its mark, and not beyond its width."""
    screen = Screen.of(sys.stderr)
    print(
        screen.paragraph([Piece(line, mark)], rest="  ") if screen.colour else printable(line),
        file=sys.stderr,
    )


def whole_number(text: str) -> int:
    """A whole number above 0, of an argument."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, got {value}")
    return min(value, sys.maxsize)


whole_number.__name__ = "whole number"  # What argparse calls the type of a value that is none.


def print_json(value: Any) -> None:
    """Print a value as JSON that people can read."""
    # Piece by piece: figures may fill 100 MB. A stream of fewer characters would get what is no JSON.
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    json.dump(value, sys.stdout, indent=2, ensure_ascii=not unicode)
    print()
