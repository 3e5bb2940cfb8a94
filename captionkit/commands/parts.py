"""What the commands about implications and correlations share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

from captionkit.commands.arguments import tell_skipped
from captionkit.errors import DataError
from captionkit.readers import read_records
from captionkit.record import Record
from captionkit.report import Skipped


def group(commands: Any, name: str, does: str) -> Any:
    """Add a command that has commands of its own; the place for these."""
    parser = commands.add_parser(name, help=does, description=f"{does[0].upper()}{does[1:]}.")
    return parser.add_subparsers(title="commands", required=True, metavar="COMMAND")


def writing_command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], None], does: str, examples: str
) -> argparse.ArgumentParser:
    """Add a command that does more than show something."""
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=does,
        description=f"{does[0].upper()}{does[1:]}.",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run)
    command.add_argument("--json", action="store_true", help="print JSON instead of text")
    return command


def data_argument(command: argparse.ArgumentParser) -> None:
    """Add the argument of the data."""
    command.add_argument("data", metavar="DATA", help="a folder of pictures, a table, a tar, ...")


def names(text: str) -> tuple[str, ...]:
    """Names or patterns of an argument, with commas between them."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


class Data:
    """The records of a path, read anew each time; what cannot be read is noted the first time."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.skipped = Skipped()
        self._read_before = False

    def __iter__(self) -> Iterator[Record]:
        note = self._pass_over if self._read_before else self.skipped.add
        self._read_before = True
        return read_records(self.path, on_error=note)

    def require_some(self, num_records: int) -> None:
        """Tell what was skipped. `DataError` when there was no record."""
        tell_skipped(self.skipped)
        if num_records == 0:
            raise DataError("no record could be read", where=self.path, hint="what is wrong stands above")

    def _pass_over(self, error: Exception) -> None:
        """It was noted before."""
