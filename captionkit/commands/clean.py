"""The command `captionkit clean`: captions of models without their lead-ins, doubts, repetitions."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from captionkit.commands.arguments import print_json, tell_next, tell_skipped, whole_number
from captionkit.commands.parts import writing_command
from captionkit.errors import CaptionkitError, DataError
from captionkit.prose.rules import Group
from captionkit.readers.open import FORMATS, open_source
from captionkit.readers.parallel import usable_cores
from captionkit.report import Skipped
from captionkit.screen import Mark, Piece, Screen, printable
from captionkit.writers.open import TARGETS, open_target
from captionkit.writers.whole_file import whole_file

_EXAMPLES = """\
examples:
  captionkit clean captions.txt -o cleaned.txt              one caption to a line, lines keep their numbers
  captionkit clean captions.txt --diff                      what changes, and which rule does it
  captionkit clean data.jsonl -o cleaned.jsonl --source cogvlm
  captionkit clean data.parquet -o cleaned.parquet --off hedges --skip "mood clause" --rules mine.toml
  captionkit clean pictures/ --html before-after.html

The rules are those of the step clean_captions, which does the same while a run goes on and leaves the data
as it is. SRC is text with a caption to a line (- or a name in .txt), or records in any format that captionkit
reads; of records, captions of which nothing is left are left out.
"""
_DIFF, _PAGE = 20, 500


def add_clean(commands: Any) -> None:
    """Add `clean` to a parser's subparsers."""
    does = "take lead-ins, doubts, repetitions and talk about the picture out of captions by models"
    parser = writing_command(commands, "clean", _clean, does, _EXAMPLES)
    flag = parser.add_argument
    flag(
        "source", metavar="SRC", nargs="?", default="-", help="captions or records (default: lines of stdin)"
    )
    flag("-o", "--output", metavar="DST", help="the file or folder to write")
    flag("--diff", action="store_true", help="show the captions that change, and what each rule did")
    flag("--html", metavar="PAGE", help="the same as a page")
    says = f"how many changed captions are shown (default: {_DIFF}, on a page {_PAGE})"
    flag("-n", type=whole_number, metavar="N", help=says)
    flag(
        "--source",
        dest="sources",
        action="append",
        metavar="NAME",
        help="only captions of this source, such as cogvlm; may be repeated",
    )
    flag(
        "--off",
        action="append",
        default=[],
        choices=get_args(Group),
        help="a group of rules that shall not work; may be repeated",
    )
    flag("--skip", action="append", default=[], metavar="RULE", help="a rule that shall not work")
    flag("--rules", metavar="FILE", help="a TOML file of rules of your own")
    flag("--from", dest="format", choices=FORMATS, help="what SRC is, if its name does not tell")
    flag("--to", choices=TARGETS, help="what DST shall be, if its name does not tell")
    flag("--overwrite", action="store_true", help="replace what is there under the name DST")
    flag("--processes", type=whole_number, default=usable_cores(), metavar="N", help=argparse.SUPPRESS)


def _clean(arguments: argparse.Namespace) -> None:
    # Imported here, for the other commands do without the rules.
    from captionkit.cleaned import Cleaning

    most = arguments.n or max(
        _PAGE if arguments.html else 0, _DIFF if arguments.diff or arguments.json else 0
    )
    cleaning = Cleaning(_rules(arguments), most)
    if arguments.format is None and (arguments.source == "-" or arguments.source.lower().endswith(".txt")):
        _clean_lines(arguments, cleaning)
    else:
        _clean_records(arguments, cleaning)
    if arguments.html:
        from captionkit.page.before_after import before_after

        page = before_after(cleaning, data="stdin" if arguments.source == "-" else arguments.source)
        with whole_file(Path(arguments.html)) as file:
            file.write(page.encode())
    if arguments.json:
        print_json(_values(cleaning))
    elif arguments.diff:
        print("\n\n".join(_shown(cleaning, Screen.of(sys.stdout), arguments.n or _DIFF)))
    _tell(arguments, cleaning)


def _rules(arguments: argparse.Namespace) -> Any:
    from captionkit.policies.clean import CleanCaptions

    settings: dict[str, Any] = dict.fromkeys(arguments.off, False)
    if arguments.rules is not None:
        settings["rules"] = arguments.rules
    sources = None if arguments.sources is None else tuple(arguments.sources)
    try:
        return CleanCaptions(sources=sources, skip=tuple(arguments.skip), **settings)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise CaptionkitError(fault, hint="docs/policies/cleaning.md names the rules") from None


