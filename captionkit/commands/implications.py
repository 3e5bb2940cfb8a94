"""The commands `captionkit implications build` and `captionkit implications report`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from captionkit.commands.arguments import print_json, whole_number
from captionkit.commands.implication_text import audit_text, built_json, built_text
from captionkit.commands.parts import Data, data_argument, group, names, writing_command
from captionkit.errors import RecipeError
from captionkit.implications import ImplicationGraph, ImplicationSource, read_implications
from captionkit.implications.audit import audit
from captionkit.implications.build import build_implications, write_implications
from captionkit.implications.exports import read_pairs
from captionkit.load import load_pipeline
from captionkit.policies.implied import DropImplied
from captionkit.policy import Config
from captionkit.problems import recipe_error
from captionkit.screen import printable

_BUILD_EXAMPLES = """\
examples:
  captionkit implications build tag_implications.csv.gz -o small.csv \\
      --aliases tag_aliases.csv.gz --tags tags.csv.gz --min-posts 2000 --categories general,species
  captionkit implications build tag_implications.json -o small.csv --leave-out avoid_posting \\
      --add red_fox fox --remove fox canine
"""
_REPORT_EXAMPLES = """\
examples:
  captionkit implications report recipe.toml pictures/
  captionkit implications report small.csv data.jsonl --json
"""


def add_commands(commands: Any) -> None:
    """Add `implications`, with its own commands, to a parser's subparsers."""
    implications = group(
        commands, "implications", "which tag implies which: trim a list, report on your data"
    )
    build = writing_command(
        implications,
        "build",
        _build,
        "write a trimmed list of implications, and say what was left out and why",
        _BUILD_EXAMPLES,
    )
    _build_arguments(build)
    report = writing_command(
        implications,
        "report",
        _report,
        "which implied tags your data never shows alone, and which implications it violates",
        _REPORT_EXAMPLES,
    )
    report.add_argument(
        "implications", metavar="RECIPE-or-IMPLICATIONS", help="a recipe with drop_implied, or an export"
    )
    data_argument(report)
    report.add_argument("-n", type=whole_number, default=20, metavar="N", help="lines of each list (20)")


def _build_arguments(build: argparse.ArgumentParser) -> None:
    build.add_argument(
        "implications", metavar="IMPLICATIONS", help="an export: CSV, JSON lines or a JSON array, also .gz"
    )
    build.add_argument("-o", "--out", required=True, metavar="FILE", help="the CSV to write")
    build.add_argument("--aliases", metavar="FILE", help="resolve these aliases first")
    build.add_argument("--tags", metavar="FILE", help="the list of tags with category and post count")
    build.add_argument(
        "--min-posts", type=int, default=0, metavar="N", help="both tags have at least so many posts"
    )
    build.add_argument(
        "--categories", type=names, default=(), metavar="A,B", help="both tags are of one of these"
    )
    build.add_argument("--site", choices=("e621", "danbooru"), help="whose category numbers --tags has")
    build.add_argument(
        "--leave-out", type=names, default=(), metavar="A,B", help="tags (patterns) that take no part"
    )
    _pair(build, "--add", "an implication of your own")
    build.add_argument("--add-file", metavar="FILE", help="more of them, in the form of IMPLICATIONS")
    _pair(build, "--remove", "leave out this implication")
    build.add_argument("--remove-file", metavar="FILE", help="more of them, in the form of IMPLICATIONS")


def _pair(build: argparse.ArgumentParser, flag: str, says: str) -> None:
    build.add_argument(
        flag,
        nargs=2,
        action="append",
        default=[],
        metavar=("TAG", "IMPLIED"),
        help=f"{says}; may be repeated",
    )


def _build(arguments: argparse.Namespace) -> None:
    data = {
        "file": arguments.implications,
        "aliases": arguments.aliases,
        "tags": arguments.tags,
        "min_posts": arguments.min_posts,
        "categories": arguments.categories,
        "site": arguments.site,
        "leave_out": arguments.leave_out,
        "add": _edges(arguments.add, arguments.add_file),
        "remove": _edges(arguments.remove, arguments.remove_file),
    }
    try:
        source = ImplicationSource.model_validate(data)
    except ValidationError as error:
        raise recipe_error(error, ImplicationSource, data, lambda kind: None, None) from None
    built = build_implications(source)
    write_implications(built.graph, Path(arguments.out))
    if arguments.json:
        print_json(built_json(built))
    else:
        print(printable(built_text(built, source, Path(arguments.out))))


def _edges(pairs: Iterable[tuple[str, str]], file: str | None) -> dict[str, list[str]]:
    edges: dict[str, list[str]] = {}
    for one, other in [*pairs, *(read_pairs(Path(file)).active if file is not None else ())]:
        edges.setdefault(one, []).append(other)
    return edges


def _report(arguments: argparse.Namespace) -> None:
    graph, data = _graph(arguments.implications), Data(arguments.data)
    result = audit(graph, data)
    data.require_some(result.num_records)
    if arguments.json:
        print_json(asdict(result) | {"skipped": data.skipped.json()})
    else:
        print(printable(audit_text(result, arguments.n)))


def _graph(path: str) -> ImplicationGraph:
    """The implications of a recipe, or of an export; a .json with `steps` or `preset` is a recipe."""
    if not _is_recipe(Path(path)):
        return read_implications(path)
    graphs = {graph for step in load_pipeline(path).steps for graph in _graphs_in(step) if graph.num_edges}
    if len(graphs) != 1:
        raise RecipeError(
            f"has {len(graphs) or 'no'} lists of implications, one is needed",
            where=path,
            hint="give `drop_implied` its `implications`, or give the list itself instead of the recipe",
        )
    return graphs.pop()


def _is_recipe(path: Path) -> bool:
    if path.suffix.lower() != ".json":
        return path.suffix.lower() == ".toml"
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return False  # JSON lines, or what the reader of implications will complain of.
    return isinstance(data, dict) and not data.keys().isdisjoint({"steps", "preset"})


def _graphs_in(value: object) -> Iterator[ImplicationGraph]:
    """The graphs of every `drop_implied`, however deep it stands."""
    if isinstance(value, DropImplied):
        yield value.implications
    elif isinstance(value, Config):
        for field in type(value).model_fields:
            yield from _graphs_in(getattr(value, field))
    elif isinstance(value, tuple | list | dict):
        for member in value.values() if isinstance(value, dict) else value:
            yield from _graphs_in(member)
