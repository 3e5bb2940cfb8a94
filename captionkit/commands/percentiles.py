"""The command `captionkit percentiles`: levels of quality from the data's own numbers."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from captionkit.errors import DataError
from captionkit.load import dump_pipeline
from captionkit.percentiles import HAKUBOORU, Numbers, Shares, levels, number_step, parse_shares
from captionkit.pipeline import CaptionPipeline
from captionkit.policies.tag_from_number import TagFromNumber
from captionkit.readers import read_records
from captionkit.report import Skipped
from captionkit.screen import printable

_EXAMPLES = """\
examples:
  captionkit percentiles pictures/ --fact fav_count --by rating --category quality
  captionkit percentiles data.jsonl --fact score --shares "great=0.9, good=0.5, poor=0"

It prints a step for your recipe. A tag with the share 0.95 goes to a picture whose number is above that of
95 % of the pictures of its rating; one with the share 0 to all that are left.
"""

_HEAD = ("kind", "fact", "by", "category")


def add_command(commands: Any) -> None:
    """Add `percentiles` to a parser's subparsers."""
    command: argparse.ArgumentParser = commands.add_parser(
        "percentiles",
        help="quality tags from the numbers in your data, as a step for a recipe",
        description="Compute the levels of a tag_from_number step from the numbers in your data.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "data", metavar="DATA", help="a folder of pictures with .json files, or a .jsonl file"
    )
    command.add_argument("--fact", required=True, help="the number's name, such as fav_count or score.total")
    command.add_argument("--by", help="a second fact, such as rating: each of its values gets its own levels")
    shares = ", ".join(f"{tag}={share:g}" for tag, share in HAKUBOORU.items())
    command.add_argument("--shares", metavar="TAG=SHARE,...", help=f"tags and shares (default: {shares})")
    command.add_argument("--category", help="the category the tags get, such as quality")
    command.add_argument("--json", action="store_true", help="print JSON instead of TOML")
    command.set_defaults(run=_percentiles)


def _percentiles(arguments: argparse.Namespace) -> None:
    shares = HAKUBOORU if arguments.shares is None else parse_shares(arguments.shares)
    skipped = Skipped()
    numbers = Numbers(arguments.fact, arguments.by)
    try:
        numbers.count(read_records(arguments.data, on_error=skipped.add))
    finally:
        for line in skipped.lines():
            print(f"captionkit: {line}", file=sys.stderr)
    if numbers.num_records == 0:
        raise DataError("no record could be read", where=arguments.data)
    step = number_step(numbers, shares, arguments.category)
    if arguments.json:
        print(json.dumps(_plain(step), indent=2, ensure_ascii=False))
    else:
        remarks = [f"# {printable(' '.join(line.split()))}" for line in _remarks(numbers, shares)]
        print("\n".join([*remarks, *_toml(step)]))


def _remarks(numbers: Numbers, shares: Shares) -> list[str]:
    """What the levels rest on, and which tags have none."""
    of = numbers.fact if numbers.by is None else f"{numbers.fact} and {numbers.by}"
    counted = numbers.num_records - numbers.num_without
    remarks = [f"From {counted} of {numbers.num_records} records; the others do not have {of}."]
    if not numbers.num_without:
        remarks = [f"From all of {numbers.num_records} records."]
    for value, counts in sorted(numbers.counts.items()):
        place = f"{numbers.by} {value}: " if numbers.by is not None else ""
        _, without = levels(counts, shares)
        if numbers.by is not None:
            remarks.append(f"{place}{sum(counts.values())} records")
        if without:
            remarks.append(f"{place}too many equal numbers for {', '.join(without)}")
    return remarks


def _plain(step: TagFromNumber) -> dict[str, Any]:
    plain: dict[str, Any] = dump_pipeline(CaptionPipeline(steps=(step,)))["steps"][0]
    return plain


def _toml(step: TagFromNumber) -> list[str]:
    """The step as TOML, one level to a line."""
    plain = _plain(step)
    lists = [plain.pop("levels"), *plain.pop("groups").values()]
    heads = ["levels", *(f"groups.{_quoted(value)}" for value in step.groups)]
    lines = ["[[steps]]", *(f"{key} = {_quoted(plain[key])}" for key in _HEAD if key in plain)]
    for head, of_head in zip(heads, lists, strict=True):
        if of_head:
            inner = [", ".join(f"{key} = {_quoted(value)}" for key, value in one.items()) for one in of_head]
            lines += [f"{head} = [", *(f"    {{ {level} }}," for level in inner), "]"]
    return lines


def _quoted(value: object) -> str:
    """A text or a number as TOML; JSON's are TOML's, but for the delete character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
