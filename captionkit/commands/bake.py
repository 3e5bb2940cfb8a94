"""The command `captionkit bake`: K captions of each picture as plain files, for trainers of all kinds."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from captionkit.bake import CaptionsJson, Form, KohyaDataset, Lines, Tally, TextLists, Variants, bake
from captionkit.bake.form import percent
from captionkit.bake.lines import Reader
from captionkit.commands.arguments import (
    at_place,
    command,
    load_recipe,
    number,
    print_json,
    reads,
    tell_skipped,
    whole_number,
)
from captionkit.errors import CaptionkitError, DataError
from captionkit.readers.folder import FolderSource
from captionkit.readers.open import open_source
from captionkit.readers.parallel import usable_cores
from captionkit.readers.source import Source
from captionkit.report import Skipped
from captionkit.screen import printable

FORMS = ("lines", "kohya", "captions.json", "list")
READERS: tuple[Reader, ...] = get_args(Reader)
PICTURES = ("stay", "copy", "link")

_EXAMPLES = """\
examples:
  captionkit bake hyperfusion pictures/ -k 8 -o baked --form kohya            kohya's sd-scripts
  captionkit bake hyperfusion pictures/ -k 8 -o baked --form lines --trainer onetrainer --pictures link
  captionkit bake hyperfusion pictures/ -k 8 -o baked --form captions.json    diffusion-pipe
  captionkit bake hyperfusion pictures/ -k 8 -o metadata.parquet --form list  diffusers, MosaicML

forms:
  lines          a .txt for each picture, one caption to a line; --trainer says who reads it
  kohya          dataset.toml with two subsets, of which one is mirrored, and the captions
  captions.json  {"a.png": ["...", "..."]} in each folder
  list           a .jsonl or .parquet table with a list of captions in each row

The captions are draws 0 to K - 1 of one epoch, always the same for the same recipe, seed and record. They
are drawn as of pictures that are not mirrored. What was written before and differs is not overwritten
without --overwrite, and nothing is changed when something goes wrong.
"""


def add_bake(commands: Any) -> None:
    """Add `bake` to a parser's subparsers."""
    does = "K captions of each picture as plain files, for trainers that cannot call captionkit"
    parser = command(commands, "bake", _bake, does, _EXAMPLES)
    parser.description = f"Write {does}."
    reads(parser)
    at_place(parser)
    number(parser, "-k", whole_number, 8, "K", "captions of each picture")
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="the folder or table to write")
    parser.add_argument("--form", required=True, choices=FORMS, help="what to write; see below")
    parser.add_argument("--trainer", choices=READERS, help="with --form lines: who reads them")
    parser.add_argument(
        "--pictures", choices=PICTURES, default="stay", help="bring the pictures to OUT too (default: stay)"
    )
    parser.add_argument("--split", action="store_true", help="with --form lines: mirrored/ and unmirrored/")
    parser.add_argument("--overwrite", action="store_true", help="replace files that hold something else")
    number(parser, "--processes", whole_number, usable_cores(), "N", "how many processes draw")


def _bake(arguments: argparse.Namespace) -> None:
    pipeline, source, skipped = load_recipe(arguments.recipe), open_source(arguments.data), Skipped()
    variants = Variants(pipeline, arguments.k, arguments.epoch, arguments.samples)
    form = _form(arguments, source)
    try:
        tally = bake(source, variants, form, processes=arguments.processes, report=skipped.add)
    finally:
        tell_skipped(skipped)
    if arguments.json:
        values = {"output": arguments.output, "form": arguments.form, **asdict(tally.count)}
        print_json(values | {"left_out": dict(tally.losses.counts), "advice": form.advice(tally.count)})
        return
    for line in tally.losses.lines():
        print(f"captionkit: {printable(line)}", file=sys.stderr)
    print(printable("\n".join(_summary(arguments, tally, variants))))
    for line in form.advice(tally.count):
        print(printable(f"next: {line}"), file=sys.stderr)


def _form(arguments: argparse.Namespace, source: Source) -> Form:
    output, root = Path(arguments.output), source.root
    if isinstance(source, FolderSource) and arguments.form != "list" and _brings_files(arguments):
        _not_the_data(output, root)
    if arguments.form == "lines":
        if arguments.trainer is None:
            raise CaptionkitError(
                "--form lines needs to know who reads them: braces and empty lines mean other things to each",
                hint=f"--trainer {', '.join(READERS)}",
            )
        return Lines(
            output, root, arguments.trainer, arguments.pictures, arguments.split, arguments.overwrite
        )
    for flag, given in (("--trainer", arguments.trainer), ("--split", arguments.split)):
        if given:
            raise CaptionkitError(f"{flag} belongs to --form lines, not to --form {arguments.form}")
    if arguments.form == "list":
        return _table(arguments, output, root)
    if arguments.form == "kohya":
        return KohyaDataset(output, root, arguments.pictures, arguments.overwrite)
    return CaptionsJson(output, root, arguments.pictures, arguments.overwrite)


def _table(arguments: argparse.Namespace, output: Path, root: Path) -> TextLists:
    if arguments.pictures != "stay":
        raise CaptionkitError(
            "a list brings no pictures along",
            hint="write it into their folder: -o PICTURES/metadata.jsonl",
        )
    if os.path.lexists(output) and not arguments.overwrite:
        raise DataError("is there already", where=str(output), hint="another name, or --overwrite")
    return TextLists(output, root)


def _brings_files(arguments: argparse.Namespace) -> bool:
    """Whether there will be pictures or .txt files in the output."""
    return bool(arguments.form == "lines" or arguments.pictures != "stay")


def _not_the_data(output: Path, root: Path) -> None:
    """The .txt files there are what the captions are made of, and what is below is read as data too."""
    if root.resolve() in (output.resolve(), *output.resolve().parents):
        raise DataError(
            f"lies in the folder of the data, {root}, where it would be read as data",
            where=str(output),
            hint="another folder, with --pictures link",
        )


def _summary(arguments: argparse.Namespace, tally: Tally, variants: Variants) -> list[str]:
    count = tally.count
    lines = [
        f"{arguments.output}: {count.k} captions of {count.pictures:,} pictures,"
        f" {count.distinct / count.pictures:.1f} different ones of each on average",
        f"may be mirrored by a trainer: {count.may_flip:,} of {count.pictures:,} pictures",
    ]
    if count.empty:
        share = percent(count.empty / count.texts)
        lines.append(f"empty captions: {count.empty:,} of {count.texts:,} ({share})")
    if count.all_empty:
        lines.append(f"pictures with empty captions only: {count.all_empty:,}")
    if count.breaks and arguments.form in ("lines", "kohya"):
        lines.append(f"captions with a line break, written as a space: {count.breaks:,}")
    flip = variants.pipeline.flip
    if count.may_flip and flip.p != 0.5:
        lines.append(f"the recipe mirrors with p = {flip.p}; most trainers mirror half of the draws or none")
    if variants.changes:
        lines.append(
            "the recipe changes over the run and these captions do not: they are those of epoch"
            f" {variants.epoch} and {variants.samples:,} samples; --epoch and --samples make later ones"
        )
    return lines
