"""Flags that the commands of taggers share."""

from __future__ import annotations

import argparse
from pathlib import Path

from trainkit.commands.whole_number import positive


def add_corrections(parser: argparse.ArgumentParser, does: str) -> None:
    """What a person said; ``does`` is what becomes of it."""
    parser.add_argument(
        "--corrections",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help=f"{does}; may be repeated",
    )


def add_work(parser: argparse.ArgumentParser, batch: int) -> None:
    """How a tagger looks at pictures: so many at a time, and on which device."""
    flag = parser.add_argument
    flag("--batch", type=positive, default=batch, metavar="N", help=f"pictures at a time ({batch})")
    flag(
        "--device",
        default="auto",
        metavar="DEVICE",
        help="cpu, cuda or cuda:1 (default: a GPU if there is one)",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """For programs."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")