def _clean_lines(arguments: argparse.Namespace, cleaning: Any) -> None:
    """Every line is a caption; one of which nothing is left stays as an empty line."""
    if arguments.sources:
        raise CaptionkitError("--source is for records: lines do not say who wrote them")
    shows = arguments.diff or arguments.html or arguments.json
    if arguments.output:
        if os.path.lexists(arguments.output) and not arguments.overwrite:
            raise DataError("is there already", where=arguments.output, hint="another name, or --overwrite")
        with whole_file(Path(arguments.output)) as file:
            for line in _lines(arguments.source, cleaning):
                file.write(line.encode() + b"\n")
        return
    for line in _lines(arguments.source, cleaning):
        if not shows:
            print(line)


def _lines(source: str, cleaning: Any) -> Iterator[str]:
    """The lines of a file or of the standard input, cleaned."""
    name = "stdin" if source == "-" else source
    try:
        with nullcontext(sys.stdin.buffer) if source == "-" else Path(source).open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                except UnicodeDecodeError:
                    raise DataError("is no UTF-8 text", where=f"{name}:{number}", hint="convert it") from None
                yield " ".join(cleaning.clean(text, f"line {number}").splitlines())
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=name) from error


def _clean_records(arguments: argparse.Namespace, cleaning: Any) -> None:
    from captionkit.cleaned import CleanedSource
    from captionkit.convert import convert

    source, skipped = open_source(arguments.source, format=arguments.format), Skipped()
    if not (arguments.output or arguments.diff or arguments.html or arguments.json):
        raise CaptionkitError(
            "nothing to do with the cleaned records",
            hint="-o DST writes them, --diff or --html PAGE shows what changes",
        )
    target = None
    if arguments.output:
        target = open_target(
            arguments.output, format=arguments.to, pictures=source.root, overwrite=arguments.overwrite
        )
    try:
        for record in source.records(skipped.add):
            cleaning.clean_record(record)
        if target is not None:
            converted = convert(
                CleanedSource(source, cleaning.rules),
                target,
                processes=arguments.processes,
                report=lambda error: None,  # They were told of in the first pass.
            )
            for line in converted.losses.lines():
                print(f"captionkit: {printable(line)}", file=sys.stderr)
    finally:
        tell_skipped(skipped)


def _shown(cleaning: Any, screen: Screen, most: int) -> Iterator[str]:
    """Each changed caption as one text, with what each rule did under it."""
    marks = {"kept": Mark.PLAIN, "dropped": Mark.GONE, "added": Mark.NEW}
    for one in cleaning.shown[:most]:
        pieces = [Piece(words.text, marks[words.fate]) for words in one.words()]
        lines = [screen.paragraph([Piece(one.where, Mark.HEAD)]), screen.paragraph(pieces, first="  ")]
        for change in one.changes:
            told = [
                Piece(change.rule, Mark.QUIET, ":"),
                Piece(_short(change.before, change.after), Mark.QUIET),
            ]
            lines.append(screen.paragraph(told, first="    ", rest="      "))
        yield "\n".join(lines)
    if not cleaning.shown:
        yield "no caption changes"


def _short(before: str, after: str) -> str:
    """What a rule did, without the words around it that stay."""
    if not after:
        return f"{_cut(before)!r} goes"
    old, new = before.split(), after.split()
    first = next(
        (at for at, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new))
    )
    last = 0
    while last < min(len(old), len(new)) - first and old[-1 - last] == new[-1 - last]:
        last += 1
    gone, come = old[first : len(old) - last], new[first : len(new) - last]
    return (
        f"{_cut(' '.join(gone))!r} becomes {_cut(' '.join(come))!r}"
        if come
        else f"{_cut(' '.join(gone))!r} goes"
    )


def _cut(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."


def _values(cleaning: Any) -> dict[str, Any]:
    return {
        "captions": cleaning.num_texts,
        "changed": cleaning.num_changed,
        "emptied": cleaning.num_emptied,
        "shown": [
            {
                "where": one.where,
                "before": one.before,
                "after": one.after,
                "changes": [
                    {"rule": change.rule, "before": change.before, "after": change.after}
                    for change in one.changes
                ],
            }
            for one in cleaning.shown
        ],
    }


def _tell(arguments: argparse.Namespace, cleaning: Any) -> None:
    """What was done, on the error stream: the output is for captions."""
    done = f"{cleaning.num_changed:,} of {cleaning.num_texts:,} captions changed"
    if cleaning.num_emptied:
        done += f", nothing is left of {cleaning.num_emptied:,}"
    print(f"captionkit: {done}", file=sys.stderr)
    for name in (arguments.output, arguments.html):
        if name:
            print(f"captionkit: wrote {printable(name)}", file=sys.stderr)
    if not (arguments.html or arguments.output or arguments.source == "-"):
        words = ("clean", arguments.source, "--html", "before-after.html")
        tell_next(*words, why="the same as a page")
