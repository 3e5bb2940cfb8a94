"""The command `captionkit serve`."""

from __future__ import annotations

import argparse
import sys
from itertools import islice
from pathlib import Path
from typing import Any

from captionkit.commands.arguments import (
    at_place,
    command,
    load_recipe,
    number,
    tell_skipped,
    whole_number,
)
from captionkit.errors import DataError
from captionkit.pictures import PictureFolders
from captionkit.readers.open import open_source
from captionkit.report import Skipped
from captionkit.screen import printable

_EXAMPLES = """\
examples:
  captionkit serve hyperfusion pictures/
  captionkit serve recipe.toml data.jsonl --save new.toml --port 8000

Move a rate and see the captions change. The page is served to this machine alone, unless --host says
otherwise. It reads the data's folder and those that --pictures names, and writes to --save alone. Ctrl-C ends
it.
"""


def add_serve(commands: Any) -> None:
    """Add `serve` to a parser's subparsers."""
    does = "a local page on which you move rates and see captions change"
    serve = command(commands, "serve", _serve, does, _EXAMPLES)
    serve.add_argument("recipe", metavar="RECIPE", help="a recipe file (.toml, .json) or a preset's name")
    serve.add_argument("data", metavar="DATA", help="a folder of pictures, or a file or table of records")
    at_place(serve)
    number(serve, "--records", whole_number, 2000, "N", "how many records can be chosen, from the first on")
    serve.add_argument("--save", metavar="FILE", help="where the recipe is saved; not replaced unless told")
    serve.add_argument(
        "--pictures",
        action="append",
        default=[],
        metavar="DIR",
        help="a folder that pictures may lie in besides the data's own; may be given several times",
    )
    number(serve, "--port", int, 7860, "PORT", "0 takes any that is free")
    serve.add_argument(
        "--host", default="127.0.0.1", help="who may reach it (default: 127.0.0.1, this machine)"
    )


def _serve(arguments: argparse.Namespace) -> None:
    # Gradio takes seconds to import: only when it is wanted, and after what can be wrong without it.
    pipeline, skipped = load_recipe(arguments.recipe), Skipped()
    source = open_source(arguments.data)
    records = list(islice(source.records(skipped.add), arguments.records))
    tell_skipped(skipped)
    if not records:
        raise DataError("no record could be read", where=arguments.data)
    save = None if arguments.save is None else Path(arguments.save)
    if save is not None and save.suffix != ".toml":
        raise DataError("a recipe is saved as a .toml file", where=str(save))
    folders = PictureFolders(source.root, tuple(map(Path, arguments.pictures)))

    from captionkit.serve.page import blocks
    from captionkit.serve.run import is_loopback, serve
    from captionkit.serve.studio import Studio

    studio = Studio(pipeline, records, folders, samples=arguments.samples, save=save)
    page = blocks(studio, title=f"{arguments.recipe} over {arguments.data}", epoch=arguments.epoch)
    if not is_loopback(arguments.host):
        may = f" and can write {save}" if save else ""
        told = f"whoever reaches this machine sees the data{may}; there is no password"
        print(printable(f"captionkit: warning: --host {arguments.host}: {told}"), file=sys.stderr)
    serve(page, host=arguments.host, port=arguments.port, ready=_ready)
    print("ended")


def _ready(address: str) -> None:
    print(printable(f"{address}    (open it in a browser; Ctrl-C ends it)"), flush=True)
