"""The command `captionkit import`: another trainer's settings as a recipe."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from captionkit.commands.arguments import print_json, whole_number
from captionkit.commands.parts import writing_command
from captionkit.errors import DataError
from captionkit.importing.kohya import ImportedRecipe, import_kohya
from captionkit.importing.kohya_arguments import dataset_toml
from captionkit.load import dump_pipeline
from captionkit.readers.kohya_arguments import TrainerArgumentsError
from captionkit.screen import printable

_EXAMPLES = """\
examples:
  captionkit import kohya dataset.toml -o recipe.toml
  captionkit import kohya dataset.toml --subset 1.2 -o second.toml
  captionkit import kohya dataset.toml --max-train-steps 20000 | less

FILE is a dataset configuration. Of the trainer's own arguments (--config_file, or what kohya_ss saves) the
dataset configuration that says the same is printed, to look through and import.

Every option that cannot be kept exactly is told on the error stream, with its line, what happens instead, and
what to do; so are options that sd-scripts does not know, and folders that are not there.
"""


def add_import(commands: Any) -> None:
    """Add `import` to a parser's subparsers."""
    does = "another trainer's settings as a recipe"
    command = writing_command(commands, "import", _import, does, _EXAMPLES)
    command.add_argument("trainer", choices=("kohya",), metavar="TRAINER", help="kohya: sd-scripts")
    command.add_argument("settings", metavar="FILE", help="what --dataset_config is given, .toml or .json")
    command.add_argument("-o", "--output", metavar="RECIPE", help="the file to write (default: the output)")
    command.add_argument("--overwrite", action="store_true", help="replace RECIPE if it is there")
    command.add_argument(
        "--subset", metavar="N.M", help="the recipe of one subset alone, by its number or its folder"
    )
    command.add_argument(
        "--max-train-steps",
        type=whole_number,
        metavar="N",
        help="how long the training is, for a token_warmup_step below 1",
    )


def _import(arguments: argparse.Namespace) -> None:
    try:
        made = import_kohya(
            arguments.settings, subset=arguments.subset, max_train_steps=arguments.max_train_steps
        )
    except TrainerArgumentsError as error:
        _print_dataset(error, arguments.json)
        raise _led_on(error) from None
    if arguments.output is not None:
        _write(Path(arguments.output), made.text, arguments.overwrite)
    if arguments.json:
        print_json(_json(made))
        return
    for line in _lines(made):
        print(f"captionkit: {printable(line)}", file=sys.stderr)
    if arguments.output is None:
        print(made.text, end="")
        return
    num = len(made.changes) + len(made.unread)
    differ = f"{num} options differ, see above" if num else "nothing differs"
    print(f"wrote {printable(arguments.output)}; {differ}", file=sys.stderr)
    words = f"captionkit preview {arguments.output} {arguments.settings}"
    print(f"next: {printable(words)}", file=sys.stderr)


def _print_dataset(error: TrainerArgumentsError, as_json: bool) -> None:
    """Print the dataset TOML that the arguments amount to."""
    toml = dataset_toml(error)
    if as_json:
        print_json({"dataset_toml": toml})
    else:
        print(toml, end="", flush=True)


def _led_on(error: TrainerArgumentsError) -> DataError:
    """The error with what to do in this command."""
    words = shlex.join(["captionkit", "import", "kohya", str(error.path)])
    hint = f"one to begin with is printed: {words} > dataset.toml, then import dataset.toml"
    return DataError(error.what, where=error.where, hint=hint)


def _write(path: Path, text: str, overwrite: bool) -> None:
    if path.suffix.lower() != ".toml":
        raise DataError("a recipe's name must end in .toml", where=str(path))
    try:
        with path.open("w" if overwrite else "x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError as error:
        raise DataError("is there already", where=str(path), hint="give --overwrite to replace it") from error
    except OSError as error:
        raise DataError(f"cannot be written: {error.strerror}", where=str(path)) from error


def _lines(made: ImportedRecipe) -> list[str]:
    """What the user must know, in the order of its weight."""
    lines = [f"the data: {fault}" for fault in made.data]
    lines += [f"not read: {fault}" for fault in made.unread]
    lines += [f"differs: {change}" for change in made.changes]
    if made.elsewhere:
        lines.append(f"not about captions, set in the trainer: {', '.join(made.elsewhere)}")
    return lines


def _json(made: ImportedRecipe) -> dict[str, Any]:
    changes = [
        {"where": one.where, "option": one.option, "instead": one.instead, "do": one.do}
        for one in made.changes
    ]
    return {
        "recipe": dump_pipeline(made.pipeline),
        "toml": made.text,
        "differs": changes,
        "not_read": [str(fault) for fault in made.unread],
        "data": [str(fault) for fault in made.data],
        "not_about_captions": list(made.elsewhere),
    }
